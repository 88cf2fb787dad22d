# SPDX-License-Identifier: Apache-2.0
"""The detector's training on rectangles that the test draws, and its scores as probabilities."""
import functools

import numpy as np
import pytest
import torch

from lifting_ros.core.checkpoint import save_tensors
from lifting_ros.core.detector import DetectorConfig, DetectorNetwork, load_detector, overlaps
from lifting_ros.data.scene_parts import Scene
from lifting_ros.training import train_detector as module
from lifting_ros.training.calibrate_detector import calibrated, fit_logistic, folded
from lifting_ros.training.state import load_state, save_state
from lifting_ros.training.train_detector import DetectorTrainConfig, DetectorTrainer, Scenes, save_detector, train_detector

WIDTHS = (8, 8, 16, 16)


class Rectangles:
    """Stands for the scenes: a bright upright rectangle is a person."""

    size, peopled = (96, 96), np.zeros(0, int)

    def __init__(self, *_args, **_options):
        pass

    def draw(self, rng: np.random.Generator, kind: str | None = None) -> Scene:
        image = rng.integers(0, 60, (96, 96, 3)).astype(np.uint8)
        known = np.ones((96, 96), bool)
        if kind == "nobody" or rng.random() < 0.2:
            return Scene(image, np.zeros((0, 4)), np.zeros((0, 14, 3)), known)
        x, y = rng.uniform(4, 60), rng.uniform(4, 40)
        box = np.array([x, y, x + rng.uniform(20, 30), y + rng.uniform(40, 50)])
        x0, y0, x1, y1 = box.astype(int)
        image[y0:y1, x0:x1] += 150
        along = np.linspace(0, 1, 14)[:, None]
        keypoints = np.column_stack([box[:2] * (1 - along) + box[2:] * along, np.ones(14)])
        return Scene(image, box[None], keypoints[None], known)


def config(**changes) -> DetectorTrainConfig:
    return DetectorTrainConfig(**({"samples": 64, "batch": 4, "widths": WIDTHS, "crowds": 0, "rooms": 0} | changes))


def train_steps(trainer: DetectorTrainer, first: int, last: int) -> list[dict[str, float]]:
    scenes = Scenes(trainer.config, Rectangles(), 0)
    return [trainer.train_step(*scenes[step]) for step in range(first, last)]


def test_it_learns_where_people_are(tmp_path):
    recipe = config(samples=1600, batch=8, learning_rate=4e-3, ema=0.95)
    trainer = DetectorTrainer(recipe)
    losses = train_steps(trainer, 0, recipe.steps)
    assert sum(losses[-1].values()) < 0.5 * sum(losses[0].values())
    weights = calibrated(trainer.average, WIDTHS, Rectangles(), scenes=60)
    save_detector(tmp_path / "d.safetensors", weights, recipe, {})
    detector = load_detector(tmp_path / "d.safetensors", DetectorConfig(score=0.5, long_side_px=96))
    found, there = 0, 0
    for seed in range(40):
        scene = Rectangles().draw(np.random.default_rng((7, seed)))
        boxes = np.array([d.box_px for d in detector.detect(scene.image)]).reshape(-1, 4)
        there += len(scene.boxes)
        found += sum(overlaps(box, boxes).max(initial=0) > 0.5 for box in scene.boxes)
        assert len(boxes) <= len(scene.boxes) + 1
    assert found > 0.9 * there


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path):
    whole, broken = DetectorTrainer(config()), DetectorTrainer(config())
    losses = train_steps(whole, 0, 10)
    train_steps(broken, 0, 6)
    save_state(tmp_path / "s", broken)
    again = DetectorTrainer(config())
    load_state(tmp_path / "s", again)
    for one, other in zip(losses[6:], train_steps(again, again.step, 10), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_a_training_begins_with_the_weights_of_its_recipe(tmp_path):
    first = DetectorTrainer(config(seed=3))
    save_tensors(tmp_path / "w", first.average, {})
    second = DetectorTrainer(config(init=str(tmp_path / "w")))
    assert all(torch.equal(first.average[name], value) for name, value in second.average.items())


def test_the_whole_training_goes_on_from_its_folder(tmp_path, monkeypatch):
    """Scenes of the test in place of the data: the second call finds the state of the first and has nothing left to learn."""
    monkeypatch.setattr(module, "SceneSource", Rectangles)
    monkeypatch.setattr(module, "open_crowd_pack", lambda *_: None)
    monkeypatch.setattr(module, "calibrated", functools.partial(calibrated, scenes=20))
    monkeypatch.setattr(DetectorTrainer, "train_step", counted := Counted(DetectorTrainer.train_step))
    recipe = config(samples=16)
    weights = [train_detector(recipe, tmp_path, tmp_path / "run", tmp_path, every=2) for _ in range(2)]
    assert counted.calls == recipe.steps
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())
    assert all((tmp_path / "run" / name).is_file() for name in ("recipe.yaml", "run.json", "curves.png"))


def test_another_recipe_goes_on_from_a_state(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SceneSource", Rectangles)
    monkeypatch.setattr(module, "open_crowd_pack", lambda *_: None)
    monkeypatch.setattr(module, "calibrated", functools.partial(calibrated, scenes=20))
    monkeypatch.setattr(DetectorTrainer, "train_step", counted := Counted(DetectorTrainer.train_step))
    short, longer = config(samples=16), config(samples=32)
    train_detector(short, tmp_path, tmp_path / "short", tmp_path, every=2)
    state = tmp_path / "short" / "state.safetensors"
    before = state.read_bytes()
    train_detector(longer, tmp_path, tmp_path / "longer", tmp_path, every=2, start=state)
    assert counted.calls == longer.steps and state.read_bytes() == before


def test_what_is_saved_is_loaded_with_its_own_widths(tmp_path):
    recipe = config(widths=(8, 16, 8, 24))
    save_detector(tmp_path / "w", DetectorTrainer(recipe).average, recipe, {})
    loaded = load_detector(tmp_path / "w", DetectorConfig(score=0.0, long_side_px=64))
    assert loaded.network.deep[0][0].out_channels == 24 and loaded.detect(np.zeros((64, 64, 3), np.uint8)) is not None


class Counted:
    """A method that counts its calls."""

    def __init__(self, method):
        self.method, self.calls = method, 0

    def __get__(self, owner, kind=None):
        def call(*args):
            self.calls += 1
            return self.method(owner, *args)

        return call


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (2.5, 1.0), (0.6, -2.0)])
def test_a_logistic_is_found_again(slope, offset):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    right = rng.random(len(logits)) < 1 / (1 + np.exp(-slope * logits - offset))
    np.testing.assert_allclose(fit_logistic(logits, right), [slope, offset], atol=0.1)


def test_scores_that_are_far_off_are_made_right_on_average():
    """Few boxes, sure and wrong or unsure and right: as often right as they then say."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        logits = rng.normal(rng.uniform(-4, 4), rng.uniform(0.3, 3), 200)
        slope, offset = rng.uniform(0.3, 3), rng.uniform(-6, 6)
        right = rng.random(200) < 1 / (1 + np.exp(-slope * logits - offset))
        slope, offset = fit_logistic(logits, right)
        assert slope < 10 and abs((1 / (1 + np.exp(-slope * logits - offset))).mean() - right.mean()) < 0.03, seed


def test_a_score_of_one_has_a_finite_fit():
    weights = DetectorNetwork(WIDTHS).state_dict()
    weights |= {"centre.weight": torch.zeros_like(weights["centre.weight"]), "centre.bias": torch.tensor([40.0])}
    assert all(torch.isfinite(value).all() for value in calibrated(weights, WIDTHS, Rectangles(), scenes=3).values())


def test_outcomes_of_one_kind_or_apart_give_a_finite_fit():
    logits = np.linspace(-3, 3, 100)
    for right in (np.ones(100, bool), np.zeros(100, bool), logits > 0):
        assert np.isfinite(fit_logistic(logits, right)).all()


def test_a_surer_box_never_becomes_a_less_sure_one():
    """Even where the pictures held back would have it so: the order of the boxes is the detector's."""
    logits = np.random.default_rng(0).normal(0, 2, 500)
    slope, offset = fit_logistic(logits, logits < 0)
    assert slope > 0 and np.isfinite(offset)


def test_folding_changes_scores_and_nothing_else():
    network, image = DetectorNetwork(WIDTHS).eval(), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image)
        network.load_state_dict(folded(network.state_dict(), 3.0, -1.5))
        after = network(image)
    torch.testing.assert_close(after[0], 3 * before[0] - 1.5, atol=1e-4, rtol=1e-4)
    assert torch.equal(before[1], after[1]) and torch.equal(before[2], after[2])
