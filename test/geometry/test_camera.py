# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from lifting_ros.geometry.camera import Camera, CameraError

K = np.array([[620.0, 0, 320.3], [0, 615.0, 239.1], [0, 0, 1]])
LENSES = [
    ("plumb_bob", [-0.2, 0.05, 0.001, -0.002]),
    ("plumb_bob", [-0.2, 0.05, 0.001, -0.002, 0.01]),
    ("rational_polynomial", [0.1, -0.05, 0.001, 0.0005, 0.01, 0.2, -0.04, 0.01]),
    (
        "rational_polynomial",
        [0.1, -0.05, 0.001, 0.0005, 0.01, 0.2, -0.04, 0.01, 0.002, -0.001, 0.001, 0.003],
    ),
    (
        "rational_polynomial",
        [0.1, -0.05, 0.001, 0.0005, 0.01, 0.2, -0.04, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ),  # cv2.calibrateCamera's
]


@pytest.mark.parametrize(("model", "lens"), LENSES)
def test_projection_agrees_with_opencv(model, lens):
    points = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 6], (200, 3))
    expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(lens))[0][:, 0]
    np.testing.assert_allclose(Camera(K, lens, model).project(points), expected, atol=1e-6)


def test_fisheye_projection_agrees_with_opencv():
    points = np.random.default_rng(0).uniform([-3, -3, 1], [3, 3, 4], (200, 3))
    lens = np.array([0.05, -0.01, 0.003, -0.001])
    expected = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), K, lens)[0][
        :, 0
    ]
    np.testing.assert_allclose(Camera(K, lens, "equidistant").project(points), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "lens"), [*LENSES, ("equidistant", [0.05, -0.01, 0.003, -0.001]), ("plumb_bob", [])]
)
def test_rays_are_the_inverse_of_projection(model, lens):
    camera = Camera(K, lens, model)
    points = np.random.default_rng(1).uniform([-1, -1, 3], [1, 1, 6], (200, 3))
    np.testing.assert_allclose(
        camera.rays(camera.project(points)), points[:, :2] / points[:, 2:], atol=1e-6
    )


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(Camera(K).project(np.array([[0.0, 0, -1], [0, 0, 0]]))).all()


@pytest.mark.parametrize(
    ("matrix", "lens", "model", "field"),
    [
        (np.zeros((3, 3)), (), "plumb_bob", "K"),
        (np.full((3, 3), np.nan), (), "plumb_bob", "K"),
        (np.eye(2), (), "plumb_bob", "K"),
        (K, [0.1, 0.2], "plumb_bob", "D"),
        (K, [np.nan] * 4, "plumb_bob", "D"),
        (K, [0.01] * 14, "rational_polynomial", "D"),  # a sensor that is tilted
        (K, [0.1] * 4, "magic", "distortion_model"),
    ],
)
def test_bad_calibration_is_refused_by_name(matrix, lens, model, field):
    with pytest.raises(CameraError, match=f"^{field}: "):
        Camera(matrix, lens, model)
