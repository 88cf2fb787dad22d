# SPDX-License-Identifier: Apache-2.0
"""Render synthetic people with exact labels into a folder, for training and for measuring; needs
the package embreex.

DATA holds body/, mocap/ and negatives/ (photographs without people for the backgrounds, every ninth
of them for validation alone).
OUT gets images.npy (N, H, W, 3) uint8 RGB and labels.npz:
  windows: keypoints (N, 14, 3) x, y in px and 1 where labelled; self_occluded (N, 14); box (N, 4);
  joints_camera_m (N, 17, 3) in metres,
           optical frame; K (N, 3, 3); up (N, 3) in the camera's frame; validation (N,)
  crowds, rooms: the same of the P people of all pictures, with picture (P,) and seen (P,), the
  share of a person that shows;
           keypoints also where hidden or outside; K, up and validation of the N pictures
The same seed gives the same pictures on any number of cores. labels.npz is written last: a folder
with it is whole.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.main import CommandError

SIZES = {"windows": (192, 192), "crowds": (320, 256), "rooms": (320, 256)}
MOCAP = "cmu17_10fps_dev.npz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="folder with body/, mocap/ and negatives/")
    parser.add_argument("--out", required=True, metavar="OUT", help="folder to write")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="pictures")
    parser.add_argument(
        "--size",
        default="",
        metavar="S",
        help="S or WxH px (default 192, of crowds and rooms 320x256)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another number, other pictures (default 0)"
    )
    parser.add_argument(
        "--subjects",
        choices=["training", "validation"],
        default="training",
        help="whose poses, backgrounds and clothes: those to learn from or the held-out ones (default training)",
    )
    parser.add_argument(
        "--kind",
        choices=list(SIZES),
        default="windows",
        help="windows around one person each, crowds of 2 to 12, or rooms without people (default windows)",
    )
    parser.add_argument("--workers", type=int, default=0, help="processes (default one a core)")
    parser.add_argument(
        "--sheet",
        default="",
        metavar="SHEET.png",
        help="also write a contact sheet of the first pictures",
    )


def run(args: argparse.Namespace) -> int:
    data, out, size = Path(args.data), Path(args.out), picture_size(args.size, args.kind)
    for folder in ("body", "mocap", "negatives"):
        if not (data / folder).is_dir():
            raise CommandError(f"{data / folder}: no such folder")
    if args.count < 1 or args.seed < 0 or args.workers < 0:
        raise CommandError("--count must be at least 1, --seed and --workers must not be negative")
    if args.sheet and not Path(args.sheet).parent.is_dir():
        raise CommandError(f"{args.sheet}: the folder does not exist")
    render(args, data, out, size)
    if args.sheet:
        write_sheet(out, Path(args.sheet))
    print(f"{out}: {args.count} {args.kind} of {size[0]}x{size[1]} px")
    return 0


def render(args: argparse.Namespace, data: Path, out: Path, size: tuple[int, int]) -> None:
    """The pack of the wanted kind."""
    from lifting_ros.research.datasets.made_once import alone
    from lifting_ros.research.datasets.negatives import read_negatives
    from lifting_ros.research.rendering.synthetic import write_pack, write_scenes

    sources = (
        data / "body",
        data / "mocap" / MOCAP,
        read_negatives(data / "negatives", args.subjects),
    )
    common = {"subjects": args.subjects, "workers": args.workers or None}
    with alone(out):
        if args.kind == "windows":
            write_pack(out, args.count, size[0], args.seed, *sources, **common)
        else:
            write_scenes(
                out, args.count, size, args.seed, *sources, people=args.kind == "crowds", **common
            )


def picture_size(text: str, kind: str) -> tuple[int, int]:
    """(W, H) px from `S` or `WxH`; windows are squares."""
    if not text:
        return SIZES[kind]
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() and 32 <= int(side) <= 4096 for side in sides):
        raise CommandError(f"--size: expected S or WxH with sides of 32 to 4096 px, got {text!r}")
    size = int(sides[0]), int(sides[-1])
    if kind == "windows" and size[0] != size[1]:
        raise CommandError(f"--size: windows are squares, got {text!r}")
    return size


def write_sheet(folder: Path, path: Path) -> None:
    """The contact sheet, beside its place first."""
    import os

    import cv2

    from lifting_ros.research.rendering.render_sheet import contact_sheet

    beside = path.with_name(f"{path.name}.partial.png")
    if not cv2.imwrite(str(beside), contact_sheet(folder)):
        raise CommandError(f"{path}: cannot be written")
    os.replace(beside, path)
