# SPDX-License-Identifier: Apache-2.0
import dataclasses
import math

import pytest
import torch
from people import small_prior
from small_networks import LITE as SMALL
from small_networks import PAPER as SMALL_PAPER
from small_networks import small_network
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lifting_ros.config import ConfigError
from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.network import LITE, PAPER, MultistageNetwork, NetworkConfig
from lifting_ros.keypoints.network_paper import PEAK, SIGMA_CELLS, PeakMaps, centre_map
from lifting_ros.keypoints.network_trunk import Code, Presence, middle_weight, ownership
from lifting_ros.keypoints.network_weights import load_network, save_network
from lifting_ros.keypoints.person_score import PROBE
from lifting_ros.keypoints.trunk import TrunkOutput

pytestmark = pytest.mark.usefixtures("narrow_trunk")


@pytest.mark.parametrize(("config", "megabytes"), [(NetworkConfig(), 20), (LITE, 12)])
def test_weights_that_ship_are_small(monkeypatch, config, megabytes):
    """In fp16; nothing is computed."""
    monkeypatch.undo()
    with FakeTensorMode():
        network = MultistageNetwork(config)
    assert 2 * sum(t.numel() for t in network.state_dict().values()) < 1e6 * megabytes


def test_maps_are_probabilities_at_a_quarter_of_the_input():
    network = small_network(SMALL).eval()
    with torch.inference_mode():
        output = network(torch.rand(2, 3, 64, 64))
    assert len(output.stages) == 2 and output.presence.shape == (2, 14)
    assert output.trunk.shape == (2, 17, 16, 16)
    assert output.trunk.min() >= 0 and output.trunk.max() <= 1
    for stage in output.stages:
        assert stage.fused.shape == (2, 14, 16, 16)
        torch.testing.assert_close(stage.belief.sum((-1, -2)), torch.ones(2, 14))


def trunk_output(count: int = 3, size: tuple[int, int] = (9, 12)) -> TrunkOutput:
    """Random maps, as a trunk would return them."""
    h, w = size
    heat = torch.randn(count, 17, h, w)
    centre = 4 * torch.randn(count, 1, h, w)
    regression = 3 * torch.randn(count, 34, h, w)
    return TrunkOutput(
        torch.zeros(count, 24, h, w),
        heat,
        centre,
        regression,
        torch.zeros(count, 8),
        torch.zeros(count, 8, 2, 2),
    )


def movenet_weights(centre, regression):
    """(17, h, w) weights of one image's heat maps in MoveNet's decoder, cell by cell; centre (1, h,
    w), regression (34, h, w)."""
    _, h, w = centre.shape
    scores = {}
    for y in range(h):
        for x in range(w):
            distance = math.hypot(y - h // 2, x - w // 2)
            scores[y, x] = torch.sigmoid(centre[0, y, x]).item() * 1.8 / (distance + 1.8)
    middle_y, middle_x = max(scores, key=scores.get)

    weights = torch.zeros(17, h, w)
    for k in range(17):
        expected_y = middle_y + regression[2 * k, middle_y, middle_x].item()
        expected_x = middle_x + regression[2 * k + 1, middle_y, middle_x].item()
        for y in range(h):
            for x in range(w):
                weights[k, y, x] = 1.8 / (math.hypot(y - expected_y, x - expected_x) + 1.8)
    return weights


def test_ownership_is_that_of_movenets_decoder():
    out = trunk_output()
    expected = torch.stack([movenet_weights(c, r) for c, r in zip(out.centre, out.regression)])
    torch.testing.assert_close(ownership(out), expected)


def test_middle_weight_falls_from_the_middle_cell():
    weight = middle_weight((9, 12))[0, 0]
    assert weight[4, 6] == 1
    assert weight[4, 9].item() == pytest.approx(1.8 / 4.8)
    assert weight[0, 9].item() == pytest.approx(1.8 / 6.8)


def test_of_two_persons_the_one_in_the_middle_owns_the_maps():
    out = trunk_output(1)
    out.centre.fill_(-9.0)
    out.centre[0, 0, 4, 6] = out.centre[0, 0, 4, 1] = 2.0
    out.regression.zero_()
    assert ownership(out)[0, 0, 4, 6] == 1
    out.centre[0, 0, 4, 6] = -9.0
    assert ownership(out)[0, 0, 4, 1] == 1


def test_presence_reads_the_trunk_where_the_belief_lies():
    presence = Presence(8).eval()
    belief = torch.zeros(1, 14, 4, 4)
    belief[:, :, 1, 2] = 1
    quiet = Code(torch.rand(1, 8), torch.zeros(1, 17, 4, 4), torch.zeros(1, 17, 4, 4))
    here, elsewhere = torch.zeros(1, 17, 4, 4), torch.zeros(1, 17, 4, 4)
    here[..., 1, 2] = 1
    elsewhere[..., 3, 0] = 1
    nothing = presence(quiet, belief)
    torch.testing.assert_close(presence(quiet._replace(heat=elsewhere), belief), nothing)
    assert (presence(quiet._replace(heat=here), belief) - nothing).abs().max() > 1e-3
    assert (presence(quiet, belief / 2 + 1 / 32) - nothing).abs().max() > 1e-3


def test_nothing_is_learnt_through_the_maps_of_the_presence():
    presence = Presence(8)
    belief = torch.rand(1, 14, 4, 4, requires_grad=True)
    code = Code(
        torch.rand(1, 8, requires_grad=True), torch.rand(1, 17, 4, 4), torch.rand(1, 17, 4, 4)
    )
    presence(code, belief).sum().backward()
    assert belief.grad is None and code.deep.grad is not None


@pytest.mark.parametrize(
    ("stages", "parameters", "macs"), [(6, 29.85e6, 88.4e9), (2, 13.32e6, 53.4e9)]
)
def test_paper_is_the_published_architecture(stages, parameters, macs):
    """Counts of the specification, without fusion, for six stages and for two; nothing is run."""
    with FakeTensorMode():
        network = MultistageNetwork(dataclasses.replace(PAPER, stages=stages)).eval()
        with FlopCounterMode(display=False) as counter:
            output = network(torch.empty(1, 3, 368, 368))
    assert output.stages[-1].raw.shape == (1, 15, 46, 46) and output.presence is None
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(parameters, rel=5e-4)
    assert counter.get_total_flops() / 2 == pytest.approx(macs, rel=1e-3)


@pytest.mark.parametrize("config", [SMALL, SMALL_PAPER])
def test_an_early_exit_gives_what_the_stages_before_it_give(config):
    network, image = small_network(config, small_prior()).eval(), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        whole, early = network(image), network(image, 1)
    assert len(early.stages) == 1
    torch.testing.assert_close(early.stages[0].fused, whole.stages[0].fused)


def test_a_peak_of_the_paper_variant_is_a_belief_of_one():
    """Maps that look like their labels, peaks of one, give beliefs that sum to one."""
    cells = torch.tensor([[20.3, 11.8]]).expand(1, 14, 2)
    peaks = belief_maps.encode(cells, (46, 46), SIGMA_CELLS) * PEAK
    raw = torch.cat([peaks, 1 - peaks.amax(1, keepdim=True)], 1)
    belief = PeakMaps.belief(raw)
    torch.testing.assert_close(belief.sum((-1, -2)), torch.ones(1, 14), atol=1e-3, rtol=0)
    torch.testing.assert_close(PeakMaps.following(raw, belief, None, None), raw)


@pytest.mark.parametrize("away", [0.0, 1.5, 15.0])
def test_background_and_keypoints_have_the_same_unit(away):
    """The same width as taught: a peak of one leaves no background; beyond the border of the grid
    there is nothing but background."""
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
    network = small_network(SMALL, small_prior()).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        together = network(images).stages[-1].fused
        alone = torch.cat([network(image[None]).stages[-1].fused for image in images])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("config", [SMALL, SMALL_PAPER])
def test_later_stages_see_the_fused_maps_of_the_earlier(config):
    network = small_network(config, small_prior()).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image).stages[1].raw
        network.fusion.weight_logit[0] = -4.0
        after = network(image).stages[1].raw
    assert (before - after).abs().max() > 1e-6


@pytest.mark.parametrize("config", [SMALL, SMALL_PAPER])
def test_every_parameter_is_trained_end_to_end(config):
    network = small_network(config, small_prior()).train()
    output = network(torch.rand(2, 3, 64, 64))
    loss = sum((s.fused - 0.1).square().mean() + s.raw.square().mean() for s in output.stages)
    (loss + (0 if output.presence is None else output.presence.mean())).backward()
    # the last stage's maps do not fade into a further stage, but its fusion weight counts
    untrained = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    # the trunk's centres are only asked where the largest lies
    assert [name for name in untrained if not name.startswith("features.trunk.centre.")] == []


def test_weights_survive_the_file(tmp_path):
    network = small_network(SMALL, small_prior()).eval()
    save_network(tmp_path / "w.safetensors", network.state_dict(), SMALL, {"seed": 1})
    loaded, image = (
        load_network(tmp_path / "w.safetensors", small_prior()),
        torch.rand(1, 3, 64, 64),
    )
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded(image).stages[-1].belief, network(image).stages[-1].belief, atol=2e-3, rtol=0.1
        )


@pytest.mark.parametrize(
    "content", [None, b"", b"not safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "]
)
def test_a_missing_or_corrupt_file_is_one_line(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="w.safetensors: ") as error:
        load_network(path)
    assert "\n" not in str(error.value)


def test_a_probe_in_the_file_is_not_a_part_of_the_network(tmp_path):
    network = small_network(SMALL, small_prior())
    state = network.state_dict()
    save_network(tmp_path / "plain.safetensors", state, SMALL, {})
    probed = state | {PROBE: torch.ones(5)}
    save_network(tmp_path / "probed.safetensors", probed, SMALL, {})

    plain = load_network(tmp_path / "plain.safetensors", small_prior())
    loaded = load_network(tmp_path / "probed.safetensors", small_prior())
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_weights_of_another_shape_are_refused(tmp_path):
    network = MultistageNetwork(SMALL)
    deeper = dataclasses.replace(SMALL, stages=3)
    save_network(tmp_path / "w.safetensors", network.state_dict(), deeper, {})
    with pytest.raises(
        CheckpointError, match="no network that this version knows .Missing key.*stages.2"
    ):
        load_network(tmp_path / "w.safetensors")


def test_an_unknown_variant_is_named():
    with pytest.raises(
        ConfigError, match="network.variant: expected one of full, lite, paper, got 'huge'"
    ):
        MultistageNetwork(NetworkConfig(variant="huge"))
