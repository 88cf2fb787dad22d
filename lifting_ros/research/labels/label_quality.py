# SPDX-License-Identifier: Apache-2.0
"""How reliable the 3D labels of photographs are: several scores that fail in different ways, and a
threshold for each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from lifting_ros.lifting.person_view import second_view
from lifting_ros.lifting.request import PoseLifter
from lifting_ros.lifting.stereo import Reconstruction, StereoLifter
from lifting_ros.research.evaluation.lifting import errors
from lifting_ros.research.evaluation.metrics import n_mpjpe
from lifting_ros.research.evaluation.virtual_cameras import Trial
from lifting_ros.research.labels.joint_limits import excess_deg
from lifting_ros.research.labels.labels import QUALITY
from lifting_ros.skeleton import limb_lengths
from lifting_ros.types import LiftedPoses


@dataclass(frozen=True)
class LabelConfig:
    """Thresholds of the scores of a good label; `config/label.yaml` is the one that ships. A score
    that is NaN rejects no label."""

    confidence: float = field(
        default=0.45,
        metadata={"description": f"least {QUALITY['confidence']}", "range": (0.0, 1.0)},
    )
    reprojection: float = field(
        default=0.06,
        metadata={"description": f"largest {QUALITY['reprojection']}", "range": (0.0, 10.0)},
    )
    limb_ratios: float = field(
        default=0.13,
        metadata={"description": f"largest {QUALITY['limb_ratios']}", "range": (0.0, 10.0)},
    )
    joint_limits_deg: float = field(
        default=15.0,
        metadata={"description": f"largest {QUALITY['joint_limits_deg']}", "range": (0.0, 180.0)},
    )
    views: float = field(
        default=0.2, metadata={"description": f"largest {QUALITY['views']}", "range": (0.0, 100.0)}
    )
    lifters_m: float = field(
        default=0.12,
        metadata={"description": f"largest {QUALITY['lifters_m']}", "range": (0.0, 10.0)},
    )
    expected_error_m: float = field(
        default=0.13,
        metadata={"description": f"largest {QUALITY['expected_error_m']}", "range": (0.0, 10.0)},
    )

    def accepts(self, quality: dict[str, np.ndarray]) -> np.ndarray:
        """Boolean (N,): whether each label is good. quality: scores (N,) by name."""
        limits = dataclasses.asdict(self)
        least = limits.pop("confidence")

        rejected = [quality["confidence"] < least]
        for name, limit in limits.items():
            above = quality[name] > limit  # False for NaN
            rejected.append(above)

        return ~np.any(rejected, axis=0)


def quality_of(  # noqa: PLR0913 - one argument for each source of evidence
    found: Reconstruction,
    poses: LiftedPoses,
    other: LiftedPoses,
    person_score: np.ndarray,
    confidence: np.ndarray,
    usual_limbs: np.ndarray,
    baseline: float,
) -> dict[str, np.ndarray]:
    """Scores (N,) by the names of QUALITY.

    found, poses: of the stereoscopic lifter; other: of another lifter; person_score (N,) and
    confidence (N, 14): of the keypoints; usual_limbs (16,): mean limb lengths divided by the
    person's size (of `MixturePPCA.limbs_`); baseline: of the second view.
    """
    joints = poses.joints_m - poses.root_m[:, None]
    others = other.joints_m - other.root_m[:, None]

    lengths = limb_lengths(joints)
    size = np.sqrt((lengths**2).sum(-1, keepdims=True))
    odd = np.abs(lengths / size - usual_limbs)
    variance = np.trace(poses.covariance_m2[:, 1:], axis1=-2, axis2=-1)

    return {
        "confidence": person_score * confidence.mean(-1),
        "reprojection": found.placed.cost,
        "limb_ratios": odd.max(-1),
        "joint_limits_deg": excess_deg(joints),
        "views": view_gap(found, joints / size[..., None], baseline),
        "lifters_m": n_mpjpe(others, joints),
        "expected_error_m": np.sqrt(variance.mean(-1)),
    }


def label_rows(
    lifter: StereoLifter,
    other: PoseLifter,
    usual_limbs: np.ndarray,
    trial: Trial,
    config: LabelConfig | None = None,
) -> dict[str, dict[str, float]]:
    """Mean errors, mm, and shares, percent, of the labels that the thresholds accept and of those
    that they refuse, where the truth is known."""
    # Lift with both lifters
    request = (
        trial.keypoints_px,
        trial.confidence,
        trial.covariance_px2,
        trial.camera,
        trial.up,
    )
    found = lifter.reconstruct(*request)
    poses = lifter.finish(found, trial.camera is not None)
    second = other.lift(*request)

    # Score
    certain = np.ones(len(trial.confidence))
    baseline = lifter.network.config.baseline
    quality = quality_of(found, poses, second, certain, trial.confidence, usual_limbs, baseline)
    lifted = (poses.status > 0).all(1)
    good = (config or LabelConfig()).accepts(quality) & lifted

    joints = (poses.joints_m - poses.root_m[:, None])[:, None]
    rows = {}
    for name, chosen in (("good labels", good), ("refused labels", lifted & ~good)):
        row = {}
        for metric, values in errors(joints[chosen], trial.joints_m[chosen]).items():
            row[metric] = float(values.mean()) if len(values) else float("nan")
        row["share %"] = 100 * float(chosen.mean())
        rows[name] = row

    return rows


def view_gap(
    found: Reconstruction,
    joints: np.ndarray,
    baseline: float,
) -> np.ndarray:
    """Root mean square distance (N,) between the second view of the network and that of poses,
    divided by the person's extent; NaN without view synthesis.

    joints: (N, 17, 3) in the optical frame, about the root, divided by the size; they are placed
    where the search of the lifter found them.
    """
    if found.right is None:
        return np.full(len(joints), np.nan)

    turned = np.einsum("nab,njb->nja", found.view.rotation, joints)
    placed = turned + found.placed.root[:, None]
    difference = found.right - second_view(placed, baseline)
    square = (difference**2).sum(-1).mean(-1)
    return np.sqrt(square) / found.view.extent
