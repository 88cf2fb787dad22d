# SPDX-License-Identifier: Apache-2.0
"""How far a 3D label made from a photograph can be believed: several opinions that fail in
different ways, and thresholds on each."""

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
    """Which labels are accepted; `config/label.yaml` is the one that ships. A score that cannot be
    told speaks against nobody."""

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
        metadata={"description": f"largest of {QUALITY['limb_ratios']}", "range": (0.0, 10.0)},
    )
    joint_limits_deg: float = field(
        default=15.0,
        metadata={"description": f"most of {QUALITY['joint_limits_deg']}", "range": (0.0, 180.0)},
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
        """Boolean (N,) of qualities (N,) by name."""
        limits = dataclasses.asdict(self)
        rejected = [quality["confidence"] < limits.pop("confidence")]
        for name, limit in limits.items():
            rejected.append(quality[name] > limit)  # false for NaN

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
    """QUALITY (N,) by name.

    found and poses: of the stereoscopic lifter; other: of another one; person_score (N,) and
    confidence (N, 14) of the keypoints; usual_limbs (16,): mean limb lengths over the person's size
    (of `MixturePPCA.limbs_`); baseline: of the second view.
    """
    joints, others = (p.joints_m - p.root_m[:, None] for p in (poses, other))
    lengths = limb_lengths(joints)
    size = np.sqrt((lengths**2).sum(-1, keepdims=True))
    trace = np.trace(poses.covariance_m2[:, 1:], axis1=-2, axis2=-1)

    return {
        "confidence": person_score * confidence.mean(-1),
        "reprojection": found.placed.cost,
        "limb_ratios": np.abs(lengths / size - usual_limbs).max(-1),
        "joint_limits_deg": excess_deg(joints),
        "views": view_gap(found, joints / size[..., None], baseline),
        "lifters_m": n_mpjpe(others, joints),
        "expected_error_m": np.sqrt(trace.mean(-1)),
    }


def label_rows(
    lifter: StereoLifter,
    other: PoseLifter,
    usual_limbs: np.ndarray,
    trial: Trial,
    config: LabelConfig | None = None,
) -> dict[str, dict[str, float]]:
    """What the limits are worth where the truth is known: mean errors in mm of labels that they
    accept and of those they refuse."""
    given = trial.keypoints_px, trial.confidence, trial.covariance_px2, trial.camera, trial.up
    found = lifter.reconstruct(*given)
    poses = lifter.finish(found, trial.camera is not None)
    second = other.lift(*given)
    sure = np.ones(len(trial.confidence))
    quality = quality_of(
        found, poses, second, sure, trial.confidence, usual_limbs, lifter.network.config.baseline
    )
    lifted = (poses.status > 0).all(1)
    rows = {}
    good = (config or LabelConfig()).accepts(quality) & lifted
    joints = (poses.joints_m - poses.root_m[:, None])[:, None]

    for name, chosen in (("good labels", good), ("refused labels", lifted & ~good)):
        rows[name] = {
            m: float(v.mean()) if len(v) else float("nan")
            for m, v in errors(joints[chosen], trial.joints_m[chosen]).items()
        }
        rows[name] |= {"share %": 100 * float(chosen.mean())}

    return rows


def view_gap(found: Reconstruction, joints: np.ndarray, baseline: float) -> np.ndarray:
    """Root mean square distance (N,) over the extent between the second view and that of poses (N,
    17, 3; optical frame, about the root, over the size) where the search put them; NaN without view
    synthesis."""
    if found.right is None:
        return np.full(len(joints), np.nan)

    turned = np.einsum("nab,njb->nja", found.view.rotation, joints)
    placed = turned + found.placed.root[:, None]
    difference = found.right - second_view(placed, baseline)
    square = (difference**2).sum(-1).mean(-1)

    return np.sqrt(square) / found.view.extent
