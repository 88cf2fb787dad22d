# SPDX-License-Identifier: Apache-2.0
"""Training on a few rectangles that the test draws: it learns, and a training that was killed goes on as if it had not been."""
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from people import small_prior

from lifting_ros.core.checkpoint import load_network
from lifting_ros.core.fusion import PriorFusion
from lifting_ros.core.network import NetworkConfig
from lifting_ros.data.pack import Pack
from lifting_ros.training.augmentation import AugmentationConfig, augment, mirror
from lifting_ros.training.losses import presence_loss, target_maps
from lifting_ros.training.train_network import Batches, TrainConfig, Trainer, save_trained, train

NETWORK = NetworkConfig(input_px=32, stages=2, widths=(8, 16, 16), features=8)


def make_pack(count: int = 12) -> Pack:
    """Windows with a bright square at every labelled keypoint."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (count, 64, 64, 3), np.uint8)
    keypoints = np.concatenate([rng.uniform(16, 48, (count, 14, 2)), np.ones((count, 14, 1))], -1).astype(np.float32)
    keypoints[:, 5, 2] = 0
    for image, person in zip(images, keypoints, strict=True):
        for k, (x, y, _) in enumerate(person.astype(int)):
            image[y - 1 : y + 2, x - 1 : x + 2] = 40 + 15 * k
    return Pack("street", images, keypoints, np.arange(count) >= 10)


def config(**changes) -> TrainConfig:
    values = {"network": NETWORK, "samples": 96, "batch": 8, "shares": ("street=1.0",), "fusion_from": 0.4} | changes
    return TrainConfig(**values)


def run(folder: Path, cfg: TrainConfig, every: int = 1000):
    return train(cfg, [make_pack()], PriorFusion(small_prior(), 2), folder, every=every)


def test_the_loss_falls(tmp_path):
    cfg = config(samples=640, augmentation=AugmentationConfig(occlusion=0, blur=0, colour=0), fusion_from=1.0)
    trainer = Trainer(cfg, PriorFusion(small_prior(), 2))
    losses = [trainer.train_step(*batch)["loss"] for _, batch in Batches([make_pack()], cfg).stream(0, cfg.steps)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.2


def test_fusion_joins_when_the_recipe_says(tmp_path):
    cfg = config()
    trainer = Trainer(cfg, PriorFusion(small_prior(), 2))
    before = trainer.network.fusion.weight_logit.clone()
    for step, batch in Batches([make_pack()], cfg).stream(0, cfg.steps):
        trainer.train_step(*batch)
        changed = not torch.equal(before, trainer.network.fusion.weight_logit)
        assert changed == (step >= 0.4 * cfg.steps)


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path):
    whole = run(tmp_path / "whole", config())
    short = config()
    trainer = Trainer(short, PriorFusion(small_prior(), 2))
    from lifting_ros.training.state import load_state, save_state

    for _, batch in Batches([make_pack()], short).stream(0, 7):
        trainer.train_step(*batch)
    (tmp_path / "broken").mkdir()
    save_state(tmp_path / "broken" / "state.safetensors", trainer)
    again = Trainer(short, PriorFusion(small_prior(), 2))
    load_state(tmp_path / "broken" / "state.safetensors", again)
    assert again.step == 7
    resumed = run(tmp_path / "broken", short)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_a_killed_training_leaves_a_whole_state(tmp_path):
    """kill -9 in the middle: the state on disk can be read, and the next run goes on from it."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = (
        f"import sys; sys.path[:0] = {folders!r}\n"
        "import test_train_network as t; from pathlib import Path\n"
        f"t.run(Path({str(tmp_path)!r}), t.config(samples=80000), every=3)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "state.safetensors").exists() and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()
    trainer = Trainer(config(samples=80000), PriorFusion(small_prior(), 2))
    from lifting_ros.training.state import load_state

    load_state(tmp_path / "state.safetensors", trainer)
    assert trainer.step >= 3 and trainer.step % 3 == 0


def test_what_is_saved_can_be_run(tmp_path):
    cfg = config(samples=16)
    save_trained(tmp_path / "w.safetensors", run(tmp_path, cfg), cfg, {"seed": 0})
    network = load_network(tmp_path / "w.safetensors", small_prior())
    assert network.config == NETWORK
    assert torch.isfinite(network(torch.rand(1, 3, 32, 32)).stages[-1].fused).all()


def test_a_batch_is_a_function_of_seed_and_step():
    a, b = (Batches([make_pack()], config()).make(5) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a[0], Batches([make_pack()], config(seed=1)).make(5)[0])


def test_validation_windows_are_never_drawn():
    pack = make_pack()
    pack.images[10:] = 255
    batches = Batches([pack], config(augmentation=AugmentationConfig(colour=0, blur=0, occlusion=0)))
    assert all(batches.make(step)[0].float().mean() < 140 for step in range(10))


def test_augmented_labels_stay_on_the_image():
    """The bright squares are where the labels say, whatever the crop."""
    pack, rng = make_pack(), np.random.default_rng(3)
    for row in range(8):
        crop, moved = augment(pack.images[row], pack.keypoints[row], 64, AugmentationConfig(occlusion=0, colour=0, blur=0), rng)
        for x, y, seen in moved[9:]:
            if seen and 3 < x < 60 and 3 < y < 60:
                assert crop[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].max() > 100


def test_mirror_is_its_own_inverse():
    pack = make_pack(1)
    image, keypoints = mirror(*mirror(pack.images[0], pack.keypoints[0]))
    np.testing.assert_array_equal(image, pack.images[0])
    np.testing.assert_allclose(keypoints, pack.keypoints[0])


def test_unlabelled_and_outside_keypoints_do_not_count():
    keypoints = torch.tensor([[[10.0, 10], [40, 10], [5, 5]]])
    labelled = torch.tensor([[True, True, False]])
    target, counted = target_maps(keypoints, labelled, 4, (8, 8), 1.0)
    assert counted.tolist() == [[True, False, False]]
    torch.testing.assert_close(target[0, 0].sum(), torch.tensor(1.0))


@pytest.mark.parametrize("nobody", [False, True])
def test_presence_of_unlabelled_keypoints_is_only_known_where_nobody_is(nobody):
    class Output:
        presence = torch.full((1, 14), 3.0)

    loss = presence_loss(Output, torch.zeros(1, 14, 2), torch.zeros(1, 14, dtype=torch.bool), torch.tensor([nobody]), 32)
    assert (loss > 1) == nobody
