# SPDX-License-Identifier: Apache-2.0
"""How many people who come back get the id that they had (`tracking.reidentify_s`), and how many
get somebody else's.

Videos: all of them are played one after the other as the images of one camera, then all once more,
so that everybody comes back once; --light: in light of other colours. Somebody is a track of
LEAST_S or more without re-identification; people in two such tracks of a video count twice. Kept:
the id of the first play; new: an id of its own; wrong: somebody else's.

Photographs of DATA, with labelled keypoints: somebody returns or is a stranger, after FEW others
who are known have left. Returning people are those of pairs of photographs of the set gym.
Strangers are people of street, people and scenes. The thresholds were chosen with --side training.
--json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.device import use_threads
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.io.images import open_source
from lifting_ros.research.datasets.keypoints2d import PhotoSet, read_photo_set
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.tracking.reidentify import LEAST_LOOKS, Known, who_returned
from lifting_ros.tracking.torso_colours import torso_colours
from lifting_ros.tracking.tracking import Tracker, TrackerConfig
from lifting_ros.types import Person, Skeleton2D
from lifting_ros.video import VideoEstimator

PAUSE_NS = 10 * 10**9
"""Between two videos."""

LEAST_S = 1.0

MEMORY_S = 3600.0
"""`reidentify_s`."""

FEW = 5
"""People who have left."""

TRIALS = 20_000
"""With strangers."""

STRANGERS = ("street", "people", "scenes")

TIMES = 10
"""Galleries for each of those who return."""


class Seen(NamedTuple):
    """A frame of a video."""

    stamp_ns: int
    persons: tuple[Person, ...]
    tracks: list[int]
    """Of the persons, within the video."""


def watch(video: Path, estimator: PoseEstimator) -> list[Seen]:
    """The persons of a video, with ids."""
    tracker = Tracker()
    following = VideoEstimator(estimator, tracker)
    frames = []
    for frame in tqdm(open_source(str(video)).stamped(), desc=video.stem, unit="frame"):
        estimate = following.estimate(frame.stamp_ns, frame.rgb)
        (tracked,) = tracker.update(frame.stamp_ns, estimate.persons)
        ids = [person.id for person in tracked.persons]
        frames.append(Seen(frame.stamp_ns, estimate.persons, ids))
    return frames


def play_twice(
    videos: Sequence[Path], watched: Sequence[list[Seen]], light: Sequence[float]
) -> dict[str, dict]:
    """What becomes of everybody's id, by video. light: (3,) gains of the second play."""
    tracker = Tracker(TrackerConfig(reidentify_s=MEMORY_S))
    ids: dict[tuple, list[int]] = defaultdict(list)
    seen_s: Counter = Counter()
    start_ns = 0
    for play in (0, 1):
        gains = np.array(light) if play else np.ones(3)
        for number, (video, frames) in enumerate(zip(videos, watched)):
            images = open_source(str(video)).stamped()
            for frame, seen in zip(images, frames, strict=True):
                image = np.rint(frame.rgb * gains).astype(np.uint8)
                stamp_ns = start_ns + seen.stamp_ns
                (tracked,) = tracker.update(stamp_ns, seen.persons, image)
                for person, track in zip(tracked.persons, seen.tracks):
                    ids[play, number, track].append(person.id)
                    seen_s[play, number, track] += 1
            start_ns += frames[-1].stamp_ns + PAUSE_NS

    owner: dict[int, tuple] = {}
    table = {video.stem: Counter(people=0, kept=0, new=0, wrong=0) for video in videos}
    for (play, number, track), given in sorted(ids.items()):
        frames = watched[number]
        length_s = (frames[-1].stamp_ns - frames[0].stamp_ns) / 1e9
        rate = (len(frames) - 1) / length_s
        row = table[videos[number].stem]
        who = (number, track)
        first = {one: owner.setdefault(one, (play, *who)) for one in given if one}
        if seen_s[play, number, track] < LEAST_S * rate:
            continue
        others = [one for one in first.values() if one[1:] != who]
        row["wrong"] += len(others)
        if play:
            row["people"] += 1
            kept = given[-1] in first and first[given[-1]] == (0, *who)
            row["kept"] += kept
            row["new"] += not kept and not others
    return {name: dict(row) for name, row in table.items()}


class Look(NamedTuple):
    """Somebody in a photograph."""

    name: str
    known: Known


def looks(photos: PhotoSet, side: str) -> Iterator[Look]:
    """Everybody whose torso shows, as if it had been looked at long enough."""
    for row in np.flatnonzero(rows_of(photos.validation, side)):
        keypoints = photos.keypoints[row].astype(float)
        labelled = keypoints[:, 2] > 0
        if not labelled.any():
            continue
        points = keypoints[labelled, :2]
        box = np.concatenate([points.min(0), points.max(0)])
        blank = Skeleton2D.unknown(1.0)
        skeleton = Skeleton2D(
            keypoints[:, :2], labelled.astype(float), blank.covariance_px2, box, 1.0
        )
        (colours,) = torso_colours(photos.image(int(row)), [skeleton])
        if colours is not None:
            known = Known(0, LEAST_LOOKS, colours.histogram, colours.coloured)
            yield Look(photos.files[row], known)


def photographs(data: Path, side: str, seed: int) -> dict[str, dict[str, float]]:
    """Those who return, and strangers."""
    rng = np.random.default_rng(seed)
    strangers = []
    for name in STRANGERS:
        strangers += looks(read_photo_set(data / "keypoints2d", name), side)
    pairs = defaultdict(list)
    for look in looks(read_photo_set(data / "keypoints2d", "gym"), side):
        pairs[look.name.rpartition("__")[0]].append(look.known)

    def others(count: int) -> list[Known]:
        chosen = rng.choice(len(strangers), count, replace=False)
        return [strangers[index].known for index in chosen]

    back: Counter = Counter(trials=0, bright=0, kept=0, wrong=0)
    for pair in pairs.values():
        if len(pair) != 2:
            continue
        for _ in range(TIMES):
            absent = dict(enumerate([*others(FEW - 1), pair[0]], 1))
            answer = who_returned(pair[1], absent, [], [])
            back["trials"] += 1
            back["bright"] += pair[0].is_bright and pair[1].is_bright
            back["kept"] += answer == FEW
            back["wrong"] += answer not in (0, FEW)

    new: Counter = Counter(trials=0, bright=0, kept=0, wrong=0)
    for _ in range(TRIALS):
        stranger, *left = others(FEW + 1)
        answer = who_returned(stranger, dict(enumerate(left, 1)), [], [])
        new["trials"] += 1
        new["bright"] += stranger.is_bright
        new["wrong"] += answer != 0
    return {"return": dict(back), "strangers": dict(new)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench/back_again.py", description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path, metavar="VIDEO")
    parser.add_argument(
        "--light",
        type=float,
        nargs=3,
        default=(1.0, 1.0, 1.0),
        metavar="GAIN",
        help="of red, green and blue in the second play",
    )
    parser.add_argument("--data", type=Path, help="folder with keypoints2d/")
    parser.add_argument("--side", default="validation", choices=("training", "tune", "validation"))
    parser.add_argument("--weights", default="full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args(arguments)

    use_threads()
    tables = {}
    if args.videos:
        estimator = PoseEstimator(EstimatorConfig(weights=args.weights))
        watched = [watch(video, estimator) for video in args.videos]
        tables["videos, twice"] = play_twice(args.videos, watched, args.light)
    if args.data:
        title = f"photographs, {args.side}"
        tables[title] = photographs(args.data, args.side, args.seed)

    for title, table in tables.items():
        print_table(title, table)
    if args.json:
        write_json(args.json, tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
