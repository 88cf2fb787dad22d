# SPDX-License-Identifier: Apache-2.0
"""Scenes for the person detector: photographs with one labelled person, composites and rendered crowds whose every person is known, and
pictures without people.

A composite puts people cut out of the masked photographs, at any size, into pictures without people. In a photograph only the surroundings
of the labelled person are known, which is put into a picture without people where it does not fill the scene; `known` says where an absence
may be learnt.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.data.crowd_pack import CrowdPack
from lifting_ros.data.keypoints2d import keypoint_box, photo_sets_in, read_photo_set
from lifting_ros.data.negatives import read_negatives
from lifting_ros.data.scene_parts import (
    Cutout,
    Scene,
    labelled_scene,
    mirror,
    move,
    patch,
    random_window,
    read_cutouts,
    recolour,
    rectangle,
    tiled,
    warp,
)
from lifting_ros.data.splits import rows_of

KINDS = ("photograph", "mosaic", "composite", "rendered", "nobody")
KIND_SHARES = (0.25, 0.18, 0.13, 0.20, 0.24)
PHOTO_WEIGHT = {"lspet": 0.5, "street": 1.0, "gym": 2.5, "people": 3.0}
"""How often a photo of a set is drawn."""
PHOTO_REACH = {"lspet": 0.25, "street": 0.25, "gym": 1.0, "people": 0.25}
"""How far around the labelled person, in sides of its box, a photo of a set is known to show nobody else."""
SMALLEST_PX = 27
"""Longer side of the smallest person in a scene: 54 px at 640 x 480."""
LEAST_SEEN = 0.3
"""Share of a person that must be seen for it to be one to find."""


class SceneSource:
    """Draws scenes of a side (`train`, `tune`, `validation`); the same random generator gives the same scene."""

    def __init__(
        self, data: Path, open_crowds: Callable[[], CrowdPack] | None, width: int = 320, height: int = 256, side: str = "train"
    ):
        """data: folder with keypoints2d/ and negatives/; open_crowds: gives the rendered pictures of that side, None where there are none.

        It is called last: a photograph that cannot be read is told before pictures are rendered.
        """
        self.size = (width, height)
        photos = [read_photo_set(data / "keypoints2d", name) for name in photo_sets_in(data / "keypoints2d")]
        self.photos = [(p, i) for p in photos for i in np.flatnonzero(rows_of(p.validation, side))]
        share = np.array([PHOTO_WEIGHT[p.name] for p, _ in self.photos])
        self.share = share / share.sum()
        masked = [p for p in photos if (data / "keypoints2d" / p.name / "masks.tar").is_file()]
        self.cutouts = [c for p in masked for c in read_cutouts(data / "keypoints2d" / p.name, p, rows_of(p.validation, side))]
        self.empty = read_negatives(data / "negatives", side)
        self.crowds = crowds = open_crowds() if open_crowds else None
        peopled = np.unique(crowds.picture) if crowds else np.zeros(0, int)
        self.peopled, self.unpeopled = peopled, np.setdiff1d(np.arange(len(crowds.images) if crowds else 0), peopled)
        shares = np.array(KIND_SHARES) * [1, 1, bool(self.cutouts), bool(len(peopled)), 1]
        self.kind_shares = shares / shares.sum()

    def draw(self, rng: np.random.Generator, kind: str | None = None) -> Scene:
        """A scene of a kind, or of any; in other colours, and every second mirrored."""
        kind = kind or KINDS[rng.choice(len(KINDS), p=self.kind_shares)]
        scene = getattr(self, kind)(rng)
        scene = scene._replace(image=recolour(scene.image, rng))
        return mirror(scene) if rng.random() < 0.5 else scene

    def photograph(self, rng: np.random.Generator, size: tuple[int, int] | None = None) -> Scene:
        """A labelled photograph at a random scale, turn and place, in a picture without people."""
        size = size or self.size
        photos, index = self.photos[rng.choice(len(self.photos), p=self.share)]
        image, keypoints = photos.image(index), photos.keypoints[index]
        middle, side = _middle_and_side(keypoint_box(keypoints))
        low, high = np.log(SMALLEST_PX), np.log(1.05 * min(size))
        scale = np.exp(rng.uniform(0.4 * low + 0.6 * high if rng.random() < 0.5 else low, high)) / side
        turn = rng.uniform(-180, 180) if rng.random() < 0.12 else np.clip(rng.normal(0, 8), -16, 16)
        transform = cv2.getRotationMatrix2D(tuple(map(float, middle)), turn, scale)
        transform[:, 2] += np.array(size) * rng.uniform(0.25, 0.75, 2) - middle
        picture = random_window(self.empty[rng.integers(len(self.empty))], size, rng)
        inside = cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), transform, size, flags=cv2.INTER_NEAREST) > 0
        picture = np.where(inside[..., None], warp(image, transform, size), picture)
        keypoints = move(keypoints, transform)
        near = surroundings(keypoint_box(keypoints), size, PHOTO_REACH[photos.name])
        return labelled_scene(picture, keypoints[None], np.ones(1, bool), near | ~inside)

    def mosaic(self, rng: np.random.Generator) -> Scene:
        """Four or six photographs, now and then one without people, side by side."""
        columns = int(rng.choice([2, 3]))
        size = (self.size[0] // columns, self.size[1] // 2)
        scenes = [self._window(rng, size) if rng.random() < 0.15 else self.photograph(rng, size) for _ in range(2 * columns)]
        scene = tiled(scenes, columns)
        missing = self.size[0] - scene.known.shape[1]
        image = np.pad(scene.image, ((0, 0), (0, missing), (0, 0)))
        return scene._replace(image=image, known=np.pad(scene.known, ((0, 0), (0, missing)), constant_values=True))

    def composite(self, rng: np.random.Generator, people: int | None = None) -> Scene:
        """An empty picture with cut-out persons, the later in front, and patches; who is mostly covered is not counted."""
        people = int(rng.integers(1, 9)) if people is None else people
        scene = self._window(rng, self.size)
        picture, owner = scene.image.copy(), np.full(scene.known.shape, -1)
        persons, areas = np.zeros((people, 14, 3)), np.zeros(people)
        middle = rng.uniform(0, 1)
        for person in range(people):
            cutout = self.cutouts[rng.integers(len(self.cutouts))]
            transform = self._place(cutout, middle, rng)
            mask = warp(cutout.mask, transform, self.size) > 127
            picture[mask], owner[mask] = warp(recolour(cutout.image, rng), transform, self.size)[mask], person
            persons[person] = move(cutout.keypoints, transform)
            areas[person] = max((cutout.mask > 127).sum() * transform[0, 0] ** 2, 1)
        for _ in range(rng.integers(0, 3)):
            mask = patch(self.size, rng)
            picture[mask], owner[mask] = self._window(rng, self.size).image[mask], -1
        seen = np.array([(owner == person).sum() for person in range(people)]) / np.maximum(areas, 1)
        return labelled_scene(picture, persons, seen >= LEAST_SEEN, scene.known)

    def rendered(self, rng: np.random.Generator) -> Scene:
        """A rendered crowd, a little nearer or further."""
        picture = self.peopled[rng.integers(len(self.peopled))]
        rows = np.flatnonzero(self.crowds.picture == picture)
        scale = np.exp(rng.uniform(-0.15, 0.4))
        shift = (1 - scale) * np.array(self.size) * rng.uniform(0, 1, 2)
        transform = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        image = cv2.warpAffine(self.crowds.images[picture], transform, self.size, borderValue=rng.integers(0, 256, 3).tolist())
        return crowd_scene(image, move(self.crowds.keypoints[rows], transform), self.crowds.seen[rows])

    def nobody(self, rng: np.random.Generator) -> Scene:
        """Pictures without people: windows of photographs, alone or side by side, with patches of each other, and rendered ones."""
        if len(self.unpeopled) and rng.random() < 0.5:
            image = self.crowds.images[self.unpeopled[rng.integers(len(self.unpeopled))]]
            return empty_scene(random_window(image, self.size, rng))
        if rng.random() < 0.4:
            half = (self.size[0] // 2, self.size[1] // 2)
            return tiled([self._window(rng, half) for _ in range(4)], 2)
        scene = self._window(rng, self.size)
        picture = scene.image.copy()
        for _ in range(rng.integers(0, 5)):
            mask = patch(self.size, rng)
            picture[mask] = self._window(rng, self.size).image[mask]
        return scene._replace(image=picture)

    def _window(self, rng: np.random.Generator, size: tuple[int, int]) -> Scene:
        return empty_scene(random_window(self.empty[rng.integers(len(self.empty))], size, rng))

    def _place(self, cutout: Cutout, middle: float, rng: np.random.Generator) -> np.ndarray:
        """A transform (2, 3) to a size around the scene's common one and to any place."""
        box = keypoint_box(cutout.keypoints)
        share = np.clip(middle + 0.3 * rng.standard_normal(), 0, 1)
        height = SMALLEST_PX * (self.size[1] / SMALLEST_PX) ** share
        scale = height / (box[3] - box[1])
        target = np.array(self.size) * rng.uniform((0.02, 0.1), (0.98, 0.9))
        if height > 0.6 * self.size[1]:
            target[1] = np.clip(target[1], 0.3 * self.size[1], 0.75 * self.size[1])
        shift = target - scale * (box[:2] + box[2:]) / 2
        return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def crowd_scene(image: np.ndarray, keypoints: np.ndarray, seen: np.ndarray) -> Scene:
    """A picture of which everything is known: keypoints (M, 14, 3) of all persons, of which a share `seen` (M,) is seen.

    Boxes take hidden keypoints too, so that a person does not change its size behind a table.
    """
    everything = keypoints.copy()
    everything[..., 2] = 1
    return labelled_scene(image, everything, seen >= LEAST_SEEN, np.ones(image.shape[:2], bool))


def empty_scene(image: np.ndarray) -> Scene:
    """A picture in which nobody is."""
    return Scene(image, np.zeros((0, 4)), np.zeros((0, 14, 3)), np.ones(image.shape[:2], bool))


def _middle_and_side(box: np.ndarray) -> tuple[np.ndarray, float]:
    return (box[:2] + box[2:]) / 2, max(*(box[2:] - box[:2]), 1.0)


def surroundings(box: np.ndarray, size: tuple[int, int], reach: float) -> np.ndarray:
    """Where a photograph is known to hold nobody else: within `reach` box sides of the labelled person."""
    margin = reach * max(box[2:] - box[:2])
    return rectangle(box + np.array([-margin, -margin, margin, margin]), size)
