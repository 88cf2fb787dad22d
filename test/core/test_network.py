# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from people import small_prior

from lifting_ros.core.checkpoint import CheckpointError, build_network, load_network, save_network
from lifting_ros.core.network import MultistageNetwork, NetworkConfig

SMALL = NetworkConfig(input_px=64, stages=2, widths=(8, 16, 24), features=8)


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


def test_a_batch_gives_what_each_crop_gives_alone():
    network = build_network(SMALL, small_prior()).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        together = network(images).stages[-1].fused
        alone = torch.cat([network(image[None]).stages[-1].fused for image in images])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)


def test_later_stages_see_the_fused_maps_of_the_earlier():
    network = build_network(SMALL, small_prior()).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image).stages[1].logits
        network.fusion.weight_logit[0] = -4.0
        after = network(image).stages[1].logits
    assert (before - after).abs().max() > 1e-6


def test_every_parameter_is_trained_end_to_end():
    network = build_network(SMALL, small_prior()).train()
    output = network(torch.rand(2, 3, 64, 64))
    (sum(-s.fused.clamp_min(1e-9).log().mean() for s in output.stages) + output.presence.mean()).backward()
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
    with pytest.raises(CheckpointError, match="no network that this version knows"):
        load_network(tmp_path / "w.safetensors")


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="network.variant"):
        MultistageNetwork(NetworkConfig(variant="huge"))
