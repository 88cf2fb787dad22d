# SPDX-License-Identifier: Apache-2.0
"""What speaks against a label: bends that people do not have, limbs of odd length, opinions that
differ, and limits that hold."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from label_support import make_labels
from people import CAMERA, make_poses, see, small_prior
from stereo_support import make_lifter, turn

from lifting_ros.config import from_mapping, read_yaml
from lifting_ros.research.evaluation.lifting import answer_row
from lifting_ros.research.evaluation.virtual_cameras import PROTOCOLS, make_trial
from lifting_ros.research.labels.joint_limits import LIMITS_DEG, angles_deg, excess_deg
from lifting_ros.research.labels.label_quality import LabelConfig, label_rows, quality_of, view_gap
from lifting_ros.research.labels.label_sheet import draw_sheet, said, spread_rows
from lifting_ros.research.labels.labels import QUALITY
from lifting_ros.skeleton import JOINT_NAMES

CONFIG = Path(__file__).parents[2] / "config" / "label.yaml"


def test_joint_limits_are_independent_of_the_view():
    poses = make_poses(20)
    assert np.median(excess_deg(poses)) == 0
    for name, angles in angles_deg(poses @ turn(3, 2.0).T).items():
        np.testing.assert_allclose(angles, angles_deg(poses)[name], atol=1e-6)


def test_only_forward_bent_knees_are_reported():
    pose = np.zeros((1, 17, 3))
    pose[0, 1:] = [
        (-0.1, 0, 0), (-0.1, -0.4, 0), (-0.1, -0.8, 0), (0.1, 0, 0), (0.1, -0.4, 0), (0.1, -0.8, 0),
        (0, 0.25, 0), (0, 0.5, 0), (0, 0.6, 0), (0, 0.75, 0), (0.2, 0.5, 0), (0.2, 0.2, 0),
        (0.2, 0, 0), (-0.2, 0.5, 0), (-0.2, 0.2, 0), (-0.2, 0, 0),
    ]  # fmt: skip  # y up, facing z, the person's right at -x
    assert excess_deg(pose)[0] == 0
    for sign, beyond in ((1, 40 - LIMITS_DEG["knee back"]), (-1, 0.0)):
        bent, angle = pose.copy(), np.radians(40)
        bent[0, 3] = bent[0, 2] + 0.4 * np.array([0, -np.cos(angle), sign * np.sin(angle)])
        assert excess_deg(bent)[0] == pytest.approx(beyond, abs=1e-6)


def test_angles_of_a_figure_with_known_bends():
    """y up, facing z: the left thigh 30 degrees behind, the right one 60 before, shoulders turned
    by 50, the left elbow bent by 100."""
    at = {name: np.zeros(3) for name in JOINT_NAMES}
    sine, cosine = (lambda a: np.sin(np.radians(a))), (lambda a: np.cos(np.radians(a)))
    at |= {
        "spine": np.array([0, 0.25, 0]),
        "thorax": np.array([0, 0.5, 0]),
        "nose": np.array([0, 0.6, 0.05]),
    }
    at["head_top"] = at["thorax"] + 0.25 * np.array([0, cosine(20), sine(20)])
    across = np.array([cosine(50), 0, -sine(50)])  # left forwards or back is one
    for sign, side, thigh in ((1, "left", -30), (-1, "right", 60)):
        at[f"{side}_hip"], at[f"{side}_shoulder"] = (
            np.array([0.1 * sign, 0, 0]),
            at["thorax"] + 0.2 * sign * across,
        )
        at[f"{side}_knee"] = at[f"{side}_hip"] + 0.4 * np.array([0, -cosine(thigh), sine(thigh)])
        at[f"{side}_ankle"] = at[f"{side}_knee"] + np.array([0, -0.4, 0])
        at[f"{side}_elbow"] = at[f"{side}_shoulder"] + np.array([0, -0.3, 0])
        at[f"{side}_wrist"] = at[f"{side}_elbow"] + 0.25 * np.array(
            [0, -cosine(100), sine(100)] if sign > 0 else [0, -1, 0]
        )
    found = {
        name: float(angles[0]) for name, angles in angles_deg(np.array([list(at.values())])).items()
    }
    wanted = {
        "spine fold": 0,
        "head fold": 20,
        "twist": 50,
        "left hip back": 30,
        "right hip back": -60,
        "left elbow fold": 100,
        "right elbow fold": 0,
        "left knee fold": 30,
        "right knee fold": 60,
        "left knee back": 30,
        "right knee back": -60,
    }
    assert found == pytest.approx(wanted, abs=1e-5)


@pytest.fixture(scope="module")
def scored():
    joints, keypoints = see(make_poses(6))
    lifter, confidence = make_lifter(), np.ones((6, 14))
    found = lifter.reconstruct(keypoints, confidence, None, CAMERA)
    poses = lifter.finish(found, True)
    return (
        lifter,
        found,
        poses,
        quality_of(
            found, poses, poses, np.full(6, 0.5), confidence, small_prior().limbs_[:, 0], 1.0
        ),
    )


def test_self_agreement_is_perfect_in_every_score(scored):
    _, found, poses, quality = scored
    assert set(quality) == set(QUALITY) and all(
        values.shape == (6,) and np.isfinite(values).all() for values in quality.values()
    )
    np.testing.assert_allclose(quality["lifters_m"], 0, atol=1e-9)
    np.testing.assert_allclose(quality["confidence"], 0.5)
    other = dataclasses.replace(
        poses, joints_m=poses.root_m[:, None] + 1.3 * (poses.joints_m - poses.root_m[:, None])
    )
    again = quality_of(
        found, poses, other, np.full(6, 0.5), np.ones((6, 14)), small_prior().limbs_[:, 0], 1.0
    )
    np.testing.assert_allclose(
        again["lifters_m"], 0, atol=1e-9
    )  # of another size, after the best scale
    other.joints_m[:, 16] += [0.3, 0, 0]
    again = quality_of(
        found, poses, other, np.full(6, 0.5), np.ones((6, 14)), small_prior().limbs_[:, 0], 1.0
    )
    assert ((again["lifters_m"] > 0.01) & (again["lifters_m"] < 0.06)).all()
    assert (quality["expected_error_m"] > 0).all()


def test_own_second_view_is_compared_at_its_position(scored):
    """A second view that is what the camera to the right sees of the pose leaves no gap."""
    _, found, _, _ = scored
    placed = found.joints + found.placed.root[:, None]
    chosen = [10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6]
    seen = (placed[:, chosen, :2] - [1.0, 0]) / placed[:, chosen, 2:]
    optical = np.einsum("nba,njb->nja", found.view.rotation, found.joints)
    np.testing.assert_allclose(view_gap(found._replace(right=seen), optical, 1.0), 0, atol=1e-9)
    assert np.isnan(view_gap(found._replace(right=None), optical, 1.0)).all()


def test_limits_accept_within_and_unknown_refuse_beyond():
    config = LabelConfig()
    limits = {name: np.full(3, getattr(config, name)) for name in QUALITY}
    assert config.accepts(limits).all()
    for name in QUALITY:
        worse = limits[name] + [0, -1e-6 if name == "confidence" else 1e-6, np.nan]
        assert config.accepts(limits | {name: worse}).tolist() == [True, False, True]


def test_labels_are_judged_where_the_truth_is_known():
    """All accepted: the errors are the lifter's own; half of them refused: both shares are told."""
    trial, lifter = make_trial(make_poses(8), PROTOCOLS["3 missing"], 1), make_lifter()
    everything = LabelConfig(0.0, *[1e6] * 6)
    rows = label_rows(lifter, lifter, small_prior().limbs_[:, 0], trial, everything)
    assert rows["good labels"]["share %"] == 100 and np.isnan(rows["refused labels"]["MPJPE"])
    assert rows["good labels"]["MPJPE"] == pytest.approx(answer_row(lifter, trial)["MPJPE"])
    found = lifter.reconstruct(
        trial.keypoints_px, trial.confidence, trial.covariance_px2, trial.camera, trial.up
    )
    half = dataclasses.replace(everything, reprojection=float(np.median(found.placed.cost)))
    rows = label_rows(lifter, lifter, small_prior().limbs_[:, 0], trial, half)
    assert rows["good labels"]["share %"] == rows["refused labels"]["share %"] == 50


def test_the_limits_that_ship_are_the_defaults():
    assert from_mapping(LabelConfig, read_yaml(CONFIG)) == LabelConfig()
    text = CONFIG.read_text(encoding="utf-8")
    assert all(
        f"{f.name}:" in text and f.metadata["description"] in text
        for f in dataclasses.fields(LabelConfig)
    )
    assert {f.name for f in dataclasses.fields(LabelConfig)} == set(QUALITY)


def test_sheet_is_sorted_from_worst_to_best_with_scores():
    labels = make_labels()
    rows = spread_rows(labels, 4)
    assert (
        not labels.good[rows[0]]
        and labels.good[rows[-1]]
        and labels.quality["expected_error_m"][rows[-1]] == 0
    )
    assert said(labels, rows[0]).startswith("refused") and len(spread_rows(labels, 100)) == 18
    assert draw_sheet(labels, rows[:2], 120).startswith(b"\x89PNG")
