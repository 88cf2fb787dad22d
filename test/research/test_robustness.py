# SPDX-License-Identifier: Apache-2.0
"""Each way of making a photograph worse does what its name says, keeps labels on the person, and is
the same for the same seed."""

from types import SimpleNamespace

import numpy as np
import pytest

from lifting_ros.research.datasets.crops import motion_blur
from lifting_ros.research.datasets.keypoints2d import keypoint_box
from lifting_ros.research.evaluation import robustness
from lifting_ros.research.evaluation.robustness import CONDITIONS, HIDDEN, SMALL_PX

WORSE = [name for name in CONDITIONS if name != "as it is"]


def photograph() -> tuple[np.ndarray, np.ndarray]:
    """A bright figure of 14 dots, 200 px high, on noise; and its labels (14, 3)."""
    rng = np.random.default_rng(0)
    image = rng.integers(60, 120, (300, 240, 3), np.uint8)
    points = np.column_stack([60 + 8 * np.arange(14) % 120, 40 + 200 * np.arange(14) // 13]).astype(
        np.float32
    )
    for x, y in points.astype(int):
        image[y - 6 : y + 7, x - 6 : x + 7] = 250
    return image, np.column_stack([points, np.ones(14, np.float32)])


def worsened(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return CONDITIONS[name](*photograph(), np.random.default_rng(seed))


@pytest.mark.parametrize("name", WORSE)
def test_disturbed_photograph_is_repeatable_copy(name):
    image, keypoints = photograph()
    worse, labels = CONDITIONS[name](image, keypoints, np.random.default_rng(3))
    again, _ = worsened(name, 3)
    assert worse.dtype == np.uint8 and worse.ndim == 3 and np.array_equal(worse, again)
    assert worse.shape != image.shape or not np.array_equal(worse, image)
    assert np.array_equal(image, photograph()[0]) and np.array_equal(keypoints, photograph()[1])


@pytest.mark.parametrize("name", [name for name in WORSE if name != "30 % hidden"])
def test_labels_stay_on_the_person(name):
    """Every labelled place is brighter than the picture around it."""
    worse, labels = worsened(name)
    x, y = np.rint(labels[:, :2]).astype(int).T
    blurred = worse.astype(float).mean(-1)
    assert (blurred[y, x] > np.median(blurred)).mean() > 0.9


def test_brightness_is_halved_and_night_is_noisier_than_day():
    image, _ = photograph()
    assert worsened("half brightness")[0].mean() == pytest.approx(image.mean() / 2, rel=0.01)
    night = worsened("night")[0].astype(float)
    shift = np.abs(night - image)[20:26, 20:26].mean()
    assert 8 < shift < 80 and abs(night.mean() - image.mean()) < 25


def test_less_light_is_more_noise():
    day, _ = photograph()
    noise = []
    for exposure in (1 / 4, 1 / 16, 1 / 64):
        dark, _ = robustness.night(*photograph(), np.random.default_rng(0), exposure)
        noise.append(np.std(dark.astype(float) - day))
    assert noise[1] > 1.5 * noise[0] and noise[2] > 1.5 * noise[1]


def test_at_night_light_itself_is_noisy_and_so_is_the_dark():
    """The deviation in electrons, one part of which grows with the light; where there is none the
    other is left."""
    noise = []
    for value in (0, 100, 200):
        night = CONDITIONS["night"](
            np.full((80, 80, 3), value, np.uint8), photograph()[1], np.random.default_rng(0)
        )[0]
        noise.append(((night / 255.0) ** 2.2).std())
    assert noise[2] > 1.25 * noise[1] > 1.25 * noise[0] > 0


def test_stronger_compression_changes_more():
    image, keypoints = photograph()
    image[:] = image[..., :1]  # grey: any compression blurs colours
    noisy = CONDITIONS["JPEG quality 20"](image, keypoints, np.random.default_rng(0))[0]
    assert np.abs(noisy.astype(int) - image).mean() > 5
    orange = np.full((32, 32, 3), (230, 120, 20), np.uint8)
    assert (
        np.abs(
            CONDITIONS["JPEG quality 20"](orange, keypoints, np.random.default_rng(0))[0].astype(
                int
            )
            - orange
        ).max()
        < 12
    )


def test_motion_blur_is_directional_and_keeps_brightness():
    dot = np.zeros((41, 41, 3), np.uint8)
    dot[20, 20] = 255
    ways = []
    for seed in range(5):
        spread = CONDITIONS["motion blur 9 px"](dot, photograph()[1], np.random.default_rng(seed))[
            0
        ][..., 0].astype(float)
        y, x = np.nonzero(spread)
        along, axes = np.linalg.eigh(np.cov(np.stack([x, y]), aweights=spread[y, x]))
        ways.append(abs(axes[0, 1]))
        assert (
            spread.sum() == pytest.approx(255, rel=0.1)
            and along[1] == pytest.approx(80 / 12, rel=0.35)
            and along[0] < 0.5
        )
    assert max(ways) - min(ways) > 0.3  # every photograph another direction


def test_blur_goes_along_the_angle_that_is_given():
    for angle, axis in ((0, 0), (90, 1)):
        rows = (
            np.flatnonzero(motion_blur(9, angle).sum(axis) > 0.05),
            np.flatnonzero(motion_blur(9, angle).sum(1 - axis) > 0.05),
        )
        assert len(rows[0]) == 9 and len(rows[1]) == 1


def test_persons_are_reduced_to_64_px_never_enlarged():
    worse, labels = worsened("64 px person")
    x0, y0, x1, y1 = keypoint_box(labels)
    assert max(x1 - x0, y1 - y0) == pytest.approx(SMALL_PX, abs=1)
    spot = np.exp(
        -0.5 * ((np.mgrid[:300, :240] - np.array([200, 100])[:, None, None]) ** 2).sum(0) / 12**2
    )
    keypoints = photograph()[1]
    keypoints[3, :2] = 100, 200
    picture = np.repeat((250 * spot).astype(np.uint8)[..., None], 3, -1)
    small, moved = CONDITIONS["64 px person"](picture, keypoints, np.random.default_rng(0))
    centre = [
        np.average(index, weights=small[..., 0])
        for index in np.mgrid[: small.shape[0], : small.shape[1]][::-1]
    ]
    np.testing.assert_allclose(
        moved[3, :2], centre, atol=0.1
    )  # half a pixel before is not half a pixel after
    again, same = CONDITIONS["64 px person"](worse, labels, np.random.default_rng(0))
    assert abs(again.shape[0] - worse.shape[0]) <= 1 and np.allclose(same, labels, atol=0.6)


def test_so_much_of_the_box_is_hidden_and_nothing_else():
    image, keypoints = photograph()
    x0, y0, x1, y1 = keypoint_box(keypoints)
    places = set()
    for seed in range(20):
        changed = (worsened("30 % hidden", seed)[0] != image).any(-1)
        y, x = np.nonzero(changed)
        area = (np.ptp(x) + 1) * (np.ptp(y) + 1)
        assert area / ((x1 - x0) * (y1 - y0)) == pytest.approx(HIDDEN, rel=0.06)
        assert x.min() >= x0 - 1 and x.max() <= x1 + 1 and y.min() >= y0 - 1 and y.max() <= y1 + 1
        places.add((x.min(), y.min()))
    assert len(places) > 15


def test_table_has_conditions_as_rows_and_sets_as_columns(monkeypatch):
    """An estimator that always answers with the labels of the photograph as it was: right but where
    the person became small."""
    image, keypoints = photograph()
    sides = np.array([False, True, True])
    photos = SimpleNamespace(
        name="street",
        keypoints=np.stack([keypoints] * 3),
        image=lambda row: image,
        validation=sides,
    )
    monkeypatch.setattr(robustness, "photo_sets_in", lambda root: ["street"])
    monkeypatch.setattr(robustness, "read_photo_set", lambda root, name: photos)
    person = SimpleNamespace(keypoints_px=keypoints[:, :2], box_px=keypoint_box(keypoints))
    estimator = SimpleNamespace(detect=lambda image: [], find_keypoints=lambda image, _: [person])
    table = robustness.robustness_table(estimator, robustness.Path("data"))
    assert list(table) == list(CONDITIONS)
    for name, row in table.items():
        assert (
            (row["street"] == 1 and row["street found"] == 1)
            if name != "64 px person"
            else row["street"] < 0.5
        )


def test_table_is_repeatable_and_photographs_are_independent(
    monkeypatch,
):
    image, keypoints = photograph()
    read, seen = [], []
    photos = SimpleNamespace(
        name="street",
        keypoints=np.stack([keypoints] * 5),
        image=lambda row: read.append(row) or image,
        validation=np.arange(5) % 2 == 1,
    )
    monkeypatch.setattr(robustness, "photo_sets_in", lambda root: ["street"])
    monkeypatch.setattr(robustness, "read_photo_set", lambda root, name: photos)
    estimator = SimpleNamespace(
        detect=lambda image: [],
        find_keypoints=lambda image, _: seen.append(image) or [],
    )
    for seed in (0, 0, 1):
        robustness.robustness_table(estimator, robustness.Path("data"), 2, seed)
    assert set(read) == {1, 3}
    first, again, other = (
        [picture.tobytes() for picture in seen[start : start + 14]] for start in (0, 14, 28)
    )
    assert first == again and first != other
    night = 2 * list(CONDITIONS).index("night")
    assert (
        first[night] != first[night + 1] and first[night] != other[night] and first[:2] == other[:2]
    )
