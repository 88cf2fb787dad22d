# SPDX-License-Identifier: Apache-2.0
"""Ten thousand sources as they are found in the wild through `lifting estimate` and `lifting bag`.

Videos cut at a random byte or with bytes changed, folders with junk, bags with equal, swapped and
zero stamps, camera files by mutation. An estimator that costs nothing stands in for the network. No
traceback, no warning, no hang; bad input is one line and nothing is left behind; and nothing is
lost in silence: answers and stated losses are as many as there were images. Ends with a table by
kind of input, and exit status 1 where anything was wrong. Unseen are last frames of Matroska files
that were cut there, of which the file says nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from fuzz_lift import call

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    # ROS' parser of message definitions imports a version of lark that warns when it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    import lark  # noqa: F401

import lifting_ros.estimator as estimator_module
from lifting_ros.estimator import Estimate
from lifting_ros.io.progress import Progress
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT
from lifting_ros.tracking.tracking import Tracker
from lifting_ros.types import JointStatus, Person, Skeleton2D, Skeleton3D

Rng = np.random.Generator
FRAMES = 24
"""Of a video."""
SIZE = (64, 48)
WAITED_FOR = (
    "torch",
    "lifting_ros.device",
    "lifting_ros.cli.bag",
    "lifting_ros.cli.estimate",
    "lifting_ros.cli.overlay_writer",
    "lifting_ros.cli.poses",
    "lifting_ros.ros.bag_estimation",
    "lifting_ros.ros.bag_output",
)
"""Modules that the verbs import when they are called."""
LOSSES = (
    re.compile(r": (?P<lost>\d+) of \d+ images do not decode"),
    re.compile(r"the container states (?P<promised>\d+) frames, (?P<came>\d+) came"),
    re.compile(r"lifting bag: (?P<lost>\d+) of \d+ images on \S+ not used"),
)


class Images(NamedTuple):
    """What became of the images of the inputs that were answered and say how many they hold."""

    given: int = 0
    answered: int = 0
    stated: int = 0
    """Losses that standard error states."""


class Case(NamedTuple):
    """One input, which is in the folder."""

    argv: list[str]
    named: str
    """What an error must name."""
    inputs: int | None = None
    """Images that an answer must account for; None where the input does not say."""
    must: int | None = None
    """Exit status that alone is right; None where the input leaves a choice."""
    unstated: int = 0
    """Inputs that may be lost in silence."""


class Nobody:
    """An estimator that finds one person in every image."""

    weights_sha256 = "a" * 64
    prior_sha256 = "b" * 64

    def __init__(self, config):
        self.config = config

    def estimate(self, image, camera=None, up=None, depth=None, detections=None) -> Estimate:
        """One person, wherever."""
        return Estimate((somebody(),), {})


@cache
def somebody() -> Person:
    """A person at the origin."""
    flat = Skeleton2D(
        np.tile([20.0, 20.0], (KEYPOINT_COUNT, 1)),
        np.ones(KEYPOINT_COUNT),
        np.tile(np.eye(2), (KEYPOINT_COUNT, 1, 1)),
        np.array([10.0, 10.0, 30.0, 30.0]),
        0.9,
    )
    pose = Skeleton3D(
        np.random.default_rng(0).normal(size=(JOINT_COUNT, 3)),
        np.zeros(3),
        np.tile(1e-4 * np.eye(3), (JOINT_COUNT, 1, 1)),
        np.eye(3),
        np.ones(JOINT_COUNT),
        np.full(JOINT_COUNT, JointStatus.OBSERVED, np.uint8),
        0.0,
        True,
        np.zeros((1, JOINT_COUNT, 3)),
        np.ones(1),
    )
    return Person(0, 0.0, flat, pose, np.full((JOINT_COUNT, 3), np.nan))


def picture(number: int) -> np.ndarray:
    """A picture (H, W, 3) that compresses badly, so that cuts and changes meet pictures."""
    return np.random.default_rng(number).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)


@cache
def video(suffix: str) -> bytes:
    """A whole video."""
    codec = "mp4v" if suffix == ".mp4" else "MJPG"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 20.0, SIZE)
        for number in range(FRAMES):
            writer.write(picture(number))
        writer.release()
        return path.read_bytes()


def cut_video(rng: Rng, folder: Path) -> Case:
    """A video that ends at a random byte."""
    suffix = str(rng.choice([".avi", ".mkv", ".mp4"]))
    data = video(suffix)
    name = f"clip{suffix}"
    (folder / name).write_bytes(data[: int(rng.integers(0, len(data) + 1))])
    # Matroska stores the duration alone: a last frame of two periods looks like a lost one
    unstated = 1 if suffix == ".mkv" else 0
    return Case(["estimate", name, "--out", "out.npz"], name, FRAMES, unstated=unstated)


def changed_video(rng: Rng, folder: Path) -> Case:
    """A video with some bytes changed, which its header may be among."""
    suffix = str(rng.choice([".avi", ".mkv", ".mp4"]))
    data = bytearray(video(suffix))
    for place in rng.integers(0, len(data), int(rng.integers(1, 200))):
        data[place] = int(rng.integers(0, 256))
    name = f"clip{suffix}"
    (folder / name).write_bytes(data)
    return Case(["estimate", name, "--out", "out.npz"], name)


def junk_folder(rng: Rng, folder: Path) -> Case:
    """A folder of images that decode, images that do not, and what else there is in folders."""
    (folder / "in").mkdir()
    whole = 0
    visible = 0
    for number in range(int(rng.integers(1, 12))):
        suffix = str(rng.choice([".png", ".jpg", ".bmp", ".JPG", ".tiff", ".webp"]))
        path = folder / "in" / f"frame_{int(rng.integers(0, 120))}_{number}{suffix}"
        data = cv2.imencode(suffix.lower(), picture(number))[1].tobytes()
        kind = rng.choice(["whole", "cut", "empty", "text", "hidden", "folder", "other"])
        if kind == "hidden":
            path.with_name(f".{path.name}").write_bytes(data)
        elif kind == "folder":
            path.mkdir()
        elif kind == "other":
            path.with_suffix(".txt").write_bytes(data)
        else:
            content = {"whole": data, "cut": data[:20], "empty": b"", "text": b"no image"}
            path.write_bytes(content[str(kind)])
            visible += 1
            whole += kind == "whole"
    argv = ["estimate", "in", "--out", "out.npz"]
    return Case(argv, "in", visible, 0 if whole else 2)


CAMERA = """image_width: 64
image_height: 48
camera_name: test
camera_model: pinhole
distortion_model: plumb_bob
camera_matrix: {rows: 3, cols: 3, data: [60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1]}
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.05, 0.001, 0.002, 0.0]}
"""
ODD = ("", "0", "-1", ".nan", ".inf", "1e400", "[]", "{}", "null", "true", "fisheye", "'", "48")


def camera_file(rng: Rng, folder: Path) -> Case:
    """A camera file with a line gone, a word changed or characters changed."""
    lines = CAMERA.splitlines()
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, len(lines)))
        kind = rng.choice(["drop", "word", "character", "twice"])
        if kind == "drop" and len(lines) > 1:
            del lines[place]
        elif kind == "word":
            words = re.split(r"([\s,\[\]{}]+)", lines[place])
            words[2 * int(rng.integers(0, (len(words) + 1) // 2))] = str(rng.choice(ODD))
            lines[place] = "".join(words)
        elif kind == "character" and lines[place]:
            at = int(rng.integers(0, len(lines[place])))
            letter = chr(int(rng.integers(1, 0x250)))
            lines[place] = lines[place][:at] + letter + lines[place][at + 1 :]
        else:
            lines.append(lines[place])
    (folder / "camera.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    cv2.imwrite(str(folder / "in.png"), picture(0))
    return Case(["estimate", "in.png", "--out", "out.npz", "--camera", "camera.yaml"], "camera", 1)


def odd_bag(rng: Rng, folder: Path) -> Case:
    """A bag with equal, swapped, falling and zero stamps, and images that cannot be used."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    image_type = store.types["sensor_msgs/msg/Image"]
    header_type = store.types["std_msgs/msg/Header"]
    time_type = store.types["builtin_interfaces/msg/Time"]

    count = int(rng.integers(1, 15))
    stamps = 10**9 + 66_666_667 * np.arange(count)
    kind = rng.choice(["equal", "swapped", "zero", "loop", "coarse", "random"])
    if kind == "equal":
        stamps[:] = stamps[0]
    elif kind == "swapped":
        stamps = stamps[np.argsort(np.arange(count) + rng.normal(0, 1, count))]
    elif kind == "zero":
        stamps[:] = 0
    elif kind == "loop":
        stamps = stamps[np.arange(count) % max(1, count // 2)]
    elif kind == "coarse":
        stamps = stamps // 10**9 * 10**9
    else:
        stamps = rng.integers(0, 2**31 * 10**9, count)

    usable = 0
    with Writer(folder / "in", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection("/image", image_type.__msgtype__, typestore=store)
        for place, stamp_ns in enumerate(stamps.tolist()):
            encoding = str(rng.choice(["rgb8", "rgb8", "rgb8", "odd", "mono16", "cut"]))
            wide = 2 if encoding == "mono16" else 3
            data = np.resize(picture(place).ravel(), 48 * 64 * wide)
            header = header_type(stamp=time_type(*divmod(stamp_ns, 10**9)), frame_id="camera")
            message = image_type(
                header=header,
                height=48,
                width=64,
                encoding="rgb8" if encoding == "cut" else encoding,
                is_bigendian=0,
                step=64 * wide,
                data=data[:100] if encoding == "cut" else data,
            )
            raw = bytes(store.serialize_cdr(message, image_type.__msgtype__))
            is_short = encoding == "rgb8" and rng.random() < 0.05
            writer.write(topic, 1 + place, raw[: len(raw) // 2] if is_short else raw)
            usable += encoding in ("rgb8", "mono16") and not is_short
    return Case(["bag", "in", "--out", "out.mcap"], "in", count, 0 if usable else 2)


KINDS: dict[str, tuple[float, Callable[[Rng, Path], Case]]] = {
    "video, cut": (0.2, cut_video),
    "video, bytes changed": (0.1, changed_video),
    "folder with junk": (0.3, junk_folder),
    "camera file": (0.3, camera_file),
    "bag with odd stamps": (0.1, odd_bag),
}
"""Kind -> its share of the inputs, and the function that makes one."""


def answers_in(folder: Path) -> int:
    """Frames that were answered."""
    if (folder / "out.mcap").is_file():
        # All persons are in the table, whatever their stamps are.
        status, _ = call(["poses", "out.mcap", "--out", "out.npz"])
        if status != 0:
            return -1
    with np.load(folder / "out.npz", allow_pickle=False) as table:
        frames = int(table["frame_count"])
        return frames if len(table["joints_m"]) == frames else -1


def stated_losses(lines: list[str]) -> int:
    """Inputs that standard error says are not answered."""
    total = 0
    for line in lines:
        for pattern in LOSSES:
            found = pattern.search(line)
            if found and "lost" in found.groupdict():
                total += int(found["lost"])
            elif found:
                total += int(found["promised"]) - int(found["came"])
    return total


def faults(case: Case, folder: Path) -> tuple[int | str, list[str], Images]:
    """Exit status of a case, what was wrong with the outcome in a few words each, and what became
    of its images."""
    before = {path.name for path in folder.iterdir()}
    status, error = call(case.argv)
    lines = [line for line in error.splitlines() if line.strip()]
    made = {path.name for path in folder.iterdir()} - before
    out = case.argv[case.argv.index("--out") + 1]

    if status not in (0, 2):
        return status, [f"{status}: {lines[-1:]}"], Images()
    wrong = []
    images = Images()
    if case.must is not None and status != case.must:
        wrong.append(f"exit status {status} instead of {case.must}: {lines[-1:]}")
    if status == 2:
        if len(lines) != 1 or case.named not in lines[0]:
            wrong.append(f"not one line that names {case.named}: {lines[:2]}")
        if made:
            wrong.append(f"left behind: {' '.join(sorted(made))}")
        return status, wrong, images

    if made != {out}:
        wrong.append(f"files: {' '.join(sorted(made))}")
    elif case.inputs is not None:
        answers = answers_in(folder)
        stated = stated_losses(lines)
        images = Images(case.inputs, answers, stated)
        if not case.inputs - case.unstated <= answers + stated <= case.inputs:
            wrong.append(f"{answers} answers and {stated} stated losses of {case.inputs} inputs")
    return status, wrong, images


@contextlib.contextmanager
def light() -> Iterator[None]:
    """The verbs with an estimator that costs nothing."""
    # What an input would otherwise wait for on a busy machine, until it counts as a hang
    for name in WAITED_FOR:
        importlib.import_module(name)
    Tracker()
    real = estimator_module.PoseEstimator
    estimator_module.PoseEstimator = Nobody
    try:
        yield
    finally:
        estimator_module.PoseEstimator = real


def fuzz(
    count: int, seed: int
) -> tuple[dict[str, Counter], dict[str, list[int]], dict[str, Images]]:
    """Inputs 0..count-1 of a seed.

    Returns how often each exit status came, by kind, the inputs that went wrong, by what was
    wrong, and what became of their images, by kind.
    """
    outcomes: dict[str, Counter] = defaultdict(Counter)
    wrong: dict[str, list[int]] = defaultdict(list)
    images: dict[str, Images] = defaultdict(Images)
    shares = np.array([share for share, _ in KINDS.values()])
    home = os.getcwd()

    with tempfile.TemporaryDirectory() as scratch, light(), contextlib.ExitStack() as stack:
        stack.callback(os.chdir, home)
        for number in Progress(range(count), desc="fuzzing files", unit="input", delay=2):
            rng = np.random.default_rng((seed, number))
            kind = str(rng.choice(list(KINDS), p=shares / shares.sum()))
            folder = Path(scratch) / str(number)
            folder.mkdir()
            os.chdir(folder)
            status, texts, some = faults(KINDS[kind][1](rng, folder), folder)
            images[kind] = Images(*np.add(images[kind], some).tolist())
            outcomes[kind][status if status in (0, 2) else "fault"] += 1
            for text in texts:
                wrong[f"{kind}: {text}"].append(number)
            os.chdir(home)
            shutil.rmtree(folder)
    return outcomes, wrong, images


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="inputs (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    args = parser.parse_args()

    outcomes, wrong, images = fuzz(args.count, args.seed)
    columns = f"{'images':>9}{'answered':>10}{'stated':>8}{'unseen':>8}"
    print(f"{'kind':<28}{'answer':>8}{'refused':>9}{'fault':>7}{columns}")
    for kind, each in sorted(outcomes.items()):
        given, answered, stated = images[kind]
        columns = f"{given:>9}{answered:>10}{stated:>8}{given - answered - stated:>8}"
        print(f"{kind:<28}{each[0]:>8}{each[2]:>9}{each['fault']:>7}{columns}")
    for text, numbers in sorted(wrong.items(), key=lambda item: -len(item[1])):
        print(f"WRONG {len(numbers)} x {text}; inputs {numbers[:5]}")
    total = sum(sum(each.values()) for each in outcomes.values())
    print(f"{total} inputs, seed {args.seed}: {sum(map(len, wrong.values()))} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
