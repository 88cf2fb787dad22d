# SPDX-License-Identifier: Apache-2.0
"""Poses of several cameras from the people that they see.

First the pose of each pair of cameras, and who is who between them (`relative_pose`). The pairs
that fit best connect the cameras. Then all poses at once, with the joints of people in frames that
are spread evenly (`bundle`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import LiftingError
from lifting_ros.multiview.bundle import Adjusted, PersonFrame, Prior, adjust
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.relative_pose import (
    LEAST_FRAMES,
    LEAST_KEYPOINTS,
    RelativePose,
    Track,
    evenly,
    relative_pose,
)
from lifting_ros.multiview.sighting import Sighting, sightings_of
from lifting_ros.multiview.timeline import CameraStream, common_stamps

MOST_TIMES = 1500
"""Common times that are looked at, evenly spread."""

MOST_PERSON_FRAMES = 200
"""Frames of persons that are adjusted."""

CELL_M = 0.25
"""Frames are spread over places of this size."""

LEAST_FITTING = 0.5
"""Share of the keypoints that must fit in the end."""

FITTING = 3.0
"""Distance in standard deviations up to which a keypoint fits."""

OUTLYING = 2.5
"""A frame is left out whose mean squared distance is as many times that of the median frame."""

ROUNDS = 4
"""Times at most that frames are left out."""

LARGEST_ROTATION_STD = np.radians(7.0)
"""A camera whose rotation is less certain, in rad, is not determined."""

LARGEST_PLACE_STD = 0.25
"""Likewise for its place, divided by the distance from the reference."""


class CameraPosesError(LiftingError):
    """The poses of cameras cannot be estimated from what they see; one line."""


class CameraPoses(NamedTuple):
    """Poses of C cameras in the optical frame of the first one."""

    poses: np.ndarray
    """(C, 4, 4) from the optical frames to the common frame."""
    place_std_m: np.ndarray
    """(C,) of the place along the least certain axis, the scale's included; 0 for the first."""
    rotation_std_rad: np.ndarray
    """(C,) about the least certain axis; 0 for the first."""
    reprojection_px: np.ndarray
    """(C,) median distance of joints from keypoints."""
    person_frames: int
    """Frames of persons that were used."""
    fitting: float
    """Share of the keypoints that fit."""


def estimate_camera_poses(
    names: Sequence[str],
    streams: Sequence[CameraStream],
) -> CameraPoses:
    """The poses of cameras that see the same people at the same time.

    names: of the cameras, for messages. streams: each in the optical frame of its camera, with
    tracked persons who have limb lengths, and views whose pose is the identity.

    CameraPosesError where the cameras do not see enough of the same people, and where the people
    leave a camera's pose open.
    """
    # Pairs of cameras
    config = FusionConfig()
    stamps = _common_times(streams)
    tracks = [tracks_by_time(stream, stamps, config) for stream in streams]
    stamps_s = (np.array(stamps) - min(stamps, default=0)) / 1e9
    links = _links(tracks, stamps_s)
    poses, skeleton_poses, used = _chained(names, links)

    # All cameras at once
    frames = _person_frames(tracks, used, stamps_s)
    chosen = _spread(frames, poses)
    people = np.median([_place(frame, skeleton_poses) for frame in chosen], axis=0)
    prior = Prior(skeleton_poses, people, config.limb_scale_std)

    try:
        adjusted, used_frames = _adjust_without_outliers(chosen, poses, prior)
    except np.linalg.LinAlgError:
        raise CameraPosesError("the people leave the cameras' poses open") from None

    focal = np.array([stream.newest.view.camera.focal_px for stream in streams])
    result = _summary(adjusted, focal, used_frames)
    _check(names, result)
    return result


def _common_times(streams: Sequence[CameraStream]) -> list[int]:
    """At most MOST_TIMES common times, evenly spread."""
    stamps = common_stamps(streams)
    return [stamps[index] for index in evenly(len(stamps), MOST_TIMES)]


def tracks_by_time(
    stream: CameraStream,
    stamps: Sequence[int],
    config: FusionConfig,
) -> dict[int, dict[int, Sighting]]:
    """The tracks of a camera by id, each by the number of the time; persons without an id are left
    out."""
    tracks: dict[int, dict[int, Sighting]] = {}
    for time, stamp in enumerate(stamps):
        frame = stream.at(stamp, 0.0)
        if frame is None:
            continue

        for one in sightings_of(frame, config):
            if one.person.id:
                tracks.setdefault(one.person.id, {})[time] = one

    return tracks


def _links(
    tracks: Sequence[Mapping[int, Track]],
    stamps_s: np.ndarray,
) -> dict[tuple[int, int], RelativePose]:
    """The relative pose of each pair of cameras that see somebody together."""
    links = {}
    for first, second in combinations(range(len(tracks)), 2):
        found = relative_pose(tracks[first], tracks[second], stamps_s)
        if found is not None:
            links[first, second] = found

    return links


def _chained(
    names: Sequence[str],
    links: Mapping[tuple[int, int], RelativePose],
) -> tuple[np.ndarray, np.ndarray, dict[tuple[int, int], RelativePose]]:
    """Poses (C, 4, 4) in the frame of the first camera; the same from the skeletons alone; and the
    links that connect the cameras. The links that fit best are used first."""
    both = np.tile(np.eye(4), (2, len(names), 1, 1))
    known = {0}
    used = {}
    while len(known) < len(names):
        ends = [pair for pair in links if (pair[0] in known) != (pair[1] in known)]
        if not ends:
            raise CameraPosesError(_not_connected(names, known))

        first, second = max(ends, key=lambda pair: links[pair].score)
        link = links[first, second]
        used[first, second] = link
        steps = np.stack(
            [
                _matrix(link.rotation, link.translation_m),
                _matrix(link.skeleton_rotation, link.skeleton_translation_m),
            ]
        )
        if first in known:
            both[:, second] = both[:, first] @ steps
        else:
            both[:, first] = both[:, second] @ np.linalg.inv(steps)
        known |= {first, second}

    return both[0], both[1], used


def _matrix(
    rotation: np.ndarray,
    translation: np.ndarray,
) -> np.ndarray:
    """Pose (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = translation
    return pose


def _not_connected(
    names: Sequence[str],
    known: set[int],
) -> str:
    there = ", ".join(names[index] for index in sorted(known))
    others = ", ".join(name for index, name in enumerate(names) if index not in known)
    return (
        f"{others}: expected at least {LEAST_FRAMES} frames of a person whom {there} sees at the"
        " same time, found none that fit"
    )


def _person_frames(
    tracks: Sequence[Mapping[int, Track]],
    links: Mapping[tuple[int, int], RelativePose],
    stamps_s: np.ndarray,
) -> list[PersonFrame]:
    """Who is seen by two cameras or more at a time, from the tracks that the links say are the same
    person."""
    persons: dict[tuple[int, int], int] = {}
    for (first, second), link in links.items():
        for one, other in link.matches:
            sources = ((first, one), (second, other))
            numbers = {persons.get(source, -1) for source in sources} - {-1}
            number = min(numbers, default=len(persons))
            for source, known in list(persons.items()):
                if known in numbers:
                    persons[source] = number
            persons.update(dict.fromkeys(sources, number))

    # By person and time; of two tracks of a camera the first one counts
    found: dict[tuple[int, int], dict[int, Sighting]] = {}
    for (camera, track), number in persons.items():
        for time, sighting in tracks[camera][track].items():
            found.setdefault((number, time), {}).setdefault(camera, sighting)

    in_order = sorted(set(persons.values()))
    frames = []
    for (number, time), sightings in sorted(found.items()):
        cameras = np.sum([one.seen for one in sightings.values()], axis=0)
        if (cameras >= 2).sum() >= LEAST_KEYPOINTS:
            person = in_order.index(number)
            frames.append(PersonFrame(person, float(stamps_s[time]), sightings))

    return frames


def _spread(
    frames: Sequence[PersonFrame],
    poses: np.ndarray,
) -> list[PersonFrame]:
    """At most MOST_PERSON_FRAMES, spread evenly over the places of the people and pairs of
    cameras, at random within each."""
    order = np.random.default_rng(0).permutation(len(frames))
    taken: dict[tuple[object, ...], int] = {}
    ranks = []

    for index in order:
        place = _place(frames[index], poses)
        cell = (*np.floor(place / CELL_M), *sorted(frames[index].sightings))
        taken[cell] = taken.get(cell, 0) + 1
        ranks.append(taken[cell])

    first = np.argsort(ranks, kind="stable")[:MOST_PERSON_FRAMES]
    return [frames[index] for index in np.sort(order[first])]


def _place(
    frame: PersonFrame,
    poses: np.ndarray,
) -> np.ndarray:
    """Where a person is (3,) in the common frame, as one of the cameras says."""
    camera, one = next(iter(frame.sightings.items()))
    root = one.person.skeleton_3d.root_m
    pose: np.ndarray = poses[camera]
    return pose[:3, :3] @ root + pose[:3, 3]


def _adjust_without_outliers(
    frames: Sequence[PersonFrame],
    poses: np.ndarray,
    prior: Prior,
) -> tuple[Adjusted, int]:
    """Adjusted poses, and how many frames made them: those left out fit far worse than the
    others, since a camera shows somebody else there, or has exchanged left and right."""
    adjusted = adjust(frames, poses, prior)
    for _ in range(ROUNDS):
        clipped = np.minimum(adjusted.distance, FITTING) ** 2
        total = np.bincount(adjusted.frame, weights=clipped)
        mean = total / np.bincount(adjusted.frame)
        good = mean <= OUTLYING * np.median(mean) + 1e-6
        if good.all():
            break

        frames = [frame for frame, keep in zip(frames, good) if keep]
        adjusted = adjust(frames, adjusted.poses, prior)

    return adjusted, len(frames)


def _summary(
    adjusted: Adjusted,
    focal_px: np.ndarray,
    person_frames: int,
) -> CameraPoses:
    """Standard deviations, and reprojection errors in px."""
    covariance = adjusted.covariance
    rotation = np.linalg.eigvalsh(covariance[:, :3, :3])[:, -1]
    place = np.linalg.eigvalsh(covariance[:, 3:, 3:])[:, -1]

    error = np.linalg.norm(adjusted.error, axis=1)
    median = [np.median(error[adjusted.camera == index]) for index in range(len(focal_px))]
    return CameraPoses(
        poses=adjusted.poses,
        place_std_m=np.sqrt(np.maximum(place, 0.0)),
        rotation_std_rad=np.sqrt(np.maximum(rotation, 0.0)),
        reprojection_px=focal_px * np.array(median),
        person_frames=person_frames,
        fitting=float((adjusted.distance < FITTING).mean()),
    )


def _check(
    names: Sequence[str],
    result: CameraPoses,
) -> None:
    """Raise CameraPosesError for a result that means nothing."""
    if result.fitting < LEAST_FITTING:
        raise CameraPosesError(
            f"only {result.fitting:.0%} of the keypoints fit; check camera_info and the stamps"
        )

    distance = np.linalg.norm(result.poses[:, :3, 3], axis=1)
    for index in range(1, len(names)):
        turn = result.rotation_std_rad[index]
        place = result.place_std_m[index]
        largest = LARGEST_PLACE_STD * distance[index]

        if not (turn < LARGEST_ROTATION_STD and place < largest):
            raise CameraPosesError(
                f"{names[index]}: its pose is not determined (rotation to"
                f" {np.degrees(turn):.1f} degrees, place to {place:.2f} m); let people walk through"
                " more of what both cameras see"
            )
