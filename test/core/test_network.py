# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest
import torch
from people import small_prior
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lifting_ros.core import belief_maps
from lifting_ros.core.checkpoint import CheckpointError, build_network, load_network, save_network
from lifting_ros.core.config import ConfigError
from lifting_ros.core.network import PAPER, MultistageNetwork, NetworkConfig
from lifting_ros.core.network_paper import PEAK, SIGMA_CELLS, PeakMaps, centre_map

SMALL = NetworkConfig(input_px=64, stages=2, widths=(8, 16, 24), features=8)
SMALL_PAPER = NetworkConfig(variant="paper", input_px=64, stages=3, widths=(4, 4, 8, 8), features=8, stride=8)


def test_lite_keeps_its_promises():
    """At most 6 M parameters; belief maps of a quarter of the input; every map sums to one."""
    network = MultistageNetwork(NetworkConfig()).eval()
    assert sum(p.numel() for p in network.parameters()) <= 6_000_000
    with torch.inference_mode():
        output = network(torch.rand(2, 3, 128, 128))
    assert len(output.stages) == 3 and output.presence.shape == (2, 14)
    for stage in output.stages:
        assert stage.fused.shape == (2, 14, 32, 32)
        torch.testing.assert_close(stage.belief.sum((-1, -2)), torch.ones(2, 14))


@pytest.mark.parametrize(("stages", "parameters", "macs"), [(6, 29.85e6, 88.4e9), (2, 13.32e6, 53.4e9)])
def test_paper_is_the_published_architecture(stages, parameters, macs):
    """Counts of the specification (no fusion), for all six stages and for two; nothing is computed."""
    with FakeTensorMode():
        network = MultistageNetwork(dataclasses.replace(PAPER, stages=stages)).eval()
        with FlopCounterMode(display=False) as counter:
            output = network(torch.empty(1, 3, 368, 368))
    assert output.stages[-1].raw.shape == (1, 15, 46, 46) and output.presence is None
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(parameters, rel=5e-4)
    assert counter.get_total_flops() / 2 == pytest.approx(macs, rel=1e-3)


@pytest.mark.parametrize("config", [SMALL, SMALL_PAPER])
def test_an_early_exit_gives_what_the_stages_before_it_give(config):
    network, image = build_network(config, small_prior()).eval(), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        whole, early = network(image), network(image, 1)
    assert len(early.stages) == 1
    torch.testing.assert_close(early.stages[0].fused, whole.stages[0].fused)


def test_a_peak_of_the_paper_variant_is_a_belief_of_one():
    """Maps as they are taught, peaks of one, give beliefs that sum to one where the keypoint was."""
    cells = torch.tensor([[20.3, 11.8]]).expand(1, 14, 2)
    peaks = belief_maps.encode(cells, (46, 46), SIGMA_CELLS) * PEAK
    raw = torch.cat([peaks, 1 - peaks.amax(1, keepdim=True)], 1)
    belief = PeakMaps.belief(raw)
    torch.testing.assert_close(belief.sum((-1, -2)), torch.ones(1, 14), atol=1e-3, rtol=0)
    torch.testing.assert_close(PeakMaps.following(raw, belief, None, None), raw)


@pytest.mark.parametrize("away", [0.0, 1.5, 15.0])
def test_background_and_keypoints_of_a_projected_skeleton_have_one_unit(away):
    """The same width as taught: a peak of one leaves no background; beyond the border of the grid there is nothing but background."""
    raw, belief = torch.zeros(1, 15, 46, 46), torch.zeros(1, 14, 46, 46)
    raw[:, 14] = 1
    cells = torch.tensor([[[-away, 20.0]]]).expand(1, 14, 2)
    wide = belief_maps.encode(cells, (46, 46), 2.0)
    maps = PeakMaps.following(raw, 0.4 * belief + 0.6 * wide, wide, torch.tensor(0.4))
    torch.testing.assert_close(maps[:, 14], 1 - maps[:, 0])
    narrow = belief_maps.encode(cells, (46, 46), SIGMA_CELLS)
    least = PeakMaps.following(raw, belief, narrow, torch.tensor(0.0))[:, 14].min()
    expected = 1 - torch.exp(torch.tensor(-0.5 * (away / SIGMA_CELLS) ** 2))
    torch.testing.assert_close(least, expected)


def test_the_centre_map_marks_the_middle_of_the_crop():
    centre = centre_map(368, 8)[0, 0]
    assert centre.shape == (46, 46) and 0.9 < centre.max() <= 1
    torch.testing.assert_close(centre, centre.T)
    assert centre[22:24, 22:24].min() > centre[20, 20]


def test_a_batch_gives_what_each_crop_gives_alone():
    network = build_network(SMALL, small_prior()).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        together = network(images).stages[-1].fused
        alone = torch.cat([network(image[None]).stages[-1].fused for image in images])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("config", [SMALL, SMALL_PAPER])
def test_later_stages_see_the_fused_maps_of_the_earlier(config):
    network = build_network(config, small_prior()).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image).stages[1].raw
        network.fusion.weight_logit[0] = -4.0
        after = network(image).stages[1].raw
    assert (before - after).abs().max() > 1e-6


@pytest.mark.parametrize("config", [SMALL, SMALL_PAPER])
def test_every_parameter_is_trained_end_to_end(config):
    network = build_network(config, small_prior()).train()
    output = network(torch.rand(2, 3, 64, 64))
    loss = sum((s.fused - 0.1).square().mean() + s.raw.square().mean() for s in output.stages)
    (loss + (0 if output.presence is None else output.presence.mean())).backward()
    # the last stage's maps do not fade into a further stage, but its fusion weight counts
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_weights_survive_the_file(tmp_path):
    network = build_network(SMALL, small_prior()).eval()
    save_network(tmp_path / "w.safetensors", network.state_dict(), SMALL, {"seed": 1})
    loaded, image = load_network(tmp_path / "w.safetensors", small_prior()), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image).stages[-1].belief, network(image).stages[-1].belief, atol=2e-3, rtol=0.1)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_missing_or_corrupt_file_is_one_line(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="w.safetensors: ") as error:
        load_network(path)
    assert "\n" not in str(error.value)


def test_weights_of_another_shape_are_refused(tmp_path):
    network = MultistageNetwork(SMALL)
    save_network(tmp_path / "w.safetensors", network.state_dict(), NetworkConfig(), {})
    with pytest.raises(CheckpointError, match="no network that this version knows .Missing key.*stages.2"):
        load_network(tmp_path / "w.safetensors")


def test_an_unknown_variant_is_named():
    with pytest.raises(ConfigError, match="network.variant: expected one of lite, paper, got 'huge'"):
        MultistageNetwork(NetworkConfig(variant="huge"))
