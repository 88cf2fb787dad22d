# SPDX-License-Identifier: Apache-2.0
"""OpenVINO says what torch says, converts once, and torch is then not imported."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from clip import frames
from people import small_prior
from small_networks import LITE, crops, small_network

from lifting_ros.device import cpu_has_bf16
from lifting_ros.estimator import EstimatorConfig, PoseEstimator, network_and_detector
from lifting_ros.keypoints import openvino_graphs
from lifting_ros.keypoints.graph_runner import load_graph_runner
from lifting_ros.keypoints.inference import load_runner, to_input
from lifting_ros.keypoints.network_weights import save_network
from lifting_ros.keypoints.openvino_graphs import OpenVINORuntime

if importlib.util.find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed", allow_module_level=True)

CLOSE_PX = 0.02
"""How closely keypoints agree, in pixels of the crop."""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lifting_ros"


@pytest.fixture
def weights(tmp_path, narrow_trunk) -> Path:
    path = tmp_path / "small.safetensors"
    save_network(path, small_network(LITE, small_prior()).state_dict(), LITE, {})
    return path


@pytest.fixture(scope="module")
def walking() -> list[np.ndarray]:
    """Images (480, 640, 3) RGB with a person in view."""
    return frames((75, 95))


def test_any_batch_size_gives_what_torch_gives(weights, cache, in_f32):
    runner = load_graph_runner(weights, small_prior(), OpenVINORuntime())
    whole = load_runner(weights, small_prior(), torch.device("cpu"))
    for count in (1, 3, 2):
        ours = runner.last(crops(count))
        theirs = whole.last(to_input(crops(count)))
        for one, other, gap in zip(ours, theirs, (5e-3, 0.05, 5e-3, 5e-3, 5e-3), strict=True):
            np.testing.assert_allclose(one, other.float().numpy(), atol=gap)


def test_the_same_crops_give_the_same_bytes(weights, cache):
    first = load_graph_runner(weights, small_prior(), OpenVINORuntime())
    second = load_graph_runner(weights, small_prior(), OpenVINORuntime())
    expected = first.last(crops(2))
    first.last(crops(1))
    for runner in (first, second):
        for ours, theirs in zip(runner.last(crops(2)), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_crops_that_nobody_may_write_and_mirrored_ones_are_read(weights, cache):
    runner = load_graph_runner(weights, small_prior(), OpenVINORuntime())
    mirrored = np.ascontiguousarray(crops(1)[:, :, ::-1])
    locked = crops(1)
    locked.flags.writeable = False
    for view, same in ((locked, crops(1)), (crops(1)[:, :, ::-1], mirrored)):
        expected = [values.copy() for values in runner.last(same)]
        for ours, theirs in zip(runner.last(view), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_network_is_converted_once(weights, cache, monkeypatch):
    names = ["opening", "stage_2", "presence"]
    OpenVINORuntime().load(weights, "network", names)
    (folder,) = cache.iterdir()
    assert {path.stem for path in folder.glob("*.xml")} == set(names)

    monkeypatch.setattr(openvino_graphs, "convert", None)
    assert len(OpenVINORuntime().load(weights, "network", names)) == 3


def test_other_weights_are_another_conversion(weights, cache):
    OpenVINORuntime().load(weights, "network", ["presence"])
    save_network(weights, small_network(LITE, small_prior()).state_dict(), LITE, {"seed": 1})
    OpenVINORuntime().load(weights, "network", ["presence"])
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damaged", ["*.xml", "*.bin", "*.blob"])
def test_a_damaged_conversion_is_made_again(weights, cache, damaged):
    """Blobs are what OpenVINO compiled; it may take one without a look at the other files."""
    names = ["presence"]
    inputs = [np.ones((1, 1280), np.float32)]
    inputs += [np.full((1, count, 16, 16), 0.1, np.float32) for count in (17, 14)]
    (graph,) = OpenVINORuntime().load(weights, "network", names)
    expected = graph(*inputs)[0].copy()

    (folder,) = cache.iterdir()
    if damaged != "*.blob":
        for file in folder.glob("*.blob"):
            file.unlink()
    for file in folder.glob(damaged):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])

    (graph,) = OpenVINORuntime().load(weights, "network", names)
    np.testing.assert_array_equal(graph(*inputs)[0], expected)


def test_without_a_cache_it_still_runs(weights, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(OpenVINORuntime().load(weights, "network", ["presence"])) == 1


@pytest.mark.parametrize("name", ["lite", "full"])
def test_shipped_networks_find_what_torch_finds(name, walking, in_f32):
    """The same detections, and keypoints within CLOSE_PX of the crop and confidences within
    0.01."""
    ours = PoseEstimator(EstimatorConfig(weights=name, runtime="openvino"))
    theirs = PoseEstimator(EstimatorConfig(weights=name, runtime="torch", device="cpu"))
    for image in walking:
        boxes = [person.box_px for person in theirs.detector.detect(image)]
        found = [person.box_px for person in ours.detector.detect(image)]
        assert len(boxes) >= 1
        np.testing.assert_allclose(found, boxes, atol=0.05)

        images = [image] * len(boxes)
        pairs = zip(ours.network.find(images, boxes), theirs.network.find(images, boxes), boxes)
        for mine, other, box in pairs:
            side = 1.25 * max(box[2:] - box[:2])
            px = side / ours.network.config.input_px
            certain = other.confidence > 0.15
            gap = np.linalg.norm(mine.keypoints_px - other.keypoints_px, axis=1)
            assert gap[certain].max() < CLOSE_PX * px
            np.testing.assert_allclose(mine.confidence, other.confidence, atol=0.01)


@pytest.mark.skipif(not cpu_has_bf16(), reason="the CPU has no bfloat16")
@pytest.mark.parametrize("name", ["lite", "full"])
def test_bfloat16_finds_nearly_the_same(name, walking, monkeypatch):
    """Half of the keypoints within 0.5 px of the crop; each within a pixel of the maps."""
    rough = PoseEstimator(EstimatorConfig(weights=name, runtime="openvino"))
    monkeypatch.setattr(openvino_graphs, "cpu_has_bf16", lambda: False)
    exact = PoseEstimator(EstimatorConfig(weights=name, runtime="openvino"))
    gaps = []
    for image in walking:
        boxes = [person.box_px for person in exact.detector.detect(image)]
        images = [image] * len(boxes)
        pairs = zip(rough.network.find(images, boxes), exact.network.find(images, boxes), boxes)
        for mine, other, box in pairs:
            px = 1.25 * max(box[2:] - box[:2]) / exact.network.config.input_px
            certain = other.confidence > 0.15
            gap = np.linalg.norm(mine.keypoints_px - other.keypoints_px, axis=1)
            gaps.extend(gap[certain] / px)
            np.testing.assert_allclose(mine.confidence, other.confidence, atol=0.2)

    assert 0 < np.median(gaps) < 0.5
    assert max(gaps) < exact.network.config.stride


CHILD = """
import sys
import numpy as np
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
estimator = PoseEstimator(EstimatorConfig(weights="lite", device="cpu"))
estimator.find_keypoints(np.zeros((480, 640, 3), np.uint8), estimator.detector.detect(
    np.zeros((480, 640, 3), np.uint8)))
assert estimator.runtime == "openvino", estimator.runtime
print(sorted({"torch", "openvino_telemetry"} & set(sys.modules)))
"""


def test_neither_torch_nor_telemetry_is_imported(tmp_path):
    """Once converted. Importing OpenVINO would make its telemetry write to the home folder, and
    report over the network."""
    PoseEstimator(EstimatorConfig(weights="lite", runtime="openvino"))
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
    assert not (tmp_path / "intel").exists()


SIGNALLED = """
import signal
import sys
from pathlib import Path
from lifting_ros.keypoints.openvino_graphs import OpenVINORuntime
first = OpenVINORuntime()
second = OpenVINORuntime()
for runtime in (first, second):
    runtime.load(Path(sys.argv[1]), "detector", ["detector"])
del runtime, first
del second
signal.signal(signal.SIGUSR1, lambda number, frame: print("handled"))
signal.raise_signal(signal.SIGUSR1)
"""


def test_signals_are_handled_after_runtimes_are_gone():
    """OpenVINO's stack for signal handlers outlives them."""
    _, detector = network_and_detector(EstimatorConfig())
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALLED, str(detector)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("handled\n", 0), done.stderr
