# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
from photos import write_data

from lifting_ros.research.datasets import false_alarms as module
from lifting_ros.research.datasets.false_alarms import (
    PARTS,
    SIZE,
    WINDOW_BOXES,
    alarm_boxes,
    alarm_windows,
    open_false_alarms,
)
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.scene_parts import random_window
from lifting_ros.research.training.train_network import TrainConfig
from lifting_ros.types import Detection


class Bright:
    """Stands for a detector that takes everything bright for a person."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        _, _, stats, _ = cv2.connectedComponentsWithStats((image.min(-1) > 127).astype(np.uint8))
        return [
            Detection(np.array([x, y, x + w - 1, y + h - 1], float), 0.5)
            for x, y, w, h, _ in stats[1:]
        ]


def test_windows_lie_around_what_was_found():
    picture = np.zeros((100, 160, 3), np.uint8)
    picture[40:60, 70:80] = 255
    boxes = alarm_boxes(Bright(), picture)
    (window,) = alarm_windows([picture], [boxes], 64)
    bright, side = np.argwhere(window[..., 0] > 127), 64 / WINDOW_BOXES
    np.testing.assert_allclose(bright.mean(0), 31.5, atol=1)
    np.testing.assert_allclose(np.ptp(bright, axis=0), [side, side / 2], atol=2.5)
    assert not alarm_boxes(Bright(), np.zeros_like(picture))


def test_what_measures_and_sets_thresholds_is_not_searched(tmp_path, monkeypatch):
    """Every photograph of the training side, and parts of each, and no other; a part is cut out
    when it is its turn."""
    data, seen, cut = write_data(tmp_path / "data", 60), [], []
    monkeypatch.setattr(
        module, "random_window", lambda *args: cut.append(1) or random_window(*args)
    )

    class Looks:
        def detect(self, image):
            seen.append(image)
            assert len(cut) <= len(seen)
            return []

    open_false_alarms(tmp_path / "alarms", Looks(), data, None, 32)
    whole = [image for image in seen if image.shape != (SIZE[1], SIZE[0], 3)]
    train = read_negatives(data / "negatives", "train")
    assert (
        len(train) == 46
        and all(map(np.array_equal, whole, train))
        and len(whole) == 46
        and len(seen) == 46 * (1 + PARTS)
    )


def test_the_pack_is_for_training_alone_and_shows_nobody(tmp_path):
    data, rooms = write_data(tmp_path / "data"), tmp_path / "rooms"
    rooms.mkdir()
    pictures = np.zeros((3, 36, 48, 3), np.uint8)
    pictures[:2, 10:20, 10:15] = 255
    np.save(rooms / "images.npy", pictures)
    pack = open_false_alarms(tmp_path / "alarms_rooms3_seed0", Bright(), data, rooms, 32)
    assert (
        pack.images.shape == (2, 32, 32, 3)
        and not pack.keypoints.any()
        and not pack.validation.any()
    )
    assert pack.name == "alarms" and any(
        share.split("=")[0] == pack.name for share in TrainConfig().shares
    )
    nothing = open_false_alarms(tmp_path / "none" / "alarms", Bright(), data, None, 32)
    assert nothing.images.shape == (0, 32, 32, 3)
