# SPDX-License-Identifier: Apache-2.0
"""The 2D side on videos without labels: frames with somebody found, keypoints that jump, sides that
are exchanged; sheets to look at.

A keypoint jumps where it lies further than half a torso from where it was a frame before and from
where it is a frame later, and these two lie together. Sides are exchanged between two frames where
the arms and legs of the one fit those of the other better with left and right exchanged. Both of
confident keypoints, of people followed from frame to frame by their boxes. --sheets DIR draws
--frames frames of each video, the nearest person alone: orange is the person's right, blue the
left. --every N follows people between frames that are detected (`detector.every`), as the node
does; otherwise each frame stands alone. Of a stream also: frames that the detector saw, those
that waited for it, and ids that the tracker gave. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.detection.detector import overlaps
from lifting_ros.device import use_threads
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.keypoints.crop import crop_around
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_LIMBS, KEYPOINT_NAMES
from lifting_ros.tracking.tracking import Tracker
from lifting_ros.types import Skeleton2D
from lifting_ros.video import VideoEstimator

SURE = 0.3
"""Least confidence of a keypoint that counts."""
FAR = 0.5
"""Of the torso's length: a jump."""
FOLLOWED = 0.3
"""Least IoU of a person's boxes in two frames."""
TORSO = [KEYPOINT_NAMES.index(n) for n in ("neck", "right_hip", "left_hip")]
PAIRED = np.array(KEYPOINT_FLIP) != np.arange(len(KEYPOINT_FLIP))
TILE_PX = 200
COLOURS = {"right": (255, 140, 0), "left": (0, 120, 255), "": (255, 255, 255)}


def frames(video: Path, most: int = 0) -> Iterator[np.ndarray]:
    """The frames of a video (the first `most`), (H, W, 3) uint8 RGB."""
    capture = cv2.VideoCapture(str(video))
    for _ in range(most or 10**9):
        read, image = capture.read()
        if not read:
            return
        yield np.ascontiguousarray(image[..., ::-1])


def find_in_stream(
    estimator: PoseEstimator, video: Path, most: int = 0
) -> tuple[list[list[Skeleton2D]], dict[str, float]]:
    """The persons of each frame as the node finds them, and the figures of the stream."""
    fps = cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FPS)
    tracker = Tracker()
    stream = VideoEstimator(estimator, tracker)
    found = []
    waited = 0
    ids: set[int] = set()
    with mock.patch.object(estimator, "detect", wraps=estimator.detect) as detect:
        for number, image in enumerate(frames(video, most)):
            stamp_ns = round((number + 1) * 1e9 / fps)
            estimate = stream.estimate(stamp_ns, image)
            for tracked in tracker.update(stamp_ns, estimate.persons):
                ids.update(person.id for person in tracked.persons)
            found.append([person.skeleton_2d for person in estimate.persons])
            waited += estimate.detected
        stream.close()

    return found, {"detected": detect.call_count, "waited": waited, "ids": len(ids)}


def follow(found: list[list[Skeleton2D]]) -> list[list[tuple[int, Skeleton2D]]]:
    """Tracks as (frame, skeleton), from what is found in each frame, best first: each person goes
    on as the box that overlaps most."""
    tracks: list[list[tuple[int, Skeleton2D]]] = []
    for number, persons in enumerate(found):
        left = list(persons)
        for track in tracks:
            last, before = track[-1]
            if last == number - 1 and left:
                match = [overlaps(before.box_px, s.box_px[None])[0] for s in left]
                if max(match) >= FOLLOWED:
                    track.append((number, left.pop(int(np.argmax(match)))))

        tracks += [[(number, skeleton)] for skeleton in left]

    return tracks


def torso_px(skeleton: Skeleton2D) -> float:
    """Neck to the hips' middle, at least a fifth of the box's longer side: people bend."""
    neck, right, left = skeleton.keypoints_px[TORSO]
    box = skeleton.box_px

    return max(
        float(np.linalg.norm(neck - (right + left) / 2)), 0.2 * float(max(box[2:] - box[:2]))
    )


def jumps(track: list[tuple[int, Skeleton2D]]) -> tuple[int, int]:
    """Keypoints of a track that jump, and those that could have."""
    jumped = counted = 0
    for (_, a), (_, b), (_, c) in zip(track, track[1:], track[2:]):
        sure = np.minimum(np.minimum(a.confidence, b.confidence), c.confidence) >= SURE
        far = FAR * torso_px(b)
        ab, bc, ac = (
            np.linalg.norm(x.keypoints_px - y.keypoints_px, axis=-1)
            for x, y in ((a, b), (b, c), (a, c))
        )
        jumped += int((sure & (ab > far) & (bc > far) & (ac < far)).sum())
        counted += int(sure.sum())

    return jumped, counted


def exchanges(track: list[tuple[int, Skeleton2D]]) -> int:
    """Pairs of frames of a track between which left and right are exchanged."""
    count = 0
    for (_, a), (_, b) in zip(track, track[1:]):
        sure = PAIRED & (np.minimum(a.confidence, b.confidence) >= SURE)
        if sure.sum() >= 4:
            stays = np.linalg.norm(a.keypoints_px - b.keypoints_px, axis=-1)[sure].mean()
            exchanged = np.linalg.norm(
                a.keypoints_px - b.keypoints_px[list(KEYPOINT_FLIP)], axis=-1
            )[sure].mean()
            count += bool(exchanged < 0.6 * stays)

    return count


def row(found: list[list[Skeleton2D]]) -> dict[str, float]:
    """Figures of a video."""
    tracks = follow(found)
    jumped, counted = map(sum, zip(*(jumps(t) for t in tracks))) if tracks else (0, 0)

    return {
        "frames": float(len(found)),
        "with people": float(sum(map(bool, found))),
        "people a frame": sum(map(len, found)) / max(len(found), 1),
        "jumps per 1,000": 1000 * jumped / counted if counted else float("nan"),
        "exchanges": float(sum(exchanges(t) for t in tracks)),
        "pairs of frames": float(sum(len(t) - 1 for t in tracks)),
    }


def tile(image: np.ndarray, skeleton: Skeleton2D | None, caption: str) -> np.ndarray:
    """The person alone with limbs coloured by side, or the whole frame in grey where nobody is
    found; (TILE_PX, TILE_PX, 3)."""
    if skeleton is None:
        shown = cv2.cvtColor(
            cv2.cvtColor(cv2.resize(image, (TILE_PX, TILE_PX)), cv2.COLOR_RGB2GRAY),
            cv2.COLOR_GRAY2RGB,
        )
    else:
        area = crop_around(skeleton.box_px, TILE_PX)
        place = np.array([[1 / area.scale, 0, 0], [0, 1 / area.scale, 0]])
        place[:, 2] = area.from_image(np.zeros(2))
        shown = cv2.warpAffine(image, place, (TILE_PX, TILE_PX))
        points = area.from_image(skeleton.keypoints_px)

        for a, b in KEYPOINT_LIMBS:
            if min(skeleton.confidence[[a, b]]) >= SURE:
                side = KEYPOINT_NAMES[b].partition("_")[0]
                ends = (tuple(map(int, points[k])) for k in (a, b))
                cv2.line(shown, *ends, COLOURS.get(side, COLOURS[""]), 2, cv2.LINE_AA)

    return cv2.putText(
        shown, caption, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1, cv2.LINE_AA
    )


def nearest(persons: list[Skeleton2D]) -> Skeleton2D | None:
    """The one whose box is longest; None of none."""
    return max(persons, key=lambda s: float(max(s.box_px[2:] - s.box_px[:2])), default=None)


def sheet(tiles: list[np.ndarray], columns: int = 10) -> np.ndarray:
    """Tiles in rows."""
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.concatenate(
        [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    parser.add_argument(
        "--weights", default="", metavar="W", help="network weights (default: the ones that ship)"
    )
    parser.add_argument(
        "--most", type=int, default=0, metavar="N", help="frames of each video (default all)"
    )
    parser.add_argument(
        "--every", type=int, default=0, metavar="N", help="as a stream, with detector.every N"
    )
    parser.add_argument(
        "--frames", type=int, default=50, metavar="N", help="frames of a sheet (default 50)"
    )
    parser.add_argument(
        "--sheets", type=Path, default=None, metavar="DIR", help="where sheets of frames are drawn"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()
    use_threads()
    config = EstimatorConfig(weights=args.weights)
    detector = dataclasses.replace(config.detector, every=max(args.every, 1))
    estimator = PoseEstimator(dataclasses.replace(config, detector=detector))
    rows = {}

    for video in args.videos:
        if args.every:
            found, figures = find_in_stream(estimator, video, args.most)
        else:
            found = [
                estimator.find_keypoints(image, estimator.detect(image))
                for image in frames(video, args.most)
            ]
            figures = {"detected": len(found)}
        total = len(found)
        if not total:
            print(f"{video}: not a readable video", file=sys.stderr)
            return 2

        rows[video.stem] = row(found) | figures

        if args.sheets:
            chosen = set(np.linspace(0, total - 1, min(args.frames, total)).astype(int).tolist())
            tiles = [
                tile(i, nearest(found[n]), str(n))
                for n, i in enumerate(frames(video, total))
                if n in chosen
            ]
            cv2.imwrite(str(args.sheets / f"{video.stem}.png"), sheet(tiles)[..., ::-1])

    print_table("videos", rows)

    if args.json:
        write_json(args.json, rows)

    return 0


if __name__ == "__main__":
    sys.exit(main())
