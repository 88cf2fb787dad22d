# SPDX-License-Identifier: Apache-2.0
"""Training on a few rectangles that the test draws: it learns, and a training that was killed goes on as if it had not been."""
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from people import small_prior

from lifting_ros.core.checkpoint import CheckpointError, fusion_of, load_network
from lifting_ros.core.config import from_mapping, read_yaml
from lifting_ros.core.network import NetworkConfig, NetworkOutput, StageOutput
from lifting_ros.core.network_paper import SIGMA_CELLS, PeakMaps
from lifting_ros.data.pack import Pack
from lifting_ros.training.augmentation import AugmentationConfig, augment, mirror
from lifting_ros.training.batches import Batches
from lifting_ros.training.losses import presence_loss, stage_losses, target_maps
from lifting_ros.training.record import RunRecord, read_rows
from lifting_ros.training.state import load_state, save_state
from lifting_ros.training.train_network import TrainConfig, Trainer, save_trained, train

FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
NETWORK = NetworkConfig(input_px=32, stages=2, widths=(8, 16, 16), features=8)
TINY_PAPER = NetworkConfig(variant="paper", input_px=64, stages=2, widths=(4, 4, 8, 8), features=8, stride=8)


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
    values = {"network": NETWORK, "samples": 96, "batch": 8, "shares": ("street=1.0",), "fusion_from": 40, "warmup": 16} | changes
    return TrainConfig(**values)


def batches_of(cfg: TrainConfig, rank: int = 0, world: int = 1, pack: Pack | None = None) -> Batches:
    size = cfg.network.input_px
    return Batches([pack or make_pack()], cfg.shares, cfg.batch, size, cfg.augmentation, cfg.seed, cfg.steps, rank, world)


def run(folder: Path, cfg: TrainConfig, every: int = 1000, **more):
    return train(cfg, [make_pack()], fusion_of(cfg.network, small_prior()), folder, every=every, workers=0, **more)


@pytest.mark.parametrize(("network", "rate"), [(NETWORK, 1.2e-3), (TINY_PAPER, 3e-3)])
def test_the_loss_of_every_stage_falls(network, rate):
    plain = AugmentationConfig(occlusion=0, blur=0, colour=0, camera=0)
    cfg = config(network=network, samples=640, augmentation=plain, fusion_from=320, learning_rate=rate)
    trainer = Trainer(cfg, fusion_of(network, small_prior()))
    rows = [trainer.train_step(batch) for _, batch in batches_of(cfg).stream(0, 0)]
    for stage in ("stage1_belief", "stage2_belief", "stage2_fused"):
        first, last = (np.mean([row[stage] for row in part]) for part in (rows[:10], rows[-10:]))
        assert last < 0.98 * first, stage


def test_fusion_joins_when_the_recipe_says():
    cfg = config()
    trainer = Trainer(cfg, fusion_of(NETWORK, small_prior()))
    before = trainer.network.fusion.weight_logit.clone()
    for step, batch in batches_of(cfg).stream(0, 0):
        trainer.train_step(batch)
        assert torch.equal(before, trainer.network.fusion.weight_logit) == (step < 5)


def test_the_rate_rises_stays_and_falls_to_nothing():
    cfg = config(samples=800, warmup=80, decay=0.25)
    rates = [cfg.rate_at(step) for step in range(cfg.steps)]
    assert rates[0] == pytest.approx(cfg.learning_rate / 10) and rates[9:76] == [cfg.learning_rate] * 67
    assert np.all(np.diff(rates[75:]) < 0) and rates[-1] < 0.05 * cfg.learning_rate and cfg.level_until == 75


def test_a_longer_recipe_goes_on_from_the_level_state_as_if_it_had_always_been_longer(tmp_path):
    run(tmp_path / "short", config(samples=80, decay=0.5))
    longer = config(samples=120, decay=0.2)
    extended = run(tmp_path / "long", longer, start=tmp_path / "short" / "level.safetensors")
    for name, value in run(tmp_path / "whole", longer).items():
        torch.testing.assert_close(extended[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path):
    whole = run(tmp_path / "whole", config())
    short = config()
    trainer = Trainer(short, fusion_of(NETWORK, small_prior()))
    for step, batch in batches_of(short).stream(0, 0):
        trainer.train_step(batch)
        if step == 6:
            break
    (tmp_path / "broken").mkdir()
    save_state(tmp_path / "broken" / "state.safetensors", trainer)
    again = Trainer(short, fusion_of(NETWORK, small_prior()))
    load_state(tmp_path / "broken" / "state.safetensors", again)
    assert again.step == 7
    resumed = run(tmp_path / "broken", short)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_the_state_of_another_network_is_one_line(tmp_path):
    run(tmp_path / "one", config(samples=8))
    other = config(network=dataclasses.replace(NETWORK, features=16))
    with pytest.raises(CheckpointError, match="state.safetensors: the state of another training") as error:
        run(tmp_path / "two", other, start=tmp_path / "one" / "state.safetensors")
    assert "\n" not in str(error.value)


def test_momentum_of_sgd_is_kept_too(tmp_path):
    cfg = config(optimiser="sgd", learning_rate=0.05, network=dataclasses.replace(NETWORK, fusion=False))
    whole = run(tmp_path / "whole", cfg)
    run(tmp_path / "first", dataclasses.replace(cfg, samples=48, decay=0.0))
    resumed = run(tmp_path / "second", cfg, start=tmp_path / "first" / "state.safetensors")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_a_run_leaves_recipe_revision_and_curves(tmp_path):
    cfg = config()
    run(tmp_path, cfg, every=6, evaluate=lambda weights: {"pck": 0.5})
    assert from_mapping(TrainConfig, read_yaml(tmp_path / "recipe.yaml")) == cfg
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["seed"] == 0 and facts["crops"] == {"street": 10} and "revision" in facts
    assert [row["step"] for row in read_rows(tmp_path / "validation.csv")] == [6, 12]
    assert {"stage2_belief", "stage2_fused", "rate"} <= set(read_rows(tmp_path / "training.csv")[0])
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 5


def test_tensorboard_gets_the_same_curves(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="optional package tensorboard")
    record = RunRecord(tmp_path, config())
    for step in range(3):
        record.training(step, {"loss": 3.0 - step})
    board = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in board.Scalars("training/loss")] == [3.0, 2.0, 1.0]


def test_two_processes_share_a_batch_and_end_with_the_same_weights(tmp_path):
    """torchrun on this machine: together they see what one would have seen, and they stay the same network."""
    cfg = config()
    whole, parts = batches_of(cfg)[3], [batches_of(cfg, rank, 2)[3] for rank in (0, 1)]
    assert torch.equal(torch.stack([p.labels for p in parts], 1).flatten(0, 1), whole.labels)
    code = (
        f"import sys; sys.path[:0] = {FOLDERS!r}\n"
        "import torch, test_train_network as t; from pathlib import Path; from lifting_ros.training.distributed import rank_and_world\n"
        "torch.set_num_threads(1)\n"
        f"w = t.run(Path({str(tmp_path)!r}), t.config()); n = rank_and_world()[0]\n"
        f"torch.save(w, Path({str(tmp_path)!r}) / f'{{n}}.pt')"
    )
    (tmp_path / "run_it.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "run_it.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in first:
        if "running" not in name:  # batch norm's statistics are a process' own where there is no GPU
            torch.testing.assert_close(first[name], second[name], msg=name)
    assert (tmp_path / "state.safetensors").exists() and json.loads((tmp_path / "run.json").read_text())["processes"] == 2


def test_a_killed_training_leaves_a_whole_state(tmp_path):
    """kill -9 in the middle: the state on disk can be read, and the next run goes on from it."""
    code = (
        f"import sys; sys.path[:0] = {FOLDERS!r}\n"
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
    trainer = Trainer(config(samples=80000), fusion_of(NETWORK, small_prior()))
    load_state(tmp_path / "state.safetensors", trainer)
    assert trainer.step >= 3 and trainer.step % 3 == 0


def test_what_is_saved_can_be_run(tmp_path):
    cfg = config(samples=16)
    save_trained(tmp_path / "w.safetensors", run(tmp_path, cfg), cfg, {"seed": 0})
    network = load_network(tmp_path / "w.safetensors", small_prior())
    assert network.config == NETWORK
    assert torch.isfinite(network(torch.rand(1, 3, 32, 32)).stages[-1].fused).all()


def test_what_was_trained_without_fusion_runs_without(tmp_path):
    cfg = config(samples=16, network=dataclasses.replace(NETWORK, fusion=False), fusion_from=0)
    save_trained(tmp_path / "w.safetensors", run(tmp_path, cfg), cfg, {"seed": 0})
    network = load_network(tmp_path / "w.safetensors", small_prior())
    last = network(torch.rand(1, 3, 32, 32)).stages[-1]
    assert last.projected is None and torch.equal(last.fused, last.belief)


def test_a_batch_is_a_function_of_seed_and_step():
    a, b = (batches_of(config())[5] for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a.images, batches_of(config(seed=1))[5].images)


def test_workers_change_nothing():
    cfg = config(samples=32)
    for (step, a), (same, b) in zip(batches_of(cfg).stream(1, 0), batches_of(cfg).stream(1, 1), strict=True):
        assert step == same and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_validation_windows_are_never_drawn():
    pack = make_pack()
    pack.images[10:] = 255
    batches = batches_of(config(augmentation=AugmentationConfig(colour=0, blur=0, occlusion=0, camera=0)), pack=pack)
    assert all(batches[step].images.float().mean() < 140 for step in range(10))


def test_augmented_labels_stay_on_the_image():
    """The bright squares are where the labels say, whatever the crop."""
    pack, rng = make_pack(), np.random.default_rng(3)
    for row in range(8):
        crop, moved = augment(pack.images[row], pack.keypoints[row], 64, AugmentationConfig(occlusion=0, colour=0, blur=0, camera=0), rng)
        for x, y, seen in moved[9:]:
            if seen and 3 < x < 60 and 3 < y < 60:
                assert crop[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].max() > 100


def test_mirror_is_its_own_inverse():
    pack = make_pack(1)
    image, keypoints = mirror(*mirror(pack.images[0], pack.keypoints[0]))
    np.testing.assert_array_equal(image, pack.images[0])
    np.testing.assert_allclose(keypoints, pack.keypoints[0])


def test_a_bad_camera_moves_nothing():
    pack, config_ = make_pack(), AugmentationConfig(occlusion=0, colour=0, blur=0, camera=1.0)
    for row in range(8):
        clean = augment(pack.images[row], pack.keypoints[row], 64, dataclasses.replace(config_, camera=0), np.random.default_rng(row))
        bad = augment(pack.images[row], pack.keypoints[row], 64, config_, np.random.default_rng(row))
        np.testing.assert_array_equal(clean[1], bad[1])
        assert np.corrcoef(*(cv2.GaussianBlur(c[0], (0, 0), 3).ravel() for c in (clean, bad)))[0, 1] > 0.5


def test_unlabelled_and_outside_keypoints_do_not_count_and_doubtful_ones_less():
    keypoints = torch.tensor([[[10.0, 10], [40, 10], [5, 5], [20, 20]]])
    target, counted = target_maps(keypoints, torch.tensor([[1.0, 1, 0, 0.3]]), 4, (8, 8), 1.0)
    torch.testing.assert_close(counted, torch.tensor([[1.0, 0, 0, 0.3]]))
    torch.testing.assert_close(target[0, 0].sum(), torch.tensor(1.0))


def peak_output(maps: torch.Tensor):
    """What a paper network of one stage would return that gives `maps` (1, 15, h, w)."""
    belief = PeakMaps.belief(maps)
    return NetworkOutput([StageOutput(maps, belief, None, belief)], None)


@pytest.mark.parametrize(("labels", "nobody", "punished"), [(14, False, True), (13, False, False), (0, True, True), (0, False, False)])
def test_a_peak_where_no_label_is_is_punished_only_where_absence_is_known(labels, nobody, punished):
    """Partly labelled people are handled by masks: the background is only known where every keypoint is labelled."""
    weight = (torch.arange(14) < labels).float()[None]
    target, counted = target_maps(torch.full((1, 14, 2), 20.0), weight, 8, (8, 8), SIGMA_CELLS)
    nobody = torch.tensor([nobody])
    quiet = torch.zeros(1, 15, 8, 8)
    background = quiet.clone()
    background[:, 14] = 1
    losses = [stage_losses(peak_output(maps), target, counted, nobody)[0, 0] for maps in (quiet, background)]
    assert bool(losses[0] > losses[1]) == punished


@pytest.mark.parametrize("nobody", [False, True])
def test_presence_of_unlabelled_keypoints_is_only_known_where_nobody_is(nobody):
    class Output:
        presence = torch.full((1, 14), 3.0)

    loss = presence_loss(Output, torch.zeros(1, 14, 2), torch.zeros(1, 14, dtype=torch.bool), torch.tensor([nobody]), 32)
    assert (loss > 1) == nobody
