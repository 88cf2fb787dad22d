# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from lifting_ros.geometry.camera import Camera, CameraError, distortion_model_of

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


LENS = [0.05, -0.01, 0.003, -0.001]


@pytest.mark.parametrize(
    ("model", "lens", "same"),
    [
        ("equidistant", [*LENS, 0.0], ("equidistant", LENS)),  # as the T265 sends it
        ("equidistant", [*LENS, *[0.0] * 10], ("equidistant", LENS)),
        ("fisheye", LENS, ("equidistant", LENS)),
        ("plumb_bob", [*LENS, 0.01, 0.0], ("plumb_bob", [*LENS, 0.01])),
        ("plumb_bob", [*LENS, *[0.0] * 10], ("plumb_bob", LENS)),
        *(
            (name, [0.0] * count, ("plumb_bob", []))
            for name in ("none", "pinhole", "unknown", "brown_conrady", "equidistant")
            for count in (0, 4, 5, 7)
        ),
    ],
)
def test_zeros_at_the_end_are_no_distortion(model, lens, same):
    points = np.random.default_rng(2).uniform([-1, -1, 2], [1, 1, 6], (50, 3))
    expected = Camera(K, np.array(same[1]), same[0]).project(points)
    np.testing.assert_array_equal(Camera(K, lens, model).project(points), expected)


@pytest.mark.parametrize(
    ("model", "lens", "words"),
    [
        ("equidistant", [*LENS, 0.01], "D: 5 coefficients"),
        ("brown_conrady", [*LENS, 0.0], "distortion_model: .*'brown_conrady'"),
        ("plumb_bob", [0.1, 0.0], "D: 2 coefficients"),
    ],
)
def test_what_is_no_zero_counts(model, lens, words):
    with pytest.raises(CameraError, match=f"^{words}"):
        Camera(K, lens, model)


@pytest.mark.parametrize(
    ("values", "model"),
    [
        ({}, "plumb_bob"),
        ({"distortion_model": "fisheye"}, "equidistant"),
        ({"distortion_model": "rational_polynomial"}, "rational_polynomial"),
        ({"camera_model": "fisheye"}, "equidistant"),
        ({"camera_model": "Fisheye", "distortion_model": "fisheye"}, "equidistant"),
        ({"camera_model": "pinhole"}, "plumb_bob"),
        ({"camera_model": "pinhole", "distortion_model": "equidistant"}, "equidistant"),
    ],
)
def test_lens_of_a_calibration_file(values, model):
    assert distortion_model_of(values) == model


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"camera_model": "omni"}, "camera_model: .*'omni'"),
        ({"camera_model": ["fisheye"]}, "camera_model: "),
        (
            {"camera_model": "fisheye", "distortion_model": "plumb_bob"},
            "distortion_model: expected equidistant with camera_model 'fisheye', got 'plumb_bob'",
        ),
    ],
)
def test_unknown_lens_of_a_calibration_file_is_named(values, words):
    with pytest.raises(CameraError, match=f"^{words}"):
        distortion_model_of(values)
