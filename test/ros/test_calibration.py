# SPDX-License-Identifier: Apache-2.0
"""camera_info to the camera of the image as it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from ros_support import camera_info

from lifting_ros.config import ConfigError
from lifting_ros.io.camera_files import read_camera_file
from lifting_ros.ros.calibration import camera_info_to_camera
from lifting_ros.ros.camera_yaml import camera_yaml_to_info, guessed_info, resized_info
from lifting_ros.ros.conversions import ConversionError

POINT_M = np.array([0.3, -0.2, 2.5])
FULL_PX = camera_info_to_camera(camera_info(), 640, 480).project(POINT_M)
"""Where a point is seen in the full image."""


def test_full_image_takes_k_and_d():
    info = camera_info()
    info.d = [0.1, -0.05, 0.001, 0.002, 0.0]
    camera = camera_info_to_camera(info, 640, 480)
    np.testing.assert_array_equal(camera.matrix.ravel(), info.k)
    np.testing.assert_array_equal(camera.distortion, info.d)


def test_rectified_image_takes_p_and_no_distortion():
    info = camera_info()
    info.d, info.p[0], info.p[3] = [0.1, -0.05, 0.001, 0.002, 0.0], 555.0, -60.0
    camera = camera_info_to_camera(info, 640, 480, rectified=True)
    assert camera.matrix[0, 0] == 555.0 and not camera.is_distorted


def test_resized_image_sees_the_point_at_the_same_place():
    camera = camera_info_to_camera(camera_info(), 320, 240)
    np.testing.assert_allclose((camera.project(POINT_M) + 0.5) * 2 - 0.5, FULL_PX, atol=1e-9)


@pytest.mark.parametrize("explicit_roi", [False, True])
def test_binned_image_sees_the_point_at_the_same_place(explicit_roi):
    info = camera_info()
    info.binning_x = info.binning_y = 2
    if explicit_roi:
        info.roi.width, info.roi.height = 640, 480
    camera = camera_info_to_camera(info, 320, 240)
    np.testing.assert_allclose((camera.project(POINT_M) + 0.5) * 2 - 0.5, FULL_PX, atol=1e-9)


def test_unequal_binning_scales_each_axis():
    info = camera_info()
    info.binning_x, info.binning_y = 2, 1
    camera = camera_info_to_camera(info, 320, 480)
    np.testing.assert_allclose((camera.project(POINT_M) + 0.5) * [2, 1] - 0.5, FULL_PX, atol=1e-9)


@pytest.mark.parametrize("rectified", [False, True])
def test_region_of_interest_shifts_the_point(rectified):
    info = camera_info()
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 60, 300, 200
    camera = camera_info_to_camera(info, 300, 200, rectified)
    np.testing.assert_allclose(camera.project(POINT_M) + [100, 60], FULL_PX, atol=1e-9)


def test_size_left_at_zero_means_the_image():
    info = camera_info()
    info.width = info.height = 0
    np.testing.assert_allclose(camera_info_to_camera(info, 640, 480).project(POINT_M), FULL_PX)


def test_same_content_gives_the_same_camera():
    assert camera_info_to_camera(camera_info(), 640, 480) is camera_info_to_camera(
        camera_info(), 640, 480
    )
    assert camera_info_to_camera(camera_info(), 640, 480) is not camera_info_to_camera(
        camera_info(), 320, 240
    )


def zero_k(info):
    info.k = np.zeros(9)


def nan_k(info):
    info.k[4] = np.nan


def nan_d(info):
    info.d = [0.1, np.nan, 0.0, 0.0, 0.0]


def unknown_model(info):
    info.distortion_model = "fisheye62"
    info.d = [0.1] * 4


def three_coefficients(info):
    info.d = [0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (zero_k, "camera_info: K: the camera is not calibrated"),
        (nan_k, "camera_info: K: expected 3x3 finite"),
        (nan_d, "camera_info: D: expected finite"),
        (unknown_model, "camera_info: distortion_model: .*fisheye62"),
        (three_coefficients, "camera_info: D: 3 coefficients"),
    ],
)
def test_bad_camera_info_is_one_line_naming_the_field(spoil, words):
    info = camera_info()
    spoil(info)
    with pytest.raises(ConversionError, match=words):
        camera_info_to_camera(info, 640, 480)


def test_zero_p_of_a_rectified_image_is_refused():
    info = camera_info()
    info.p = np.zeros(12)
    with pytest.raises(ConversionError, match="not calibrated"):
        camera_info_to_camera(info, 640, 480, rectified=True)


def test_another_aspect_is_refused():
    with pytest.raises(ConversionError, match="640x480 pixels .* does not fit an image of 640x360"):
        camera_info_to_camera(camera_info(), 640, 360)


CALIBRATION = """
image_width: 640
image_height: 480
camera_name: test
camera_matrix: {rows: 3, cols: 3, data: [600.0, 0, 320, 0, 601.0, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0]}
"""


def test_calibration_file_is_read_and_resized(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(CALIBRATION)
    info = camera_yaml_to_info(str(path))
    assert (info.width, info.height, list(info.d)) == (640, 480, [0.1, -0.2, 0.0, 0.0, 0.0])
    full, half = (
        camera_info_to_camera(info, 640, 480),
        camera_info_to_camera(resized_info(info, 320, 240), 320, 240),
    )
    np.testing.assert_allclose(
        (half.project(POINT_M) + 0.5) * 2 - 0.5, full.project(POINT_M), atol=1e-9
    )


FISHEYE = """
image_width: 640
image_height: 480
camera_matrix: {data: [350.0, 0, 319.5, 0, 350.0, 239.5, 0, 0, 1]}
distortion_coefficients: {data: [0.05, -0.02, 0.01, -0.003]}
"""


@pytest.mark.parametrize(
    "lens",
    [
        "camera_model: fisheye",
        "distortion_model: fisheye",
        "distortion_model: equidistant",
        "camera_model: fisheye\ndistortion_model: equidistant",
    ],
)
def test_fisheye_file_gives_the_angles_of_a_fisheye(tmp_path, lens):
    path = tmp_path / "camera.yaml"
    path.write_text(FISHEYE + lens)
    right_edge = np.array([639.0, 239.5])
    point = cv2.fisheye.undistortPoints(
        right_edge[None, None],
        np.array([[350.0, 0, 319.5], [0, 350.0, 239.5], [0, 0, 1]]),
        np.array([0.05, -0.02, 0.01, -0.003]),
    )
    degrees = np.rad2deg(np.arctan(point[0, 0, 0]))
    assert degrees == pytest.approx(50.7, abs=0.1)  # read as k1 k2 p1 p2: 41.8

    from_info = camera_info_to_camera(camera_yaml_to_info(str(path)), 640, 480)
    for camera in (from_info, read_camera_file(path).camera(640, 480)):
        found = np.rad2deg(np.arctan(camera.rays(right_edge)[0]))
        assert found == pytest.approx(degrees, abs=1e-3)


@pytest.mark.parametrize(
    "text, words",
    [
        ("[1, 2]", "expected the YAML of a camera calibration"),
        (": : :", "not a readable YAML"),
        (
            CALIBRATION.replace("640", "wide"),
            "image_width: expected a number of pixels, got 'wide'",
        ),
        (CALIBRATION.replace("600.0, 0", "600.0"), "camera_matrix: expected data"),
        (CALIBRATION.replace("600.0", ".nan"), "camera_matrix: expected data"),
        (CALIBRATION.replace("-0.2", "much"), "distortion_coefficients: expected data"),
        (CALIBRATION.replace("plumb_bob", "magic"), "distortion_model: expected .* got 'magic'"),
        (CALIBRATION + "camera_model: omni", "camera_model: expected .* got 'omni'"),
    ],
)
def test_bad_calibration_file_is_one_line_naming_the_key(tmp_path, text, words):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        camera_yaml_to_info(str(path))
    assert "\n" not in str(caught.value)


def test_missing_calibration_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="none.yaml"):
        camera_yaml_to_info(str(tmp_path / "none.yaml"))


def test_guessed_camera_is_centred():
    camera = camera_info_to_camera(guessed_info(640, 480), 640, 480)
    np.testing.assert_allclose(camera.project(np.array([0.0, 0.0, 1.0])), [319.5, 239.5])
    assert camera.focal_px == pytest.approx(704)
