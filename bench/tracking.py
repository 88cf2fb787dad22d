# SPDX-License-Identifier: Apache-2.0
"""Tracking on people made up: who is who at crossings, how steady and how late the joints are, and
what it costs.

Walkers cross before a camera, with a lifter's errors (`test/walkers.py`), people hidden behind
others, missed ones and false alarms. Ids: switches of a person's id, the share of frames under the
id that fits it best (IDF1 is the harmonic mean of that over what is there and what is given),
against the nearest box (greedy, IoU). Joints: error in mm against the truth, relative to the root
and without the mean error of each joint, which no smoothing can see; their jitter, the rms of
second differences; and by how much they lag behind. --mocap: recorded motion for the joints instead
of walkers. Following: the same crossings with a detector that runs every so many frames
(`detector.every`); its share of the frames, and ids as above. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

sys.path.insert(0, str(Path(__file__).parents[1] / "test"))

from walkers import WalkersEstimator, crossing, frames_of, lift, numbered_image, straight, walk

from lifting_ros.detection.detector import DetectorConfig, overlaps
from lifting_ros.estimator import EstimatorConfig
from lifting_ros.tracking.tracking import Tracker, TrackerConfig
from lifting_ros.video import VideoEstimator

EVERY = (1, 2, 3, 5, 8, 15)
"""Values of `detector.every` that are compared."""


class NearestBox:
    """The naive way: greedy, by the overlap of boxes with each id's last one."""

    def __init__(self, retention_s: float = 2.0, least: float = 0.1):
        self._last: dict[int, tuple[int, np.ndarray]] = {}
        self._next = 1
        self._retention_ns = 1e9 * retention_s
        self._least = least

    def ids(self, stamp_ns: int, persons) -> list[int]:
        self._last = {
            i: (s, box) for i, (s, box) in self._last.items() if stamp_ns - s <= self._retention_ns
        }
        pairs = [
            (float(overlaps(box, person.skeleton_2d.box_px[None])[0]), i, m)
            for i, (_, box) in self._last.items()
            for m, person in enumerate(persons)
        ]
        found: dict[int, int] = {}

        for overlap, i, m in sorted(pairs, reverse=True):
            if overlap >= self._least and m not in found and i not in found.values():
                found[m] = i

        for m in range(len(persons)):
            if m not in found:
                found[m] = self._next
                self._next = self._next + 1
            self._last[found[m]] = (stamp_ns, persons[m].skeleton_2d.box_px)

        return [found[m] for m in range(len(persons))]


class Followed:
    """The tracker, for its ids."""

    def __init__(self):
        self._tracker = Tracker()

    def ids(self, stamp_ns: int, persons) -> list[int]:
        return [person.id for person in self._tracker.update(stamp_ns, persons)[0].persons]


def identity(ids: list[list[int]], names: list[list[int]]) -> tuple[int, float, float]:
    """Switches, share of a person's frames under the id that fits it best, and IDF1; names: the
    true person, -1 a false alarm."""
    last = {}
    pairs = Counter()
    switches = 0

    for numbers, who in zip(ids, names):
        for number, name in zip(numbers, who):
            if name >= 0:
                switches += last.get(name, number) != number
                last[name] = number
                pairs[name, number] += 1

    people, numbers = (sorted({pair[k] for pair in pairs}) for k in (0, 1))
    table = np.array([[pairs[name, number] for number in numbers] for name in people])
    right = table[linear_sum_assignment(-table)].sum()

    return (
        switches,
        float(right / table.sum()),
        float(2 * right / (table.sum() + sum(map(len, ids)))),
    )


def crossings(make, count: int, seeds: int, fps: float, metric: bool) -> dict[str, float]:
    """Figures over `seeds` crossings of `count` people; make: the tracker, anew for each."""
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        frames, names = frames_of(crossing(rng, count, fps=fps), rng, metric=metric)
        tracker = make()
        rows.append(
            identity(
                [tracker.ids(round(k * 1e9 / fps), persons) for k, persons in enumerate(frames)],
                names,
            )
        )

    switches, share, score = np.array(rows).T

    return {
        "switches": int(switches.sum()),
        "runs_with_switches": int((switches > 0).sum()),
        "runs": seeds,
        "right_id": float(share.mean()),
        "idf1": float(score.mean()),
    }


def count_people(names: list[list[int]]) -> int:
    """Number of persons in all frames that are no false alarms."""
    return sum(name >= 0 for one in names for name in one)


def following(every: int, count: int, seeds: int, fps: float) -> dict[str, float]:
    """Figures over `seeds` crossings of `count` people of whom the detector sees every n-th frame;
    `found` is the share of the people found by a detector in every frame that are found."""
    config = EstimatorConfig(detector=DetectorConfig(every=every))
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        frames, names = frames_of(crossing(rng, count, fps=fps), rng)
        estimator = WalkersEstimator(frames, config)
        tracker = Tracker()
        video = VideoEstimator(estimator, tracker)
        ids = []
        who = []

        for number, (persons, walkers) in enumerate(zip(frames, names)):
            name_of = {id(person): name for person, name in zip(persons, walkers)}
            stamp_ns = round((number + 1) * 1e9 / fps)
            estimate = video.estimate(stamp_ns, numbered_image(number))
            (frame,) = tracker.update(stamp_ns, estimate.persons)
            ids.append([person.id for person in frame.persons])
            who.append([name_of[id(person)] for person in estimate.persons])

        detected = len(estimator.detected) / len(frames)
        found = count_people(who) / count_people(names)
        rows.append((detected, found, *identity(ids, who)))

    detected, found, switches, share, score = np.array(rows).T
    return {
        "detected": float(detected.mean()),
        "found": float(found.mean()),
        "switches": int(switches.sum()),
        "right_id": float(share.mean()),
        "idf1": float(score.mean()),
    }


def motions(mocap: str, seconds: float, fps: float, count: int) -> list[np.ndarray]:
    """True joints (F, 17, 3) of people before the camera: walkers, or recorded clips of `mocap`
    between whose frames lines are drawn."""
    frames = round(seconds * fps)
    if not mocap:
        paths = [
            straight((-1.5, 3 + 0.1 * n), (1.5, 5 - 0.1 * n), seconds, fps) for n in range(count)
        ]
        return [walk(path, fps, n) for n, path in enumerate(paths)]

    with np.load(mocap, allow_pickle=False) as file:
        positions = file["positions"].astype(np.float64)
        clips = file["clip_id"]
        rate = float(file["fps"])

    long = [c for c in np.unique(clips) if (clips == c).sum() > seconds * rate + 4]
    chosen = np.random.default_rng(0).choice(long, min(count, len(long)), replace=False)

    return [_resampled(positions[clips == c], rate, fps, frames) for c in chosen]


def _resampled(positions: np.ndarray, rate: float, fps: float, frames: int) -> np.ndarray:
    """A clip (y up, on its floor) at another rate by cubic splines, 5 m before the camera and 1.2 m
    below it."""
    from scipy.interpolate import CubicSpline

    at = np.arange(frames) / fps
    joints = CubicSpline(np.arange(len(positions)) / rate, positions)(at)
    joints = joints * np.array([1.0, -1.0, -1.0])
    middle = joints[:, 0].mean(0)

    return joints - np.array([middle[0], 0.0, middle[2]]) + np.array([0.0, 1.2, 5.0])


def steadiness(
    people: list[np.ndarray], fps: float, config: TrackerConfig | None
) -> dict[str, float]:
    """Error, jitter and lag of the joints relative to the root; config None: as they are lifted."""
    errors = []
    jitter = []
    late = []
    square = []

    for seed, joints in enumerate(people):
        lifted = lift(joints, np.random.default_rng(seed))
        if config is None:
            out = lifted
        else:
            tracker = Tracker(config)
            done = [
                f
                for k, person in enumerate(lifted)
                for f in tracker.update(round(k * 1e9 / fps), [person])
            ] + tracker.flush()
            out = [frame.persons[0] for frame in done]

        given = np.array([p.skeleton_3d.joints_m - p.skeleton_3d.root_m for p in out])[:, 1:]
        true = (joints - joints[:, :1])[:, 1:]
        off = given - true
        covariance = np.array([p.skeleton_3d.covariance_m2[1:] for p in out])
        square.append(np.einsum("fja,fjab,fjb->fj", off, np.linalg.inv(covariance), off))
        changing = off - off.mean(0)
        errors.append((changing**2).sum(-1).mean())
        jitter.append((np.diff(given, n=2, axis=0) ** 2).sum(-1).mean())
        speed = np.gradient(true, axis=0) * fps
        late.append(-(changing * speed).sum() / (speed**2).sum())

    rms = lambda values: 1e3 * float(np.sqrt(np.mean(values)))  # noqa: E731

    return {
        "error_mm": rms(errors),
        "jitter_mm": rms(jitter),
        "late_ms": 1e3 * float(np.mean(late)),
        "inside_90": float((np.concatenate(square) < 6.251).mean()),
        "nees": float(np.concatenate(square).mean() / 3),
    }


def milliseconds(count: int, config: TrackerConfig, fps: float = 30.0) -> dict[str, float]:
    """CPU time of a frame of `count` persons, over their number."""
    paths = [straight((-2 + n, 3 + n % 3), (-1 + n, 3 + n % 3), 4.0, fps) for n in range(count)]
    people = [lift(walk(path, fps), np.random.default_rng(n)) for n, path in enumerate(paths)]
    tracker = Tracker(config)
    times = []

    for k in range(len(people[0])):
        persons = [person[k] for person in people]
        start = time.thread_time()
        tracker.update(round(k * 1e9 / fps), persons)
        times.append(1e3 * (time.thread_time() - start) / count)

    return dict(zip(("p50_ms", "p90_ms"), np.percentile(times[20:], [50, 90]).tolist()))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=50, help="crossings of each kind (default 50)")
    parser.add_argument(
        "--people", type=int, default=10, help="motions for the steadiness (default 10)"
    )
    parser.add_argument("--fps", type=float, default=30.0, help="frames a second (default 30)")
    parser.add_argument(
        "--mocap", default="", metavar="NPZ", help="recorded poses: positions, clip_id, fps"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()
    figures: dict[str, dict] = {"crossings": {}, "steadiness": {}, "time": {}}
    print(f"{'ids':44}{'switches':>10}{'runs':>10}{'right id':>10}{'IDF1':>8}")

    for count, metric in ((2, True), (3, True), (2, False), (3, False)):
        for name, make in (("tracker", Followed), ("nearest box", NearestBox)):
            row = crossings(make, count, args.seeds, args.fps, metric)
            title = f"{count} people, {'metres' if metric else 'no camera'}, {name}"
            figures["crossings"][title] = row
            runs = f"{row['runs_with_switches']}/{row['runs']}"
            print(
                f"{title:44}{row['switches']:10}{runs:>10}{row['right_id']:10.3f}{row['idf1']:8.3f}"
            )

    figures["following"] = {}
    print(
        f"\n{'following':34}{'detected':>10}{'found':>8}{'switches':>10}{'right id':>10}{'IDF1':>8}"
    )
    for count in (2, 3):
        for every in EVERY:
            row = following(every, count, args.seeds, args.fps)
            title = f"{count} people, detector.every {every}"
            figures["following"][title] = row
            print(
                f"{title:34}{row['detected']:10.3f}{row['found']:8.3f}{row['switches']:10}"
                f"{row['right_id']:10.3f}{row['idf1']:8.3f}"
            )

    people = motions(args.mocap, 4.0, args.fps, args.people)
    print(
        f"\n{'joints':44}{'error mm':>10}{'jitter mm':>10}{'late ms':>9}{'in 90 %':>9}{'NEES':>7}"
    )
    kinds = {"as lifted": None, "filter": TrackerConfig()} | {
        f"lag {lag} s": TrackerConfig(lag_s=lag) for lag in (0.1, 0.2, 0.5)
    }

    for title, config in kinds.items():
        row = figures["steadiness"][title] = steadiness(people, args.fps, config)
        errors = f"{row['error_mm']:10.1f}{row['jitter_mm']:10.1f}{row['late_ms']:9.1f}"
        coverage = f"{row['inside_90']:9.3f}{row['nees']:7.2f}"
        print(f"{title:44}{errors}{coverage}")

    print(f"\n{'CPU time a person a frame':44}{'p50 ms':>10}{'p90 ms':>10}")

    for count, lag in ((1, 0.0), (3, 0.0), (10, 0.0), (3, 0.2)):
        title = f"{count} persons, lag {lag} s"
        row = figures["time"][title] = milliseconds(count, TrackerConfig(lag_s=lag))
        print(f"{title:44}{row['p50_ms']:10.3f}{row['p90_ms']:10.3f}")

    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

    return 0


if __name__ == "__main__":
    sys.exit(main())
