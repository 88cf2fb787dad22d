# SPDX-License-Identifier: Apache-2.0
"""The network from image to 3D that ships: small, with its card, and it says of the demo's person what each picture shows."""
import cv2
import numpy as np
import torch

from lifting_ros.core.image_pose import ImagePose
from lifting_ros.core.lifters import WEIGHTS
from lifting_ros.core.ppca import MixturePPCA
from lifting_ros.data.crops import true_crop
from lifting_ros.evaluation.metrics import n_mpjpe, pa_mpjpe


def test_what_ships_is_small_has_a_card_and_says_what_a_picture_shows():
    path, demo = WEIGHTS / "image.safetensors", WEIGHTS.parent / "demo"
    assert path.stat().st_size <= 5e6 and path.with_suffix(".md").is_file()
    network = ImagePose.load(path, WEIGHTS / "lite.safetensors", MixturePPCA.load(WEIGHTS / "prior.npz"))
    truth = np.load(demo / "walk_and_sit_truth.npz", allow_pickle=False)
    video, crops, joints = cv2.VideoCapture(str(demo / "walk_and_sit.mp4")), [], []
    for keypoints, pose in zip(truth["keypoints_px"], truth["joints_m"]):
        image = cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB)
        if np.isfinite(keypoints).all():
            crops.append(true_crop(image, np.column_stack([keypoints, np.ones(14)]), network.network.input_px)[0])
            joints.append(pose)
    crops, joints = np.stack(crops[::5]), np.stack(joints[::5]).astype(float)
    found = network.estimate(torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32) / 255))
    assert (found[:, 10, 1] < found[:, 0, 1]).all()  # heads above pelvises: y is down
    assert pa_mpjpe(found, joints).mean() < 0.13
    assert n_mpjpe(found, joints).mean() < 0.9 * n_mpjpe(found, np.roll(joints, len(joints) // 2, axis=0)).mean()  # of this picture
