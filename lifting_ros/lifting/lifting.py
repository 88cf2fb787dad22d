# SPDX-License-Identifier: Apache-2.0
"""Lifting of keypoints to 3D with the prior (section 5.3): a posterior over pose, rotation and
place, not only its best point.

`Lifter.lift` goes through four rooms. `observation`: pixels become rays with covariances in a frame
that looks at the person. `scoring`: every component of the prior in every sampled rotation is
scored, and the best few are kept. `conditioning`: what the keypoints say about a candidate, by
linear algebra; tabulated where all keypoints are seen with one noise, made for the person
otherwise. `modes`: limb lengths and the true perspective. Up to there the unit is the person's size
(root of the sum of squared limb lengths); the stature prior turns it into metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.geometry.rotations import rotation_about_vertical
from lifting_ros.lifting.conditioning import (
    LIMB_JOINTS,
    Candidates,
    Plans,
    condition,
    make_candidates,
    upright,
)
from lifting_ros.lifting.depth import measure_depth
from lifting_ros.lifting.depth_fusion import fuse_rows, read_depth
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.modes import lift_rows
from lifting_ros.lifting.moments import to_metres
from lifting_ros.lifting.observation import (
    DIFFERENT,
    FEW,
    FEW_SEEN,
    LEVELS,
    NONE,
    PITCH_STEP,
    Rays,
    Views,
    every_way_up,
    into_views,
    to_rays,
)
from lifting_ros.lifting.request import UP, check_request, unit_up
from lifting_ros.lifting.scoring import (
    ScoreTable,
    score_by_table,
    score_masked,
    shortlist,
    tabulate,
    tabulate_masked,
)
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.prior.streaming import in_parallel
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT
from lifting_ros.types import LiftedPoses

APART = 0.6
"""Radians of rotation by which the modes of one component differ at least."""

UNKNOWN_TILT_STD = 0.2
"""Deviation of the vertical from its sample, radians, where gravity is unknown."""
SURPRISE, HANDSTANDS = 3.0, 1e-3
"""Squared Mahalanobis distance a dimension from which a person may be upside down, and how many
are."""

_MODES_A_VIEW = 2
_USUAL_PITCHES = 6  # steps of PITCH_STEP either way
_MODES_OF_FEW = 48  # of a person of whom little is seen: the second moments need them
_MODES_WITH_DEPTH = 8  # among which depth chooses

_PARALLEL, _PIECE = 128, 256  # persons from which threads pay, and whom one thread takes at a time


class Lifter:
    """Keypoints and confidences to joints, covariances and hypotheses. Safe to use from several
    threads."""

    def __init__(self, prior: MixturePPCA, config: LifterConfig | None = None):
        self.prior, self.config = prior, config or LifterConfig()
        config = self.config
        limbs = prior.limbs_[[joint - 1 for joint in LIMB_JOINTS]]
        self._lengths = limbs[:, 0].astype(np.float32)
        self._variance = ((limbs[:, 1] * config.limb_scale) ** 2).astype(np.float32)
        self._apart = int(APART * config.rotations / (2 * np.pi))
        self.size_m, self.size_std_m = config.size_m(prior.stature_m_, prior.stature_std_m_)
        self._candidates = lru_cache(maxsize=64)(self._make_candidates)
        self._masked = lru_cache(maxsize=64)(lambda *key: tabulate_masked(self._candidates(*key)))
        self._tables = lru_cache(maxsize=48)(self._make_tables)

    def lift(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> LiftedPoses:
        """Lift N persons.

        keypoints_px (N, 14, 2), NaN allowed where confidence (N, 14) is 0; covariance_px2 (N, 14,
        2, 2) or None; up (3,) or (N, 3) in the optical frame, NaN where unknown; depth: measured z
        of the keypoints' joints and its variance, (N, 14) each, m and m^2, inf where there is none
        (`depth.measure_depth`), used with a camera only. With a camera the result is absolute, in
        its optical frame, in metres; without one the root is the origin and the size is the
        prior's. Persons with fewer than two usable keypoints, or with all of them within their
        noise, come back INVALID. Raises ValueError in one line for arrays of a wrong shape.
        """
        count = check_request(keypoints_px, confidence, covariance_px2)
        seen = to_rays(
            keypoints_px,
            confidence,
            covariance_px2,
            camera,
            self.config.keypoint_noise,
            self.config.noise_floor_px,
        )
        poses = LiftedPoses.invalid(count, self.config.modes)
        vertical, known = unit_up(np.broadcast_to(np.asarray(up, np.float64), (count, 3)))
        measured, deep = read_depth(depth if camera is not None else None, count)
        for rows, depths in (
            (np.flatnonzero(known & ~deep), None),
            (np.flatnonzero(known & deep), measured),
        ):
            if len(rows):
                part = seen if len(rows) == count else Rays(*(value[rows] for value in seen))
                self._lift_known(
                    poses,
                    rows,
                    part,
                    vertical[rows],
                    camera is not None,
                    None if depths is None else depths[rows],
                )
        self._lift_any_way_up(
            poses, np.flatnonzero(~known), seen, camera is not None, measured, deep
        )
        return poses

    def warm_up(self, depth: bool = False) -> None:
        """Compile what no call has compiled yet, some 15 s once an installation, and tabulate the
        usual pitches of a camera.

        `depth`: also what depths need, as long again.
        """
        keypoints = np.stack(
            [np.arange(KEYPOINT_COUNT) % 4 * 20.0, np.arange(KEYPOINT_COUNT) * 15.0], -1
        )[None]
        self.lift(
            keypoints, np.ones((1, KEYPOINT_COUNT)), camera=Camera(np.diag([500.0, 500.0, 1.0]))
        )
        self.lift(keypoints, np.linspace(0.1, 1.0, KEYPOINT_COUNT)[None])
        if depth:
            wall, seen = np.full((240, 80), 4.0, np.float32), np.ones((1, KEYPOINT_COUNT))
            self.lift(
                keypoints,
                seen,
                camera=Camera(np.diag([500.0, 500.0, 1.0])),
                depth=measure_depth(wall, keypoints, seen),
            )
        for pitch in range(-_USUAL_PITCHES, _USUAL_PITCHES + 1):
            self._masked(pitch, float(np.radians(self.config.tilt_std_deg)))

    def _make_candidates(self, pitch: int, tilt_std: float) -> Candidates:
        return make_candidates(
            self.prior, pitch * PITCH_STEP, self.config.rotations, self.config.prior_scale, tilt_std
        )

    def _make_tables(self, pitch: int, tilt_std: float, level: int) -> tuple[ScoreTable, Plans]:
        """For persons with all keypoints seen and one noise."""
        candidates = self._candidates(pitch, tilt_std)
        noise = np.array([[[1.0, 0.0, 1.0]] * KEYPOINT_COUNT]) * 4.0 ** (
            level / LEVELS
        )  # (1, 14, 3)
        everyone = np.arange(len(candidates.mean))
        plans, inverse, log_det = condition(
            candidates, everyone, np.ones((1, KEYPOINT_COUNT), bool), noise
        )
        return tabulate(candidates, plans.offset.astype(np.float64), inverse, log_det), plans

    def _lift_known(
        self,
        poses: LiftedPoses,
        rows: np.ndarray,
        seen: Rays,
        up: np.ndarray,
        metric: bool,
        depths=None,
    ) -> None:
        """Persons whose vertical is known; those who would be a great surprise the right way up are
        tried upside down as well."""
        surprise = self._lift_upright(poses, rows, Views(*into_views(*seen, up)), metric, depths)
        odd = np.flatnonzero(surprise > SURPRISE)
        if not len(odd):
            return
        views = Views(*into_views(*(value[odd] for value in seen), -up[odd]))
        other = LiftedPoses.invalid(len(odd), self.config.modes)
        self._lift_upright(
            other, np.arange(len(odd)), views, metric, None if depths is None else depths[odd]
        )
        better = other.log_likelihood + np.log(HANDSTANDS) > poses.log_likelihood[rows[odd]]
        for field_ in fields(LiftedPoses):
            getattr(poses, field_.name)[rows[odd[better]]] = getattr(other, field_.name)[better]

    def _lift_upright(
        self,
        poses: LiftedPoses,
        rows: np.ndarray,
        views: Views,
        metric: bool,
        depths: np.ndarray | None,
    ) -> np.ndarray:
        """One view a person, those of one pitch and noise level together; depths (n, 14, 2) of all
        of them or None.

        Returns each one's surprise (n,): the squared Mahalanobis distance of the keypoints from the
        likeliest candidate, a dimension.
        """

        def lift(group: slice, pitch: int, level: int) -> None:
            part = Views(*(value[group] for value in views))
            modes, apart = (_MODES_OF_FEW, 0) if level == FEW else (self.config.modes, self._apart)
            if (
                depths is not None
            ):  # it may choose another mode than the keypoints; the tables lack the whole posterior
                modes, level = max(modes, _MODES_WITH_DEPTH), max(level, DIFFERENT)
            chosen, score, depth = self._shortlist(
                part, pitch, tilt, level, modes, apart
            )  # (n, M) each
            view = np.repeat(np.arange(len(chosen)), chosen.shape[1]).reshape(chosen.shape)
            if level >= DIFFERENT:
                candidates = self._candidates(pitch, tilt)
                told = part.seen[view.ravel()], part.noise[view.ravel()]
                plans, _, log_det = condition(
                    candidates, chosen.ravel(), *told, whole=depths is not None
                )
                plan = np.where(chosen >= 0, np.arange(chosen.size).reshape(chosen.shape), -1)
                bias = candidates.log_prior[chosen[:, 0]] - log_det.reshape(chosen.shape)[:, 0]
            else:
                table, plans = self._tables(pitch, tilt, level)
                plan, bias = chosen, table.bias[chosen[:, 0]]
            surprise[group] = 2 * (
                np.log(depth[:, 0]) + (bias - score[:, 0]) / (2 * part.seen.sum(1))
            )
            own = None if depths is None else depths[order[group]]
            self._finish(
                poses,
                rows[group],
                plans,
                plan,
                view,
                part,
                depth,
                score,
                part.seen,
                surprise[group],
                metric,
                own,
            )

        order, views = _in_order(views)
        rows = rows[order]
        tilt, surprise, unordered = (
            float(np.radians(self.config.tilt_std_deg)),
            np.zeros(len(rows)),
            np.empty(len(rows)),
        )
        in_parallel(lift, _groups(views, _PIECE), _PARALLEL)
        unordered[order] = surprise
        return unordered

    def _lift_any_way_up(
        self, poses: LiftedPoses, rows: np.ndarray, seen: Rays, metric: bool, measured, deep
    ) -> None:
        """Persons whose vertical is not known: views with up in every direction of a coarse grid,
        the best modes of all of them."""
        for row in rows:
            alone = Rays(*(value[row : row + 1] for value in seen))
            ups = every_way_up(alone.rays[0], alone.seen[0])  # (V, 3)
            if len(ups):
                views = Views(*into_views(*(np.repeat(v, len(ups), 0) for v in alone), ups))
                self._lift_views(
                    poses, row, views, metric, measured[row : row + 1] if deep[row] else None
                )

    def _lift_views(
        self, poses: LiftedPoses, row: int, views: Views, metric: bool, depths: np.ndarray | None
    ) -> None:
        """One person, seen as each of the views; depths (1, 14, 2) or None."""
        found, views = [], _in_order(views)[1]
        for group, pitch, level in _groups(views, len(views.pitch)):
            part = Views(*(value[group] for value in views))
            chosen, score, depth = self._shortlist(
                part, pitch, UNKNOWN_TILT_STD, level, _MODES_A_VIEW, self._apart
            )
            view = np.repeat(np.arange(group.start, group.stop), _MODES_A_VIEW)
            found += zip(
                score.ravel() - np.log(len(views.pitch)),
                view,
                [pitch] * len(view),
                chosen.ravel(),
                depth.ravel(),
            )
        found = sorted(((s, v, p, q, d) for s, v, p, q, d in found if q >= 0), key=lambda f: -f[0])
        if not found:
            return
        many = depths is not None or views.seen[found[0][1]].sum() <= FEW_SEEN
        score, view, pitch, chosen, depth = zip(
            *(found[:_MODES_OF_FEW] if many else self._apart_from_each_other(found, views))
        )
        parts, _, log_dets = zip(
            *(
                condition(
                    self._candidates(p, UNKNOWN_TILT_STD),
                    np.array([q]),
                    views.seen[[v]],
                    views.noise[[v]],
                    depths is not None,
                )
                for p, q, v in zip(pitch, chosen, view)
            )
        )
        plans, plan = (
            Plans(*(np.concatenate(values) for values in zip(*parts))),
            np.arange(len(parts))[None],
        )
        bias = (
            self._candidates(pitch[0], UNKNOWN_TILT_STD).log_prior[chosen[0]]
            - log_dets[0]
            - np.log(len(views.pitch))
        )
        surprise = 2 * (np.log(depth[0]) + (bias - score[0]) / (2 * views.seen[view[0]].sum()))
        missing = max(self.config.modes - len(score), 0)
        pad = lambda values, fill: np.array([(*values, *[fill] * missing)])  # noqa: E731
        depth, score = pad(depth, 1.0).astype(np.float32), pad(score, -np.inf).astype(np.float32)
        plan, view = np.pad(plan, ((0, 0), (0, missing)), constant_values=-1), pad(view, 0)
        seen = views.seen[view[:, 0]]
        self._finish(
            poses,
            np.array([row]),
            plans,
            plan,
            view,
            views,
            depth,
            score,
            seen,
            surprise,
            metric,
            depths,
        )

    def _apart_from_each_other(self, found: list, views: Views) -> list:
        """The best of what was found, best first, modes of one component APART in rotation."""
        kept, rotations = [], []
        for mode in found:
            _, view, pitch, q, _ = mode
            candidates = self._candidates(int(pitch), UNKNOWN_TILT_STD)
            yaw = rotation_about_vertical(candidates.yaw[q] * 2 * np.pi / self.config.rotations)
            rotation = views.frame[view].T @ upright(pitch * PITCH_STEP) @ yaw
            component = candidates.component[q]
            if all(
                c != component or np.trace(r.T @ rotation) < 1 + 2 * np.cos(APART)
                for c, r in rotations
            ):
                kept.append(mode)
                rotations.append((component, rotation))
            if len(kept) == self.config.modes:
                break
        return kept

    def _shortlist(
        self, views: Views, pitch: int, tilt: float, level: int, modes: int, apart: int
    ) -> tuple[np.ndarray, ...]:
        """Candidates, log-evidence and depth (V, M each) of views that share pitch and noise level."""
        candidates = self._candidates(pitch, tilt)
        if level >= DIFFERENT:
            score, depth = score_masked(
                *self._masked(pitch, tilt), views.centred, views.noise, views.seen
            )
        else:
            score, depth = score_by_table(self._tables(pitch, tilt, level)[0], views.centred)
        return shortlist(score, depth, candidates.yaw, self.config.rotations, modes, apart)

    def _finish(
        self,
        poses,
        rows,
        plans,
        plan,
        view,
        views,
        depth,
        score,
        seen,
        surprise,
        metric: bool,
        depths: np.ndarray | None,
    ) -> None:
        """Refine the shortlisted modes of persons `rows` and write them into `poses`, the less
        certain the greater the surprise."""
        count, modes = plan.shape
        joints, weight = (
            np.empty((count, modes, JOINT_COUNT, 3), np.float32),
            np.empty((count, modes), np.float32),
        )
        relative, root = (
            np.empty((count, JOINT_COUNT, 3, 3), np.float32),
            np.empty((count, 3, 3), np.float32),
        )
        given = (
            plans,
            plan,
            view,
            views.rays,
            views.seen,
            depth,
            score,
            views.frame,
            self._lengths,
            self._variance,
        )
        size, size_std, answer = self.size_m, self.size_std_m, (joints, weight, relative, root)
        if depths is None:
            evidence = lift_rows(*given, self.config.iterations, *answer)
        else:
            evidence = fuse_rows(*given, depths, size, size_std, *answer)
            size, size_std = 1.0, 0.0  # in metres already
        out = (
            poses.joints_m,
            poses.root_m,
            poses.covariance_m2,
            poses.root_covariance_m2,
            poses.status,
            poses.log_likelihood,
            poses.hypotheses_m,
            poses.hypothesis_weight,
        )
        to_metres(
            rows,
            joints,
            weight,
            relative,
            root,
            surprise,
            evidence,
            seen,
            size,
            size_std,
            metric,
            out,
        )


def _in_order(views: Views) -> tuple[np.ndarray, Views]:
    """Views with those of one pitch and noise level together, and where each of them was."""
    if len(views.pitch) == 1:  # the node's case: nothing to sort
        return np.zeros(1, np.int64), views
    order = np.argsort(views.pitch * (4 * NONE) + views.level, kind="stable")
    return order, Views(*(value[order] for value in views))


def _groups(views: Views, most: int) -> list[tuple[slice, int, int]]:
    """Slices of ordered views that share pitch and noise level, `most` long at most, with both."""
    changed = np.flatnonzero((np.diff(views.pitch) != 0) | (np.diff(views.level) != 0)) + 1
    bounds = [0, *changed.tolist(), len(views.pitch)]
    return [
        (slice(first, min(first + most, stop)), int(views.pitch[start]), int(views.level[start]))
        for start, stop in zip(bounds, bounds[1:])
        for first in range(start, stop, most)
        if views.level[start] != NONE
    ]
