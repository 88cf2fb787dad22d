# SPDX-License-Identifier: Apache-2.0
"""Joint offsets: from keypoints to joints in the image, read from weights, in any camera."""

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see
from scipy.spatial.transform import Rotation

from lifting_ros.geometry.camera import Camera
from lifting_ros.io.checkpoint import CheckpointError, save_tensors
from lifting_ros.lifting.encoding import encode_views, views_of
from lifting_ros.lifting.joint_offsets import (
    HEADER,
    LAYERS,
    PREFIX,
    JointOffsets,
    axes_px,
    offsets_to,
    read_joint_offsets,
)
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.request import UP, Keypoints
from lifting_ros.research.training.train_joint_offsets import (
    JointOffsetsTrainConfig,
    OffsetsNetwork,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

COUNT = 4
ALL = np.ones(COUNT, bool)


def people(seed: int = 3) -> tuple[np.ndarray, Keypoints]:
    """True joints (N, 17, 3) and their keypoints."""
    joints, keypoints = see(make_poses(COUNT, seed=seed, yaw=True))
    covariance = np.tile(4 * np.eye(2), (COUNT, 14, 1, 1))
    return joints, Keypoints(keypoints, np.ones((COUNT, 14)), covariance)


def offsets_tensors(x: float = 0.0, y: float = 0.0, log_factor: float = 0.0) -> dict:
    """A network that says the same of everybody."""
    network = OffsetsNetwork(JointOffsetsTrainConfig(width=8))
    tensors = {name: 0 * value.numpy() for name, value in network.state_dict().items()}
    tensors["out.bias"] = np.repeat(np.array([x, y, log_factor], np.float32), 14)
    return tensors


def random_tensors() -> dict:
    torch.manual_seed(0)
    network = OffsetsNetwork(JointOffsetsTrainConfig(width=8))
    torch.nn.init.normal_(network.out.weight, std=0.3)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def extent_of(points: np.ndarray) -> np.ndarray:
    """Root mean square distance (N,) from the mean."""
    centred = points - points.mean(1, keepdims=True)
    return np.sqrt((centred**2).sum(2).mean(1))


def test_right_and_down_are_those_of_the_picture_of_a_level_camera():
    _, seen = people()
    moved = JointOffsets(offsets_tensors(0.1, -0.2)).joints_of(seen, CAMERA, UP, ALL)
    step = moved.keypoints_px - seen.keypoints_px
    extent = extent_of(seen.keypoints_px)
    for axis, share in enumerate((0.1, -0.2)):
        expected = np.broadcast_to(share * extent[:, None], (COUNT, 14))
        np.testing.assert_allclose(step[..., axis], expected, rtol=0.02, atol=0.005 * extent.max())


@pytest.mark.parametrize("degrees", [30.0, 90.0, 180.0])
def test_a_rolled_camera_sees_the_same_joints(degrees):
    """The keypoints, up and the joints turn together."""
    _, seen = people()
    offsets = JointOffsets(random_tensors())
    centre = CAMERA.matrix[:2, 2]
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()

    def rolled(points: np.ndarray) -> np.ndarray:
        return (points - centre) @ turn[:2, :2].T + centre

    turned = seen._replace(keypoints_px=rolled(seen.keypoints_px))
    plain = offsets.joints_of(seen, CAMERA, UP, ALL)
    moved = offsets.joints_of(turned, CAMERA, turn @ np.array(UP), ALL)
    assert np.abs(plain.keypoints_px - seen.keypoints_px).max() > 3
    np.testing.assert_allclose(moved.keypoints_px, rolled(plain.keypoints_px), atol=0.01)


@pytest.mark.parametrize(
    "camera", [CAMERA, None, Camera(CAMERA.matrix, np.array([-0.2, 0.05, 0, 0, 0]))]
)
def test_what_is_learnt_leads_to_the_joints(camera):
    joints, _ = people()
    projected = (camera or CAMERA).project(joints[:, list(KEYPOINT_TO_JOINT)])
    rng = np.random.default_rng(0)
    keypoints = projected + rng.normal(0, 5, projected.shape)
    seen = Keypoints(keypoints, np.ones((COUNT, 14)), None)
    views = views_of(seen, camera, UP, LifterConfig())
    offset = offsets_to(projected, views, seen)
    assert np.abs(offset).max() < 0.5  # of the extent
    np.testing.assert_allclose(keypoints + offset @ axes_px(views, seen), projected, atol=1e-6)


def test_certainty_is_scaled_and_shape_stays():
    _, seen = people()
    moved = JointOffsets(offsets_tensors(log_factor=np.log(3.0))).joints_of(seen, CAMERA, UP, ALL)
    np.testing.assert_allclose(moved.covariance_px2, 9 * seen.covariance_px2, rtol=1e-5)
    np.testing.assert_array_equal(moved.confidence, seen.confidence)
    np.testing.assert_allclose(moved.keypoints_px, seen.keypoints_px)


def test_some_stay_as_they_are():
    _, seen = people()
    confidence = seen.confidence.copy()
    confidence[2] = 0
    unknown = seen.keypoints_px.copy()
    unknown[2] = np.nan
    seen = seen._replace(confidence=confidence, keypoints_px=unknown)
    which = np.array([True, False, True, True])
    moved = JointOffsets(offsets_tensors(0.1, 0.1, 1.0)).joints_of(seen, CAMERA, UP, which)
    for row, is_moved in enumerate([True, False, False, True]):
        same = np.array_equal(moved.keypoints_px[row], seen.keypoints_px[row], equal_nan=True)
        assert same != is_moved
        assert np.array_equal(moved.covariance_px2[row], seen.covariance_px2[row]) != is_moved

    without = seen._replace(covariance_px2=None)
    assert (
        JointOffsets(offsets_tensors()).joints_of(without, None, UP, which).covariance_px2 is None
    )


def test_it_computes_what_the_network_that_was_trained_does():
    tensors = random_tensors()
    network = OffsetsNetwork(JointOffsetsTrainConfig(width=8)).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    _, seen = people()
    encoded = encode_views(views_of(seen, CAMERA, UP, LifterConfig()), True)
    with torch.inference_mode():
        expected = network(torch.from_numpy(encoded))
    for one, other in zip(JointOffsets(tensors).of_encoded(encoded), expected):
        np.testing.assert_allclose(one, other, atol=1e-5)


def write(path, tensors, header):
    named = {PREFIX + name: torch.from_numpy(value) for name, value in tensors.items()}
    save_tensors(path, named, header)
    return path


def test_offsets_are_read_from_a_weights_file(tmp_path):
    tensors = random_tensors()
    file = write(tmp_path / "with.safetensors", tensors, {HEADER: {}})
    encoded = np.ones((1, 44), np.float32)
    for one, other in zip(
        read_joint_offsets(file).of_encoded(encoded), JointOffsets(tensors).of_encoded(encoded)
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5)

    assert read_joint_offsets(write(tmp_path / "none.safetensors", tensors, {})) is None
    assert read_joint_offsets(tmp_path / "another.onnx") is None


@pytest.mark.parametrize("layer", LAYERS)
def test_tensors_that_cannot_be_used_are_named(tmp_path, layer):
    tensors = random_tensors()
    for name, values in (
        (f"{layer}.bias", tensors[f"{layer}.bias"][:-1]),
        (f"{layer}.weight", np.full_like(tensors[f"{layer}.weight"], np.nan)),
    ):
        file = write(tmp_path / "w.safetensors", tensors | {name: values}, {HEADER: {}})
        with pytest.raises(CheckpointError, match=rf"joint_offsets\.{name}: expected"):
            read_joint_offsets(file)

    del tensors[f"{layer}.bias"]
    with pytest.raises(CheckpointError, match=rf"joint_offsets\.{layer}\.bias"):
        read_joint_offsets(write(tmp_path / "w.safetensors", tensors, {HEADER: {}}))
