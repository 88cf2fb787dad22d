# SPDX-License-Identifier: Apache-2.0
"""A small folder of data as the tests draw it: white people with a red dot on every keypoint,
before blue walls, and walls alone."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.research.datasets.keypoints2d import PHOTO_SETS


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def write_tar(path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def photo(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture, mask and keypoints (14, 3) of a white person before a blue wall."""
    image, mask = np.full((200, 150, 3), (0, 0, 200), np.uint8), np.zeros((200, 150), np.uint8)
    keypoints = np.column_stack(
        [rng.uniform(45, 105, 14), rng.uniform(30, 170, 14), np.ones(14)]
    ).astype(np.float32)
    image[20:180, 35:115], mask[20:180, 35:115] = 255, 255
    for x, y, _ in keypoints:
        cv2.circle(image, (round(float(x)), round(float(y))), 4, (255, 0, 0), -1)
    return image, mask, keypoints


def write_data(root: Path, count: int = 12) -> Path:
    """keypoints2d/ with `count` photographs a set, and negatives/."""
    rng = np.random.default_rng(0)
    for name in PHOTO_SETS:
        folder = root / "keypoints2d" / name
        folder.mkdir(parents=True)
        names = [f"A{n:04}.png" for n in range(count)]
        images, masks, joints = zip(*(photo(rng) for _ in names))
        write_tar(folder / "images.tar", {n: png(i) for n, i in zip(names, images)})
        write_tar(folder / "masks.tar", {n: png(m) for n, m in zip(names, masks)})
        np.savez(
            folder / "annotations.npz",
            names=np.array(names),
            joints=np.stack(joints),
            has_mask=np.ones(count, bool),
        )
    (root / "negatives").mkdir()
    names = [f"{n}.png" for n in range(count)]
    walls = {
        n: png(np.full((120, 160, 3), (0, 0, rng.integers(150, 255)), np.uint8)) for n in names
    }
    write_tar(root / "negatives" / "images.tar", walls)
    np.savez(root / "negatives" / "names.npz", names=np.array(names))
    return root
