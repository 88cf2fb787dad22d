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

from lifting_ros.core.checkpoint import CheckpointError, fusion_of, load_network, load_tensors, save_tensors
from lifting_ros.core.config import ConfigError, from_mapping, read_yaml
from lifting_ros.core.network import MultistageNetwork, NetworkConfig, NetworkOutput, StageOutput
from lifting_ros.core.network_paper import SIGMA_CELLS, PeakMaps
from lifting_ros.core.skeleton import KEYPOINT_NAMES
from lifting_ros.data.pack import Pack
from lifting_ros.data.splits import rows_of
from lifting_ros.training import augmentation
from lifting_ros.training.augmentation import AugmentationConfig, anonymise, augment, mirror
from lifting_ros.training.batches import Batches
from lifting_ros.training.distributed import first_alone, from_first, in_step
from lifting_ros.training.losses import presence_loss, stage_losses, target_maps
from lifting_ros.training.record import RunRecord, read_rows
from lifting_ros.training.state import load_state, save_state
from lifting_ros.training.train_network import TrainConfig, Trainer, save_trained, train

FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
NETWORK = NetworkConfig(input_px=32, stages=2, widths=(8, 16, 16), features=8)
TINY_PAPER = NetworkConfig(variant="paper", input_px=64, stages=2, widths=(4, 4, 8, 8), features=8, stride=8)


PLAIN = AugmentationConfig(occlusion=0, colour=0, blur=0, camera=0, anonymous=0)
"""Crops that move and change nothing else."""


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


def part_of(cfg: TrainConfig, steps: int) -> Trainer:
    """A training that has come so far."""
    trainer = Trainer(cfg, fusion_of(cfg.network, small_prior()))
    for step, batch in batches_of(cfg).stream(0, 0):
        trainer.train_step(batch)
        if step == steps - 1:
            break
    return trainer


def run(folder: Path, cfg: TrainConfig, every: int = 1000, **more):
    return train(cfg, [make_pack()], fusion_of(cfg.network, small_prior()), folder, every=every, workers=0, **more)


@pytest.mark.parametrize(("network", "rate"), [(NETWORK, 1.2e-3), (TINY_PAPER, 3e-3)])
def test_the_loss_of_every_stage_falls(network, rate):
    plain = PLAIN
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
    (tmp_path / "broken").mkdir()
    save_state(tmp_path / "broken" / "state.safetensors", part_of(short, 7))
    again = Trainer(short, fusion_of(NETWORK, small_prior()))
    load_state(tmp_path / "broken" / "state.safetensors", again)
    assert again.step == 7
    resumed = run(tmp_path / "broken", short)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_the_state_of_another_network_is_one_line(tmp_path):
    run(tmp_path / "one", config(samples=8))
    other = config(network=dataclasses.replace(NETWORK, features=16))
    with pytest.raises(CheckpointError, match="state.safetensors: the state of another training .size mismatch for .*8") as error:
        run(tmp_path / "two", other, start=tmp_path / "one" / "state.safetensors")
    assert "\n" not in str(error.value)


OTHER = {"batch": 4, "seed": 1, "optimiser": "sgd", "network": dataclasses.replace(NETWORK, fusion=False)}


@pytest.mark.parametrize("name", OTHER)
def test_a_folder_goes_on_with_its_own_recipe_alone(tmp_path, name):
    """Nothing is written over: the folder's recipe stays, and so do its curves. As the start of another training it is welcome."""
    run(tmp_path, config(samples=80))
    kept = (tmp_path / "recipe.yaml").read_bytes(), (tmp_path / "training.csv").read_bytes()
    other = config(samples=80, **{name: OTHER[name]})
    with pytest.raises(CheckpointError, match=rf"state.safetensors: the state of another training \({name}.*the recipe says") as error:
        run(tmp_path, other)
    assert "\n" not in str(error.value)
    assert kept == ((tmp_path / "recipe.yaml").read_bytes(), (tmp_path / "training.csv").read_bytes())
    if name != "network":
        run(tmp_path / "new", dataclasses.replace(other, samples=96), start=tmp_path / "state.safetensors")


@pytest.mark.parametrize(("changes", "told"), [
    ({"samples": 120}, "its rate falls already .samples: 80, the recipe says 120"), ({"decay": 0.1}, "its rate falls already .decay"),
    ({"samples": 40}, "after 10 steps; the recipe ends after 5"), ({"shares": ("street=0.5", "gym=0.5"), "rooms": 7}, None),
])  # fmt: skip
def test_a_finished_folder_takes_other_data_but_no_other_end(tmp_path, changes, told):
    run(tmp_path, config(samples=80))
    if told is None:
        run(tmp_path, config(**{"samples": 80} | changes))
    else:
        with pytest.raises(CheckpointError, match=told):
            run(tmp_path, config(**{"samples": 80} | changes))


def test_a_training_whose_rate_is_level_may_be_made_longer_where_it_is(tmp_path):
    (tmp_path / "broken").mkdir()
    save_state(tmp_path / "broken" / "state.safetensors", part_of(config(samples=96, decay=0.2), 7))
    longer = run(tmp_path / "broken", config(samples=120))
    for name, value in run(tmp_path / "whole", config(samples=120)).items():
        torch.testing.assert_close(longer[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_a_state_of_earlier_versions_keeps_no_recipe_and_goes_on(tmp_path):
    save_state(tmp_path / "s", part_of(config(), 3))
    tensors, header = load_tensors(tmp_path / "s")
    save_tensors(tmp_path / "s", tensors, {"step": header["step"]})
    again = Trainer(config(seed=5), fusion_of(NETWORK, small_prior()))
    load_state(tmp_path / "s", again)
    assert again.step == 3


def test_the_average_stays_where_it_lies(tmp_path):
    """A state is read on the CPU; the averages of a training on a GPU must not move there. The device `meta` stands for one."""
    save_state(tmp_path / "s", part_of(config(), 1))
    here, away = (Trainer(config(), fusion_of(NETWORK, small_prior())) for _ in range(2))
    tensors = dict(here.average)
    away.average = {name: value.to("meta") for name, value in away.average.items()}
    for trainer in (here, away):
        load_state(tmp_path / "s", trainer)
    assert all(here.average[name] is value for name, value in tensors.items())
    assert all(value.is_meta for value in away.average.values())
    saved = load_tensors(tmp_path / "s")[0]
    assert all(torch.equal(value, saved[f"average.{name}"]) for name, value in here.average.items())


def test_sgd_goes_on_when_the_fusion_joins():
    """The weights of the fusion have no momentum yet, all others have."""
    cfg = config(network=TINY_PAPER, optimiser="sgd", learning_rate=3e-3, samples=64, fusion_from=32)
    trainer = part_of(cfg, cfg.steps)
    assert trainer.step == cfg.steps and trainer.optimiser.state[trainer.network.fusion.weight_logit]["momentum_buffer"].abs().sum() > 0


def test_curves_of_a_killed_training_have_every_row_once(tmp_path, monkeypatch):
    """Rows written after the last state are written again; validation comes before the state that has seen it."""
    cfg, step = config(samples=8 * 50), Trainer.train_step

    def killed(self, batch):
        if self.step == 45:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, cfg, every=15, evaluate=lambda weights: {"pck": 0.5})
    assert [row["step"] for row in read_rows(tmp_path / "training.csv")] == [0, 20, 40]
    (tmp_path / "state.safetensors").unlink()
    save_state(tmp_path / "state.safetensors", part_of(cfg, 30))  # that of step 45 was never written
    monkeypatch.setattr(Trainer, "train_step", step)
    run(tmp_path, cfg, every=15, evaluate=lambda weights: {"pck": 0.6})
    assert [row["step"] for row in read_rows(tmp_path / "training.csv")] == [0, 20, 40]
    assert [tuple(row.values()) for row in read_rows(tmp_path / "validation.csv")] == [(15, 0.5), (30, 0.5), (45, 0.6), (50, 0.6)]


def test_batch_norms_are_shared_by_processes_with_gpus_and_by_no_others(monkeypatch):
    network = MultistageNetwork(NETWORK)
    assert in_step(network, torch.device("cuda")) is network
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert in_step(network, torch.device("cpu")) is network
    names, shared = set(network.state_dict()), in_step(network, torch.device("cuda"))
    kinds = {type(m) for m in shared.modules() if "BatchNorm" in type(m).__name__}
    assert kinds == {torch.nn.SyncBatchNorm} and set(shared.state_dict()) == names


@pytest.mark.parametrize("device", ["foo", "cuda:77", ""])
def test_a_device_that_is_not_there_is_one_line(tmp_path, device):
    with pytest.raises(ConfigError, match="^device: "):
        run(tmp_path, config(), device=device)


@pytest.mark.parametrize("entry", ["street", "street=x", "street=-1", "street=0", "street=nan", "street=inf", "strete=1", "=1", 1])
def test_shares_that_say_nothing_are_one_line(entry):
    with pytest.raises(ConfigError, match="^shares: expected "):
        config(shares=(entry,))


def test_a_batch_has_a_crop_for_every_process():
    with pytest.raises(ConfigError, match="^batch: expected at least 3"):
        batches_of(config(batch=2), 0, 3)


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
    """torchrun on this machine, but each with a disk of its own, the first's with a state to go on from: together they see what one would
    have seen, and they stay the same network."""
    cfg = config()
    whole, parts = batches_of(cfg)[3], [batches_of(cfg, rank, 2)[3] for rank in (0, 1)]
    assert torch.equal(torch.stack([p.labels for p in parts], 1).flatten(0, 1), whole.labels)
    code = (
        f"import sys; sys.path[:0] = {FOLDERS!r}\n"
        "import torch, test_train_network as t; from pathlib import Path; from lifting_ros.training.distributed import rank_and_world\n"
        "torch.set_num_threads(1)\n"
        f"disk = Path({str(tmp_path)!r}) / str(rank_and_world()[0])\n"
        "torch.save(t.run(disk, t.config()), disk / 'average.pt')"
    )
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
    save_state(tmp_path / "0" / "state.safetensors", part_of(cfg, 7))
    (tmp_path / "run_it.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "run_it.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / str(rank) / "average.pt", weights_only=True) for rank in (0, 1))
    for name in first:
        if "running" not in name:  # batch norm's statistics are a process' own where there is no GPU
            torch.testing.assert_close(first[name], second[name], msg=name)
    assert load_tensors(tmp_path / "0" / "state.safetensors")[1]["step"] == cfg.steps
    assert json.loads((tmp_path / "0" / "run.json").read_text())["processes"] == 2
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["average.pt"]


@pytest.mark.parametrize(("rank", "local", "order"), [(0, 0, "work, meet"), (4, 0, "work, meet"), (5, 1, "meet, work")])
def test_every_machine_makes_its_files_once(monkeypatch, rank, local, order):
    happened = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda: happened.append("meet"))
    for name, value in {"RANK": rank, "LOCAL_RANK": local, "WORLD_SIZE": 8}.items():
        monkeypatch.setenv(name, str(value))
    with first_alone():
        happened.append("work")
    assert ", ".join(happened) == order


def test_what_the_first_process_cannot_read_is_told_by_all(monkeypatch):
    """The others get its error in place of what it read."""
    sent = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1 if sent else 0)

    def exchange(told, source):
        sent.append(list(told))
        told[:] = sent[0]

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", exchange)
    for make in (lambda: int("x"), lambda: 1 / 0):  # the second is never asked
        with pytest.raises(ValueError, match="invalid literal"):
            from_first(make)


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
    batches = batches_of(config(augmentation=PLAIN), pack=pack)
    assert all(batches[step].images.float().mean() < 140 for step in range(10))


def test_rows_that_set_thresholds_are_never_drawn():
    pack = make_pack(60)
    pack = pack._replace(validation=np.zeros(60, bool), images=pack.images.copy())
    pack.images[rows_of(pack.validation, "tune")] = 255
    batches = batches_of(config(augmentation=PLAIN), pack=pack)
    assert batches.counts() == {"street": 52}
    assert all(batches[step].images.float().mean((1, 2, 3)).max() < 200 for step in range(12))


@pytest.mark.parametrize("rows", [slice(0, 0), slice(10, 12)])
def test_a_pack_without_a_row_to_train_on_is_as_good_as_absent(rows):
    """Empty, or of the validation side alone."""
    pack = make_pack()
    none = Pack("alarms", pack.images[rows], pack.keypoints[rows], pack.validation[rows])
    cfg = config(shares=("street=0.2", "alarms=0.8"))
    batches = Batches([none, pack], cfg.shares, cfg.batch, 32, cfg.augmentation, cfg.seed, cfg.steps)
    assert batches.counts() == {"street": 10} and torch.equal(batches[2].labels, batches_of(config(shares=("street=1.0",)))[2].labels)
    with pytest.raises(ValueError, match="shares: none of street, alarms among the packs given"):
        Batches([none], cfg.shares, cfg.batch, 32, cfg.augmentation, cfg.seed, cfg.steps)


def test_pictures_of_nobody_and_no_others_are_said_to_show_nobody():
    """White ones; that a person is not labelled says nothing."""
    pack = make_pack()
    pack.keypoints[:5] = 0
    white = Pack("negatives", np.full((4, 64, 64, 3), 255, np.uint8), np.zeros((4, 14, 3), np.float32), np.zeros(4, bool))
    cfg = config(shares=("street=0.5", "negatives=0.5"), augmentation=PLAIN)
    batches = Batches([pack, white], cfg.shares, cfg.batch, 32, cfg.augmentation, cfg.seed, cfg.steps)
    for batch in (batches[0], batches[1]):
        assert torch.equal(batch.nobody, batch.images.float().mean((1, 2, 3)) > 200) and 0 < batch.nobody.sum() < cfg.batch


def test_augmented_labels_stay_on_the_image():
    """The bright squares are where the labels say, whatever the crop."""
    pack, rng = make_pack(), np.random.default_rng(3)
    for row in range(8):
        crop, moved = augment(pack.images[row], pack.keypoints[row], 64, PLAIN, rng)
        for x, y, seen in moved[9:]:
            if seen and 3 < x < 60 and 3 < y < 60:
                assert crop[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].max() > 100


def test_mirror_exchanges_the_sides_and_is_exact_to_the_pixel():
    """A pixel of its own at every keypoint: in the mirror image it is where its mirror image's label says, and nowhere else."""
    image, rng = np.zeros((40, 41, 3), np.uint8), np.random.default_rng(0)
    cells = rng.permutation(40 * 41)[:14]
    keypoints = np.stack([cells % 41, cells // 41, np.ones(14)], -1).astype(np.float32)
    image[cells // 41, cells % 41] = 100 + np.arange(14)[:, None]
    turned, moved = mirror(image, keypoints)
    sides = {"left": "right", "right": "left"}
    for k, name in enumerate(KEYPOINT_NAMES):
        other = KEYPOINT_NAMES.index("_".join(sides.get(word, word) for word in name.split("_")))
        x, y = moved[k, :2].astype(int)
        assert tuple(moved[k, :2]) == (40 - keypoints[other, 0], keypoints[other, 1])
        assert turned[y, x, 0] == 100 + other


def test_mirror_is_its_own_inverse():
    pack = make_pack(1)
    image, keypoints = mirror(*mirror(pack.images[0], pack.keypoints[0]))
    np.testing.assert_array_equal(image, pack.images[0])
    np.testing.assert_allclose(keypoints, pack.keypoints[0])


def test_a_mirrored_crop_is_the_mirror_image_of_the_one_that_is_not():
    pack = make_pack()
    for row in range(8):
        plain, turned = (
            augment(pack.images[row], pack.keypoints[row], 64, dataclasses.replace(PLAIN, mirror=share), np.random.default_rng(row))
            for share in (0.0, 1.0)
        )
        for one, other in zip(mirror(*plain), turned, strict=True):
            np.testing.assert_array_equal(one, other)


def test_so_many_faces_are_hidden_as_the_recipe_says_and_where_the_crop_s_own_labels_are(monkeypatch):
    """Half of the crops are mirrored: their labels are others than the window's."""
    pack, given = make_pack(), []

    def hide(image, keypoints, rng):
        given.append(keypoints.copy())
        image[:] = 7

    monkeypatch.setattr(augmentation, "anonymise", hide)
    for share in (0.0, 0.3, 1.0):
        given.clear()
        config_ = dataclasses.replace(PLAIN, anonymous=share)
        crops = [augment(pack.images[n % 12], pack.keypoints[n % 12], 32, config_, np.random.default_rng(n)) for n in range(120)]
        hidden = [moved for crop, moved in crops if (crop == 7).all()]
        assert abs(len(hidden) / 120 - share) < 0.1 and np.array_equal(hidden, given)


def test_what_is_held_before_a_person_covers_a_part_of_it_and_no_label_goes():
    pack = make_pack()
    for row in range(8):
        free, held = (
            augment(pack.images[row], pack.keypoints[row], 64, dataclasses.replace(PLAIN, occlusion=share), np.random.default_rng(row))
            for share in (0.0, 1.0)
        )
        y, x = np.nonzero((free[0] != held[0]).any(-1))
        assert 0 < len(x) <= 0.4**2 * 64**2 and max(np.ptp(x), np.ptp(y)) < 0.4 * 64
        np.testing.assert_array_equal(free[1], held[1])


def test_a_bad_camera_moves_nothing():
    pack, config_ = make_pack(), dataclasses.replace(PLAIN, camera=1.0)
    for row in range(8):
        clean = augment(pack.images[row], pack.keypoints[row], 64, dataclasses.replace(config_, camera=0), np.random.default_rng(row))
        bad = augment(pack.images[row], pack.keypoints[row], 64, config_, np.random.default_rng(row))
        np.testing.assert_array_equal(clean[1], bad[1])
        assert np.corrcoef(*(cv2.GaussianBlur(c[0], (0, 0), 3).ravel() for c in (clean, bad)))[0, 1] > 0.5


def test_an_anonymous_person_has_a_mosaic_at_the_head_and_is_itself_elsewhere():
    """Crown and neck, the first two keypoints, lie where the mosaic is; without a label of both nothing is changed."""
    pack = make_pack()
    for row in range(12):
        image, keypoints, rng = pack.images[row].copy(), pack.keypoints[row].copy(), np.random.default_rng(row)
        anonymise(image, keypoints, rng)
        y, x = np.nonzero((image != pack.images[row]).any(-1))
        top, neck = keypoints[:2, :2]
        reach = 0.8 * np.linalg.norm(top - neck) + 1
        assert len(x) > 20 and len(np.unique(image[y, x], axis=0)) <= 25
        assert (np.abs(np.stack([x, y], 1) - (0.6 * top + 0.4 * neck)) <= reach).all()
        keypoints[row % 2, 2], unknown = 0, pack.images[row].copy()
        anonymise(unknown, keypoints, rng)
        np.testing.assert_array_equal(unknown, pack.images[row])


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


@pytest.mark.parametrize(("place", "inside"), [((0.0, 31.0), True), ((-0.6, 5.0), False), ((5.0, 31.6), False)])
def test_a_labelled_keypoint_outside_the_crop_is_absent(place, inside):
    class Output:
        presence = torch.full((1, 14), 3.0)

    labelled, keypoints = torch.ones(1, 14, dtype=torch.bool), torch.tensor(place).expand(1, 14, 2)
    assert (presence_loss(Output, keypoints, labelled, torch.tensor([False]), 32) < 1) == inside
