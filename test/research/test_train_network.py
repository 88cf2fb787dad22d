# SPDX-License-Identifier: Apache-2.0
"""Training on a few rectangles that the test draws: it learns, and a training that was killed goes
on as if it had not been."""

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
from packs import PLAIN, STILL, make_pack
from people import small_prior
from small_networks import trunk_weights

from lifting_ros.config import ConfigError, from_mapping, read_yaml
from lifting_ros.conventions import CONVENTIONS
from lifting_ros.io.checkpoint import CheckpointError, load_tensors, save_tensors
from lifting_ros.keypoints.network import (
    MultistageNetwork,
    NetworkConfig,
    NetworkOutput,
    StageOutput,
)
from lifting_ros.keypoints.network_paper import SIGMA_CELLS, PeakMaps
from lifting_ros.keypoints.network_weights import fusion_of, load_network
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.research.training.batches import Batch, Batches
from lifting_ros.research.training.distributed import first_alone, from_first, in_step
from lifting_ros.research.training.losses import (
    presence_loss,
    stage_losses,
    target_maps,
    trunk_labels,
)
from lifting_ros.research.training.record import RunRecord, read_rows
from lifting_ros.research.training.state import load_state, save_state
from lifting_ros.research.training.train_network import (
    NetworkTrainer,
    TrainConfig,
    save_trained,
    train,
)
from lifting_ros.skeleton import KEYPOINT_NAMES

FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
NETWORK = NetworkConfig(variant="lite", input_px=32, stages=2, widths=(8, 16), features=8)
TINY_PAPER = NetworkConfig(
    variant="paper", input_px=64, stages=2, widths=(4, 4, 8, 8), features=8, stride=8
)


pytestmark = pytest.mark.usefixtures("narrow_trunk")

IN_A_PROCESS = (
    f"import sys; sys.path[:0] = {FOLDERS!r}\n"
    "import small_networks\n"
    "import test_train_network as t\n"
    "from pathlib import Path\n"
    "from lifting_ros.keypoints.network_trunk import TRUNK_WIDTHS\n"
    "TRUNK_WIDTHS['lite'] = small_networks.TRUNK_WIDTH\n"
)
"""How a process of its own begins that trains what these tests do."""


def config(**changes) -> TrainConfig:
    values = {
        "network": NETWORK,
        "samples": 96,
        "batch": 8,
        "shares": ("street=1.0",),
        "fusion_from": 40,
        "warmup": 16,
    } | changes
    return TrainConfig(**values)


def batches_of(
    cfg: TrainConfig, rank: int = 0, world: int = 1, pack: Pack | None = None
) -> Batches:
    size = cfg.network.input_px
    return Batches(
        [pack or make_pack()],
        cfg.shares,
        cfg.batch,
        size,
        cfg.augmentation,
        cfg.seed,
        cfg.steps,
        rank,
        world,
    )


def trainer_of(cfg: TrainConfig) -> NetworkTrainer:
    """A training at its beginning, from the trunk that the tests share."""
    return NetworkTrainer(cfg, fusion_of(cfg.network, small_prior()), trunk=trunk_of(cfg))


def trunk_of(cfg: TrainConfig) -> dict | None:
    return None if cfg.network.variant == "paper" else trunk_weights()


def same(a: Batch, b: Batch) -> bool:
    """Whether two batches are equal, unknown presences included."""
    return all(
        torch.equal(x.nan_to_num(nan=-1.0), y.nan_to_num(nan=-1.0))
        for x, y in zip(a, b, strict=True)
    )


def part_of(cfg: TrainConfig, steps: int) -> NetworkTrainer:
    """A training that has come so far."""
    trainer = trainer_of(cfg)
    for step, batch in enumerate(batches_of(cfg).stream(0, 0)):
        trainer.train_step(batch)
        if step == steps - 1:
            break
    return trainer


def run(folder: Path, cfg: TrainConfig, every: int = 1000, **more):
    return train(
        cfg,
        [make_pack()],
        fusion_of(cfg.network, small_prior()),
        folder,
        every=every,
        workers=0,
        trunk=trunk_of(cfg),
        **more,
    )


@pytest.mark.parametrize(("network", "rate"), [(NETWORK, 3e-3), (TINY_PAPER, 3e-3)])
def test_the_loss_of_every_stage_falls(network, rate):
    cfg = config(
        network=network, samples=640, augmentation=STILL, fusion_from=320, learning_rate=rate
    )
    trainer = trainer_of(cfg)
    rows = [trainer.train_step(batch) for batch in batches_of(cfg).stream(0, 0)]
    for stage in ("stage1_belief", "stage2_belief", "stage2_fused"):
        first, last = (np.mean([row[stage] for row in part]) for part in (rows[:10], rows[-10:]))
        assert last < 0.96 * first, stage


def test_fusion_joins_when_the_recipe_says():
    cfg = config()
    trainer = trainer_of(cfg)
    before = trainer.network.fusion.weight_logit.clone()
    for step, batch in enumerate(batches_of(cfg).stream(0, 0)):
        trainer.train_step(batch)
        assert torch.equal(before, trainer.network.fusion.weight_logit) == (step < 5)


def test_rate_rises_stays_level_and_falls_to_zero():
    cfg = config(samples=800, warmup=80, decay=0.25)
    rates = [cfg.rate_at(step) for step in range(cfg.steps)]
    assert (
        rates[0] == pytest.approx(cfg.learning_rate / 10)
        and rates[9:76] == [cfg.learning_rate] * 67
    )
    assert (
        np.all(np.diff(rates[75:]) < 0)
        and rates[-1] < 0.05 * cfg.learning_rate
        and cfg.level_until == 75
    )


def test_longer_recipe_resumes_from_level_state(tmp_path):
    run(tmp_path / "short", config(samples=80, decay=0.5))
    longer = config(samples=120, decay=0.2)
    extended = run(tmp_path / "long", longer, start=tmp_path / "short" / "level.safetensors")
    for name, value in run(tmp_path / "whole", longer).items():
        torch.testing.assert_close(extended[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_resumed_training_equals_an_uninterrupted_one(tmp_path):
    whole = run(tmp_path / "whole", config())
    short = config()
    (tmp_path / "broken").mkdir()
    save_state(tmp_path / "broken" / "state.safetensors", part_of(short, 7))
    again = trainer_of(short)
    load_state(tmp_path / "broken" / "state.safetensors", again)
    assert again.step == 7
    resumed = run(tmp_path / "broken", short)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_the_state_of_another_network_is_one_line(tmp_path):
    run(tmp_path / "one", config(samples=8))
    other = config(network=dataclasses.replace(NETWORK, features=16))
    with pytest.raises(
        CheckpointError,
        match="state.safetensors: the state of another training .size mismatch for .*8",
    ) as error:
        run(tmp_path / "two", other, start=tmp_path / "one" / "state.safetensors")
    assert "\n" not in str(error.value)


OTHER = {
    "batch": 4,
    "seed": 1,
    "optimiser": "sgd",
    "network": dataclasses.replace(NETWORK, fusion=False),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_folder_goes_on_with_its_own_recipe_alone(tmp_path, name):
    """Nothing is written over: the folder's recipe stays, and so do its curves. As the start of
    another training it is welcome."""
    run(tmp_path, config(samples=80))
    kept = (tmp_path / "recipe.yaml").read_bytes(), (tmp_path / "training.csv").read_bytes()
    other = config(samples=80, **{name: OTHER[name]})
    with pytest.raises(
        CheckpointError,
        match=rf"state.safetensors: the state of another training \({name}.*the recipe says",
    ) as error:
        run(tmp_path, other)
    assert "\n" not in str(error.value)
    assert kept == (
        (tmp_path / "recipe.yaml").read_bytes(),
        (tmp_path / "training.csv").read_bytes(),
    )
    if name != "network":
        run(
            tmp_path / "new",
            dataclasses.replace(other, samples=96),
            start=tmp_path / "state.safetensors",
        )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples": 120}, "its rate falls already .samples: 80, the recipe says 120"),
        ({"decay": 0.1}, "its rate falls already .decay"),
        ({"samples": 40}, "after 10 steps; the recipe ends after 5"),
        ({"shares": ("street=0.5", "gym=0.5"), "rooms": 7}, None),
    ],
)
def test_a_finished_folder_takes_other_data_but_no_other_end(tmp_path, changes, told):
    run(tmp_path, config(samples=80))
    if told is None:
        run(tmp_path, config(**{"samples": 80} | changes))
    else:
        with pytest.raises(CheckpointError, match=told):
            run(tmp_path, config(**{"samples": 80} | changes))


def test_training_with_level_rate_can_be_extended(tmp_path):
    (tmp_path / "broken").mkdir()
    save_state(tmp_path / "broken" / "state.safetensors", part_of(config(samples=96, decay=0.2), 7))
    longer = run(tmp_path / "broken", config(samples=120))
    for name, value in run(tmp_path / "whole", config(samples=120)).items():
        torch.testing.assert_close(longer[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_state_of_earlier_version_without_recipe_resumes(tmp_path):
    save_state(tmp_path / "s", part_of(config(), 3))
    tensors, header = load_tensors(tmp_path / "s")
    save_tensors(tmp_path / "s", tensors, {"step": header["step"]})
    again = trainer_of(config(seed=5))
    load_state(tmp_path / "s", again)
    assert again.step == 3


def test_the_average_stays_where_it_lies(tmp_path):
    """A state is read on the CPU; the averages of a training on a GPU must not move there. The
    device `meta` stands for one."""
    save_state(tmp_path / "s", part_of(config(), 1))
    here, away = (trainer_of(config()) for _ in range(2))
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
    cfg = config(
        network=TINY_PAPER, optimiser="sgd", learning_rate=3e-3, samples=64, fusion_from=32
    )
    trainer = part_of(cfg, cfg.steps)
    assert (
        trainer.step == cfg.steps
        and trainer.optimiser.state[trainer.network.fusion.weight_logit]["momentum_buffer"]
        .abs()
        .sum()
        > 0
    )


def test_curves_of_a_killed_training_have_every_row_once(tmp_path, monkeypatch):
    """Rows written after the last state are written again; validation comes before the state that
    has seen it."""
    cfg, step = config(samples=8 * 50), NetworkTrainer.train_step

    def killed(self, batch):
        if self.step == 45:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(NetworkTrainer, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, cfg, every=15, evaluate=lambda weights: {"pck": 0.5})
    assert [row["step"] for row in read_rows(tmp_path / "training.csv")] == [0, 20, 40]
    (tmp_path / "state.safetensors").unlink()
    save_state(
        tmp_path / "state.safetensors", part_of(cfg, 30)
    )  # that of step 45 was never written
    monkeypatch.setattr(NetworkTrainer, "train_step", step)
    run(tmp_path, cfg, every=15, evaluate=lambda weights: {"pck": 0.6})
    assert [row["step"] for row in read_rows(tmp_path / "training.csv")] == [0, 20, 40]
    assert [tuple(row.values()) for row in read_rows(tmp_path / "validation.csv")] == [
        (15, 0.5),
        (30, 0.5),
        (45, 0.6),
        (50, 0.6),
    ]


def test_batch_norms_are_synchronised_on_gpus_only(monkeypatch):
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


@pytest.mark.parametrize(
    "entry",
    [
        "street",
        "street=x",
        "street=-1",
        "street=0",
        "street=nan",
        "street=inf",
        "strete=1",
        "=1",
        1,
    ],
)
def test_shares_that_say_nothing_are_one_line(entry):
    with pytest.raises(ConfigError, match="^shares: expected "):
        config(shares=(entry,))


def test_a_batch_has_a_crop_for_every_process():
    with pytest.raises(ConfigError, match="^batch: expected at least 3"):
        batches_of(config(batch=2), 0, 3)


def test_momentum_of_sgd_is_kept_too(tmp_path):
    cfg = config(
        optimiser="sgd", learning_rate=0.05, network=dataclasses.replace(NETWORK, fusion=False)
    )
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
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="optional package tensorboard",
    )
    record = RunRecord(tmp_path, config())
    for step in range(3):
        record.training(step, {"loss": 3.0 - step})
    board = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in board.Scalars("training/loss")] == [3.0, 2.0, 1.0]


def test_two_processes_give_the_same_weights(tmp_path):
    """torchrun on this machine, but each with a disk of its own, the first's with a state to go on
    from: together they see what one would have seen, and they stay the same network."""
    cfg = config()
    whole, parts = batches_of(cfg)[3], [batches_of(cfg, rank, 2)[3] for rank in (0, 1)]
    assert torch.equal(torch.stack([p.labels for p in parts], 1).flatten(0, 1), whole.labels)
    code = IN_A_PROCESS + (
        "import torch\n"
        "from lifting_ros.research.training.distributed import rank_and_world\n"
        "torch.set_num_threads(1)\n"
        f"disk = Path({str(tmp_path)!r}) / str(rank_and_world()[0])\n"
        "torch.save(t.run(disk, t.config()), disk / 'average.pt')"
    )
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
    save_state(tmp_path / "0" / "state.safetensors", part_of(cfg, 7))
    (tmp_path / "run_it.py").write_text(code)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(tmp_path / "run_it.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (
        torch.load(tmp_path / str(rank) / "average.pt", weights_only=True) for rank in (0, 1)
    )
    for name in first:
        if (
            "running" not in name
        ):  # batch norm's statistics are a process' own where there is no GPU
            torch.testing.assert_close(first[name], second[name], msg=name)
    assert load_tensors(tmp_path / "0" / "state.safetensors")[1]["step"] == cfg.steps
    assert json.loads((tmp_path / "0" / "run.json").read_text())["processes"] == 2
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["average.pt"]


@pytest.mark.parametrize(
    ("rank", "local", "order"), [(0, 0, "work, meet"), (4, 0, "work, meet"), (5, 1, "meet, work")]
)
def test_every_machine_makes_its_files_once(monkeypatch, rank, local, order):
    happened = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda: happened.append("meet"))
    for name, value in {"RANK": rank, "LOCAL_RANK": local, "WORLD_SIZE": 8}.items():
        monkeypatch.setenv(name, str(value))
    with first_alone():
        happened.append("work")
    assert ", ".join(happened) == order


def test_read_error_of_first_process_is_raised_in_all(monkeypatch):
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
    code = IN_A_PROCESS + (f"t.run(Path({str(tmp_path)!r}), t.config(samples=80000), every=3)")
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 1800
        while not (tmp_path / "state.safetensors").exists():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()
    trainer = trainer_of(config(samples=80000))
    load_state(tmp_path / "state.safetensors", trainer)
    assert trainer.step >= 3 and trainer.step % 3 == 0


def test_what_is_saved_can_be_run(tmp_path):
    cfg = config(samples=16)
    save_trained(tmp_path / "w.safetensors", run(tmp_path, cfg), cfg, {"seed": 0})
    network = load_network(tmp_path / "w.safetensors", small_prior())
    assert network.config == NETWORK
    assert torch.isfinite(network(torch.rand(1, 3, 32, 32)).stages[-1].fused).all()


def test_network_trained_without_fusion_runs_without_it(tmp_path):
    cfg = config(samples=16, network=dataclasses.replace(NETWORK, fusion=False), fusion_from=0)
    save_trained(tmp_path / "w.safetensors", run(tmp_path, cfg), cfg, {"seed": 0})
    network = load_network(tmp_path / "w.safetensors", small_prior())
    last = network(torch.rand(1, 3, 32, 32)).stages[-1]
    assert last.projected is None and torch.equal(last.fused, last.belief)


def test_a_batch_is_a_function_of_seed_and_step():
    a, b = (batches_of(config())[5] for _ in range(2))
    assert same(a, b)
    assert not torch.equal(a.images, batches_of(config(seed=1))[5].images)


def test_workers_change_nothing():
    cfg = config(samples=32)
    pairs = zip(batches_of(cfg).stream(1, 0), batches_of(cfg).stream(1, 1), strict=True)
    assert [same(a, b) for a, b in pairs] == [True] * 3


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
def test_pack_without_training_rows_counts_as_absent(rows):
    """Empty, or of the validation side alone."""
    pack = make_pack()
    none = Pack("alarms", pack.images[rows], pack.keypoints[rows], pack.validation[rows])
    cfg = config(shares=("street=0.2", "alarms=0.8"))
    batches = Batches(
        [none, pack], cfg.shares, cfg.batch, 32, cfg.augmentation, cfg.seed, cfg.steps
    )
    assert batches.counts() == {"street": 10} and torch.equal(
        batches[2].labels, batches_of(config(shares=("street=1.0",)))[2].labels
    )
    with pytest.raises(ValueError, match="shares: none of street, alarms among the packs given"):
        Batches([none], cfg.shares, cfg.batch, 32, cfg.augmentation, cfg.seed, cfg.steps)


def test_pasted_parts_come_from_training_pictures():
    pack = make_pack()
    empty = pack._replace(name="negatives", keypoints=np.zeros_like(pack.keypoints))
    cfg = config(shares=("street=0.5", "negatives=0.5"))
    batches = Batches(
        [pack, empty], cfg.shares, cfg.batch, 32, cfg.augmentation, cfg.seed, cfg.steps
    )
    np.testing.assert_array_equal(np.stack(batches.scenery.things), empty.images[:10])


def test_batch_has_the_presence_of_keypoints():
    """One keypoint is not labelled: it is absent, or that is unknown; where nobody is, all are
    absent."""
    pack = make_pack()
    keypoints = np.tile(np.float32([32, 32, 1]), (12, 14, 1)) + np.float32(
        [[[n - 7, 7 - n, 0] for n in range(14)]]
    )
    keypoints[:, 5, 2] = 0
    absent = np.zeros((12, 14), bool)
    absent[:, 5] = True
    cfg = config(augmentation=STILL)
    told = batches_of(cfg, pack=pack._replace(keypoints=keypoints, absent=absent))[0].presence
    unsaid = batches_of(cfg, pack=pack._replace(keypoints=keypoints))[0].presence
    others = [k for k in range(14) if k != 5]
    assert (told[:, 5] == 0).all() and unsaid[:, 5].isnan().all()
    assert (told[:, others] == 1).all() and (unsaid[:, others] == 1).all()
    nobody = Pack("negatives", pack.images, np.zeros_like(keypoints), pack.validation)
    assert (batches_of(config(shares=("negatives=1.0",)), pack=nobody)[0].presence == 0).all()


def test_only_negatives_are_labelled_as_nobody():
    """White ones; that a person is not labelled says nothing."""
    pack = make_pack()
    pack.keypoints[:5] = 0
    white = Pack(
        "negatives",
        np.full((4, 64, 64, 3), 255, np.uint8),
        np.zeros((4, 14, 3), np.float32),
        np.zeros(4, bool),
    )
    cfg = config(shares=("street=0.5", "negatives=0.5"), augmentation=PLAIN)
    batches = Batches(
        [pack, white], cfg.shares, cfg.batch, 32, cfg.augmentation, cfg.seed, cfg.steps
    )
    for batch in (batches[0], batches[1]):
        assert (
            torch.equal(batch.nobody, batch.images.float().mean((1, 2, 3)) > 200)
            and 0 < batch.nobody.sum() < cfg.batch
        )


def test_loss_weights_of_unlabelled_and_doubtful_keypoints():
    keypoints = torch.tensor([[[10.0, 10], [40, 10], [5, 5], [20, 20]]])
    target, counted = target_maps(keypoints, torch.tensor([[1.0, 1, 0, 0.3]]), 4, (8, 8), 1.0)
    torch.testing.assert_close(counted, torch.tensor([[1.0, 0, 0, 0.3]]))
    torch.testing.assert_close(target[0, 0].sum(), torch.tensor(1.0))


def peak_output(maps: torch.Tensor):
    """What a paper network of one stage would return that gives `maps` (1, 15, h, w)."""
    belief = PeakMaps.belief(maps)
    return NetworkOutput([StageOutput(maps, belief, None, belief)], None)


@pytest.mark.parametrize(
    ("labels", "nobody", "punished"),
    [(14, False, True), (13, False, False), (0, True, True), (0, False, False)],
)
def test_unlabelled_peak_costs_only_if_absence_is_known(labels, nobody, punished):
    """Partly labelled people are handled by masks: the background is only known where every
    keypoint is labelled."""
    weight = (torch.arange(14) < labels).float()[None]
    target, counted = target_maps(torch.full((1, 14, 2), 20.0), weight, 8, (8, 8), SIGMA_CELLS)
    nobody = torch.tensor([nobody])
    quiet = torch.zeros(1, 15, 8, 8)
    background = quiet.clone()
    background[:, 14] = 1
    losses = [
        stage_losses(peak_output(maps), target, counted, nobody)[0, 0]
        for maps in (quiet, background)
    ]
    assert bool(losses[0] > losses[1]) == punished


@pytest.mark.parametrize(("presence", "told"), [(1.0, False), (0.0, True), (float("nan"), False)])
def test_presence_is_learnt_where_it_is_known(presence, told):
    """Logits of 3 say "there": only a keypoint that is known not to be there contradicts them."""
    loss = presence_loss(torch.full((2, 14), 3.0), torch.full((2, 14), presence))
    assert (loss > 1) == told
    assert (loss == 0) == np.isnan(presence)


def test_unknown_presences_do_not_thin_the_loss():
    logits = torch.full((1, 14), -1.0)
    presence = torch.full((1, 14), torch.nan)
    presence[0, :3] = 1
    expected = torch.nn.functional.softplus(torch.tensor(1.0))
    torch.testing.assert_close(presence_loss(logits, presence), expected)


def test_unknown_presences_have_no_gradient():
    logits = torch.zeros(1, 14, requires_grad=True)
    presence = torch.full((1, 14), torch.nan)
    presence[0, 4] = 0
    presence_loss(logits, presence).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.nonzero().tolist() == [[0, 4]]


def trunk_maps() -> torch.Tensor:
    """(1, 17, 8, 8): the trunk sees limb k of COCO's order in cell (k // 8, k % 8), with the nose
    and the ears."""
    own = torch.full((1, 17, 8, 8), 0.05)
    for k in range(17):
        own[0, k, k // 8, k % 8] = 0.8
    return own


def test_the_trunk_labels_limbs_by_their_names():
    points, score = trunk_labels(trunk_maps())
    assert points.shape == (1, 14, 2) and score.shape == (1, 14)
    for k, name in enumerate(KEYPOINT_NAMES):
        if name in ("head_top", "neck"):
            assert score[0, k] == 0
            continue
        cell = CONVENTIONS["coco17"].index(name)
        assert points[0, k].tolist() == [cell % 8, cell // 8]
        assert score[0, k] == pytest.approx(0.8)


def test_a_trunk_that_sees_little_labels_nothing():
    assert trunk_labels(trunk_maps() * 0.3)[1].count_nonzero() == 0


def test_trunk_teaches_only_unlabelled_keypoints():
    """Of four pictures: one of nobody, one with all keypoints absent, one labelled, one of which
    nothing is known."""
    cfg = config(trunk_teaches=0.5)
    own = trunk_maps().expand(4, -1, -1, -1)
    keypoints = torch.full((4, 14, 2), 3.0)
    weight = torch.zeros(4, 14)
    weight[2] = 0.7
    presence = torch.full((4, 14), torch.nan)
    presence[0], presence[1], presence[2] = 0, 0, 1
    nobody = torch.tensor([True, False, False, False])

    points, counted = trainer_of(cfg)._taught_by_trunk(own, keypoints, weight, presence, nobody)
    torch.testing.assert_close(points[:3], keypoints[:3])
    torch.testing.assert_close(counted[:3], weight[:3])
    cells, score = trunk_labels(own)
    torch.testing.assert_close(counted[3], 0.5 * score[3])
    torch.testing.assert_close(
        points[3, 2:], 4 * cells[3, 2:] + 1.5
    )  # the middle of a cell of 4 px
    assert counted[3, :2].count_nonzero() == 0


def test_trunk_teaches_nothing_in_pictures_of_nobody():
    """That nobody is there counts alone."""
    unknown = torch.full((1, 14), torch.nan)
    taught = trainer_of(config())._taught_by_trunk(
        trunk_maps(), torch.zeros(1, 14, 2), torch.zeros(1, 14), unknown, torch.tensor([True])
    )
    assert taught[1].count_nonzero() == 0


PYRAMID = ("pyramid.", "heat.")
DEEP = (*PYRAMID, *(f"backbone.blocks.{n}." for n in range(10, 17)), "backbone.last.")


@pytest.mark.parametrize(
    ("trained", "parts"), [("frozen", ()), ("pyramid", PYRAMID), ("deep", DEEP)]
)
def test_recipe_sets_which_trunk_layers_are_trained(trained, parts):
    cfg = config(trunk_trained=trained, fusion_from=8, samples=24, trunk_rate=0.5)
    trainer = trainer_of(cfg)
    stages = {name: p.clone() for name, p in trainer.network.stages.named_parameters()}
    for batch in batches_of(cfg).stream(0, 0):
        trainer.train_step(batch)
    given = trunk_weights()
    after = trainer.network.features.trunk.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, given[name])}
    assert changed == {name for name in given if name.startswith(parts)}
    averaged = {name: trainer.average[f"features.trunk.{name}"] for name in given}
    assert {
        name for name, value in averaged.items() if not torch.equal(value, given[name])
    } == changed
    assert all(
        not torch.equal(p, stages[name]) for name, p in trainer.network.stages.named_parameters()
    )


def test_the_trunk_has_a_rate_of_its_own():
    cfg = config(trunk_trained="pyramid", trunk_rate=0.25)
    trainer = trainer_of(cfg)
    trainer.train_step(batches_of(cfg)[0])
    stages, trunk = (group["lr"] for group in trainer.optimiser.param_groups)
    assert trunk == pytest.approx(0.25 * stages)
    assert stages == pytest.approx(cfg.rate_at(0))


def test_without_published_weights_all_of_the_trunk_is_trained():
    trainer = NetworkTrainer(config(), fusion_of(NETWORK, small_prior()))
    assert all(p.requires_grad for p in trainer.network.features.trunk.parameters())
