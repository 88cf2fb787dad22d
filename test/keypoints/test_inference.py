# SPDX-License-Identifier: Apache-2.0
"""The network as it is run says what the trained one says."""

import pytest
import torch
from people import small_prior
from small_networks import LITE, PAPER, small_network

from lifting_ros import device
from lifting_ros.config import ConfigError
from lifting_ros.keypoints import inference
from lifting_ros.keypoints.inference import NetworkRunner, folded
from lifting_ros.keypoints.network import NetworkConfig
from lifting_ros.skeleton import KEYPOINT_FLIP

pytestmark = pytest.mark.usefixtures("narrow_trunk")
CPU = torch.device("cpu")


def network(config: NetworkConfig):
    """A network whose batch norms have seen something, so that folding them away is more than
    leaving them out."""
    torch.manual_seed(0)
    made = small_network(config, small_prior()).train()
    for _ in range(3):
        made(torch.rand(4, 3, 64, 64))
    return made.eval()


def agree(output, expected):
    """Maps are the same; the last fused ones less closely, since the lift of an untrained network's
    flat maps multiplies roundings."""
    torch.testing.assert_close(
        output.stages[0].belief, expected.stages[0].belief, atol=1e-5, rtol=1e-3
    )
    torch.testing.assert_close(
        output.stages[-1].fused, expected.stages[-1].fused, atol=2e-3, rtol=0.1
    )


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    monkeypatch.setattr(inference, "has_fast_bf16", lambda device: False)


@pytest.mark.parametrize("config", [LITE, PAPER])
def test_folded_batch_norms_change_nothing(config):
    trained, images = network(config), torch.rand(2, 3, 64, 64)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    small = folded(trained)
    assert not [m for m in small.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.inference_mode():
        agree(small(images), trained(images))
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


@pytest.mark.parametrize("config", [LITE, PAPER])
def test_half_precision_keeps_the_maps(config, monkeypatch):
    monkeypatch.setattr(inference, "has_fast_bf16", lambda device: True)
    trained, images = network(config), torch.rand(2, 3, 64, 64)
    half, whole = NetworkRunner(trained, CPU)(images), trained(images)
    assert half.stages[-1].fused.dtype == torch.float32
    gap = (half.stages[0].belief - whole.stages[0].belief).abs().max() / whole.stages[
        0
    ].belief.abs().max()
    assert 0 < gap < 0.05


@pytest.mark.parametrize("config", [LITE, PAPER])
def test_mirrored_crop_gives_mirrored_maps(config):
    """Alone the network says something else of the mirror image."""
    runner, images = NetworkRunner(network(config), CPU), torch.rand(3, 3, 64, 64)
    gaps = []
    for mirrored in (False, True):
        maps, presence, *_ = runner.last(images, mirrored)
        other, other_presence, *_ = runner.last(images.flip(-1), mirrored)
        gaps.append((maps - other[:, list(KEYPOINT_FLIP)].flip(-1)).abs().max() / maps.max())
        if presence is not None:
            gaps[-1] = max(
                gaps[-1], (presence - other_presence[:, list(KEYPOINT_FLIP)]).abs().max()
            )
    assert gaps[1] < 1e-4 < 1e-2 < gaps[0]


@pytest.mark.parametrize("config", [LITE, PAPER])
def test_crop_and_mirror_image_have_equal_weight(config):
    """What is said of both lies halfway between what is said of each alone: beliefs stay
    probabilities."""
    runner, images = NetworkRunner(network(config), CPU), torch.rand(2, 3, 64, 64)
    together, crop, mirror = (
        runner.last(images, True),
        runner.last(images),
        runner.last(images.flip(-1)),
    )
    halfway = (crop[0] + mirror[0].flip(-1)[:, list(KEYPOINT_FLIP)]) / 2
    # the beliefs of random weights are nearly flat, and the fusion amplifies rounding
    assert (together[0] - halfway).abs().max() < 1e-2 * halfway.max()
    if together[1] is not None:
        torch.testing.assert_close(
            together[1], (crop[1] + mirror[1][:, list(KEYPOINT_FLIP)]) / 2, atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(
            together[4], (crop[4] + mirror[4].flip(-1)) / 2, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_an_early_exit_runs_so_many_stages(stages):
    trained, images = network(LITE), torch.rand(1, 3, 64, 64)
    output = NetworkRunner(trained, CPU, stages)(images)
    assert len(output.stages) == (stages or 2)
    with torch.inference_mode():
        agree(output, trained(images, stages or None))


def test_more_stages_than_there_are_is_one_line():
    with pytest.raises(ValueError, match="stages: expected 0 to 2, got 3"):
        NetworkRunner(network(LITE), CPU, 3)


@pytest.mark.parametrize("config", [LITE, PAPER])
@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_compiled_network_runs_only_in_its_batch_sizes(config, count, monkeypatch):
    """Filling up and parting change no answer; the compiler itself is left out here."""
    asked = []

    def pretend(made, mode):
        def call(crops, stages):
            asked.append(len(crops))
            return made(crops, stages)

        return call

    monkeypatch.setattr(torch, "compile", pretend)
    trained, images = network(config), torch.rand(count, 3, 64, 64)
    output, plain = (
        NetworkRunner(trained, CPU, compiled=True)(images),
        NetworkRunner(trained, CPU)(images),
    )
    assert set(asked) == {1, 2, 4} and len(output.stages[-1].fused) == count
    agree(output, plain)
    assert (output.presence is None) == (config.variant == "paper") == (output.trunk is None)
    if output.trunk is not None:
        torch.testing.assert_close(output.trunk, plain.trunk, atol=1e-5, rtol=1e-3)


def test_without_a_compiler_there_is_one_line(monkeypatch):
    def compiler_is_missing(made, mode):
        def call(crops, stages):
            raise RuntimeError(
                "InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1"
            )

        return call

    monkeypatch.setattr(torch, "compile", compiler_is_missing)
    with pytest.raises(
        ConfigError, match="^compile: .*InvalidCxxCompiler: No working C.. compiler found.$"
    ):
        NetworkRunner(network(LITE), CPU, compiled=True)


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_older_gpus_have_no_fast_bfloat16(monkeypatch, capability, fast):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert device.has_fast_bf16.__wrapped__(torch.device("cuda")) == fast


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning"
)  # torch's compiler imports what torch deprecates
def test_the_compiler_changes_no_answer():
    trained, images = network(LITE), torch.rand(3, 3, 64, 64)
    compiled, plain = (
        NetworkRunner(trained, CPU, compiled=True)(images),
        NetworkRunner(trained, CPU)(images),
    )
    agree(compiled, plain)
