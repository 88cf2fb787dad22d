# SPDX-License-Identifier: Apache-2.0
"""Render synthetic people with exact labels into a folder, for training and for measuring; requires
the package embreex.

DATA holds body/, mocap/ and negatives/ (photographs without people for the backgrounds; every ninth
of them is for validation alone). OUT gets images.npy (N, H, W, 3) uint8 RGB and labels.npz:
  windows        keypoints (N, 14, 3) x, y in px and 1 where labelled; self_occluded (N, 14); box
                 (N, 4); joints_camera_m (N, 17, 3) in metres, optical frame; K (N, 3, 3); up (N, 3)
                 in the camera's frame; validation (N,)
  crowds, rooms  the same of the P people of all pictures, with picture (P,) and seen (P,), the
                 share of a person that shows; keypoints also where hidden or outside; K, up and
                 validation of the N pictures
The same seed gives the same pictures on any number of cores. labels.npz is written last: a folder
that has it is complete.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import require_at_least, require_folder_of, require_suffix

SIZES_PX = {"windows": (192, 192), "crowds": (320, 256), "rooms": (320, 256)}
"""Kind of pictures -> their default size (W, H)."""
SMALLEST_PX = 32
LARGEST_PX = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="folder with body/, mocap/ and negatives/")
    parser.add_argument("--out", required=True, metavar="OUT", help="folder to write")

    parser.add_argument(
        "--count", type=int, required=True, metavar="N", help="how many pictures to render"
    )
    parser.add_argument(
        "--size",
        default="",
        metavar="S",
        help="S or WxH px (default 192, of crowds and rooms 320x256)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another number gives other pictures (default 0)"
    )

    parser.add_argument(
        "--subjects",
        choices=["training", "validation"],
        default="training",
        help="poses, backgrounds and clothes: those to learn from, or the held-out ones"
        " (default training)",
    )
    parser.add_argument(
        "--kind",
        choices=list(SIZES_PX),
        default="windows",
        help="windows around one person each, crowds of 2 to 12, or rooms without people"
        " (default windows)",
    )
    parser.add_argument(
        "--posed",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of people in generated poses: sitting, squatting, lying and their like "
        "(default 0)",
    )

    parser.add_argument("--workers", type=int, default=0, help="processes (default one per core)")
    parser.add_argument(
        "--sheet",
        default="",
        metavar="SHEET.png",
        help="also write a contact sheet of the first pictures",
    )


def run(args: argparse.Namespace) -> int:
    size = picture_size(args.size, args.kind)
    check(args)
    render(args, size)
    if args.sheet:
        write_sheet(Path(args.out), Path(args.sheet))

    width, height = size
    print(f"{args.out}: {args.count} {args.kind} of {width}x{height} px")
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for what is wrong before anything is rendered."""
    for name in ("body", "mocap", "negatives"):
        folder = Path(args.data) / name
        if not folder.is_dir():
            raise CommandError(f"{folder}: no such folder")

    require_at_least("--count", args.count, 1)
    require_at_least("--seed", args.seed, 0)
    require_at_least("--workers", args.workers, 0)
    if not 0 <= args.posed <= 1:
        raise CommandError(f"--posed: expected a share from 0 to 1, got {args.posed}")
    if args.sheet:
        require_suffix("--sheet", args.sheet, ".png")
        require_folder_of("--sheet", args.sheet)


def render(args: argparse.Namespace, size: tuple[int, int]) -> None:
    """Write the pictures of the wanted kind, of a size (W, H) in px."""
    from lifting_ros.research.datasets.made_once import alone
    from lifting_ros.research.datasets.mocap import find_mocap
    from lifting_ros.research.datasets.negatives import read_negatives
    from lifting_ros.research.rendering.synthetic import write_pack, write_scenes

    data = Path(args.data)
    out = Path(args.out)
    backgrounds = read_negatives(data / "negatives", args.subjects)
    sources = (data / "body", find_mocap(data), backgrounds)
    common = {"subjects": args.subjects, "workers": args.workers or None, "posed": args.posed}

    with alone(out):
        if args.kind == "windows":
            write_pack(out, args.count, size[0], args.seed, *sources, **common)
        else:
            people = args.kind == "crowds"
            write_scenes(out, args.count, size, args.seed, *sources, people=people, **common)


def picture_size(text: str, kind: str) -> tuple[int, int]:
    """(W, H) in px from `S` or `WxH`; windows are squares."""
    if not text:
        return SIZES_PX[kind]

    sides = text.lower().split("x")
    allowed = range(SMALLEST_PX, LARGEST_PX + 1)
    if len(sides) > 2 or not all(side.isdigit() and int(side) in allowed for side in sides):
        raise CommandError(
            f"--size: expected S or WxH with sides of {SMALLEST_PX} to {LARGEST_PX} px,"
            f" got {text!r}"
        )

    width = int(sides[0])
    height = int(sides[-1])
    if kind == "windows" and width != height:
        raise CommandError(f"--size: windows are squares, got {text!r}")
    return width, height


def write_sheet(folder: Path, path: Path) -> None:
    """Write the contact sheet of a folder with pictures as an image file."""
    import cv2

    from lifting_ros.io.atomic import replacing
    from lifting_ros.research.rendering.render_sheet import contact_sheet

    sheet = contact_sheet(folder)
    with replacing(path, keep_suffix=True) as partial:
        if not cv2.imwrite(str(partial), sheet):
            raise CommandError(f"{path}: cannot be written")
