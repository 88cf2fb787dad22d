# SPDX-License-Identifier: Apache-2.0
"""Lifting of keypoints to 3D with the prior (section 5.3): a posterior over pose, rotation and
position, not only its maximum.

`Lifter.lift` has four steps, one module each. `observation`: pixels become rays with covariances in
a frame that looks at the person. `scoring`: every component of the prior is scored in every sampled
rotation, and the best few are kept. `conditioning`: the posterior of each of them in closed form,
tabulated where all keypoints are seen with one noise, computed for the person otherwise. `modes`:
limb lengths and true perspective (`depth_fusion` where depths are measured). The unit up to there
is the person's size (root of the sum of squared limb lengths); `moments` turns it into metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

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
from lifting_ros.lifting.depth_fusion import fuse_depths, read_depth, read_relative_depth
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.modes import Body, Modes, Shortlist, refine_modes
from lifting_ros.lifting.moments import Persons, PoseArrays, Size, write_poses
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
from lifting_ros.lifting.request import (
    UP,
    WARM_UP_DISTORTION,
    Depths,
    check_request,
    unit_up,
    up_of_each,
)
from lifting_ros.lifting.scoring import (
    MaskedTable,
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

MIN_SEPARATION = 0.6
"""Least rotation between modes of one component, radians."""

UNKNOWN_TILT_STD = 0.2
"""Standard deviation of the vertical about its sample where gravity is unknown, radians."""

UPSIDE_DOWN_MISFIT = 3.0
"""Misfit above which the upside-down hypothesis is tested: squared Mahalanobis distance per
dimension."""

UPSIDE_DOWN_PRIOR = 1e-3
"""Prior probability that a person is upside down."""

_MODES_PER_VIEW = 2
"""Modes kept per view where the vertical is unknown."""

_MODES_OF_FEW = 48
"""Modes of a person with few keypoints; the second moments require many."""

_MODES_WITH_DEPTH = 8
"""Modes among which measured depths decide."""

_USUAL_PITCHES = 6
"""Pitches that `warm_up` tabulates, in steps of PITCH_STEP up and down."""

_PARALLEL = 128
"""Number of persons from which threads pay off."""

_PIECE = 256
"""Largest number of persons per task of a thread."""


class _Cell(NamedTuple):
    """Key of the tables: views with the same key are scored and conditioned together."""

    pitch: int
    tilt_std: float
    level: int


class _Observed(NamedTuple):
    """The n persons of one pass."""

    rows: np.ndarray
    """(n,) where they stand in the request."""
    rays: Rays
    up: np.ndarray
    """(n, 3) unit vectors in the optical frame."""
    depths: np.ndarray | None
    """(n, 14, 4) from `read_depth` and `read_relative_depth`; every person has one or more. None:
    no depths at all."""

    def select(self, index: np.ndarray) -> _Observed:
        """The persons at `index`, which is ascending."""
        if len(index) == len(self.rows):
            return self

        rows = self.rows[index]
        rays = Rays(*(values[index] for values in self.rays))
        up = self.up[index]
        depths = None if self.depths is None else self.depths[index]

        return _Observed(rows, rays, up, depths)


class _Output(NamedTuple):
    """Where poses are written."""

    arrays: PoseArrays
    metric: bool
    """Whether a camera is known."""


class _Found(NamedTuple):
    """A mode of a person whose vertical is unknown."""

    pitch: int
    score: float
    view: int
    candidate: int
    depth: float


class Lifter:
    """Keypoints and confidences to joints, covariances and hypotheses. Thread-safe."""

    def __init__(
        self,
        prior: MixturePPCA,
        config: LifterConfig | None = None,
    ):
        self.prior = prior
        self.config = config or LifterConfig()
        config = self.config
        self.size_m, self.size_std_m = config.size_m(prior.stature_m_, prior.stature_std_m_)

        limbs = prior.limbs_[[joint - 1 for joint in LIMB_JOINTS]]
        self._body = Body(
            limb_lengths=limbs[:, 0].astype(np.float32),
            limb_variances=((limbs[:, 1] * config.limb_scale) ** 2).astype(np.float32),
            size_m=self.size_m,
            size_std_m=self.size_std_m,
        )
        self._min_steps = int(MIN_SEPARATION * config.rotations / (2 * np.pi))
        self._tilt_std = float(np.radians(config.tilt_std_deg))

        self._candidates = lru_cache(maxsize=64)(self._make_candidates)
        self._masked = lru_cache(maxsize=64)(self._make_masked_table)
        self._tables = lru_cache(maxsize=48)(self._make_tables)

    def lift(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: tuple[np.ndarray, np.ndarray] | Depths | None = None,
    ) -> LiftedPoses:
        """Return the poses of N persons.

        keypoints_px: (N, 14, 2), NaN allowed where the confidence is 0.
        confidence: (N, 14) in [0, 1].
        covariance_px2: (N, 14, 2, 2), or None for the configured noise.
        up: (3,) or (N, 3) in the optical frame, NaN where unknown.
        depth: measured z of the keypoints' joints and its variance, (N, 14) each, in m and m^2; inf
        where nothing was measured (`depth.measure_depth`). Ignored without a camera. Or `Depths`,
        with guessed relative depths, too.

        With a camera the result is absolute, in its optical frame, in metres. Without one the root
        is at the origin and the size is that of the prior. Persons with fewer than two usable
        keypoints, or whose keypoints all lie within their noise, are INVALID. Raises ValueError in
        one line for arrays of a wrong shape.
        """
        count = check_request(keypoints_px, confidence, covariance_px2)
        rays = to_rays(
            keypoints_px,
            confidence,
            covariance_px2,
            camera,
            self.config.keypoint_noise,
            self.config.noise_floor_px,
        )
        vertical, up_known = unit_up(up_of_each(up, count))
        measured, is_measured = read_depth(depth if camera is not None else None, count)
        guessed, is_guessed = read_relative_depth(depth, count)
        measured = np.concatenate([measured, guessed], 2)
        has_depth = is_measured | is_guessed
        output = _Output(self._make_arrays(count), camera is not None)

        # Persons whose vertical is known
        rows = np.arange(count)
        plain = np.flatnonzero(up_known & ~has_depth)
        if len(plain):
            everyone = _Observed(rows, rays, vertical, None)
            self._lift_known_up(everyone.select(plain), output)

        deep = np.flatnonzero(up_known & has_depth)
        if len(deep):
            everyone = _Observed(rows, rays, vertical, measured)
            self._lift_known_up(everyone.select(deep), output)

        # Persons whose vertical is unknown
        for row in map(int, np.flatnonzero(~up_known)):
            alone = Rays(*(values[row : row + 1] for values in rays))
            depths = measured[row : row + 1] if has_depth[row] else None
            self._lift_unknown_up(row, alone, depths, output)

        return LiftedPoses(*output.arrays)

    def warm_up(self, depth: bool = False) -> None:
        """Compile and tabulate in advance what the first calls would wait for.

        What is compiled stays on disk, for every later process. Tables are made for the usual
        pitches of a camera. depth: also compile what measures depths.
        """
        index = np.arange(KEYPOINT_COUNT)
        columns = index % 4 * 20.0
        rows = index * 15.0
        keypoints = np.stack([columns, rows], -1)[None]
        seen = np.ones((1, KEYPOINT_COUNT))
        matrix = np.diag([500.0, 500.0, 1.0])
        camera = Camera(matrix)

        confidence = np.linspace(0.1, 1.0, KEYPOINT_COUNT)[None]
        flat = Depths(relative_z=np.zeros_like(seen), relative_variance=seen)
        self.lift(keypoints, seen, camera=camera)
        self.lift(keypoints, seen, camera=camera, depth=flat)
        self.lift(keypoints, confidence)
        self.lift(keypoints, seen, camera=Camera(matrix, WARM_UP_DISTORTION))
        if depth:
            wall = np.full((240, 80), 4.0, np.float32)
            measured = measure_depth(wall, keypoints, seen)
            self.lift(keypoints, seen, camera=camera, depth=measured)

        for pitch in range(-_USUAL_PITCHES, _USUAL_PITCHES + 1):
            self._masked(pitch, self._tilt_std)

        # 6 MB each, of which a camera uses a few; made again in some milliseconds
        self._candidates.cache_clear()

    def _make_arrays(self, count: int) -> PoseArrays:
        """Arrays for `count` persons, all of them INVALID."""
        invalid = LiftedPoses.invalid(count, self.config.modes)
        return PoseArrays(**vars(invalid))

    def _make_candidates(
        self,
        pitch: int,
        tilt_std: float,
    ) -> Candidates:
        config = self.config
        return make_candidates(
            self.prior, pitch * PITCH_STEP, config.rotations, config.prior_scale, tilt_std
        )

    def _make_masked_table(
        self,
        pitch: int,
        tilt_std: float,
    ) -> MaskedTable:
        return tabulate_masked(self._candidates(pitch, tilt_std))

    def _make_tables(
        self,
        pitch: int,
        tilt_std: float,
        level: int,
    ) -> tuple[ScoreTable, Plans]:
        """Tables for persons with all keypoints seen and one noise."""
        candidates = self._candidates(pitch, tilt_std)
        everyone = np.arange(len(candidates.mean))
        seen = np.ones((1, KEYPOINT_COUNT), bool)
        isotropic = np.array([[[1.0, 0.0, 1.0]] * KEYPOINT_COUNT])  # (1, 14, 3)
        noise = isotropic * 4.0 ** (level / LEVELS)

        plans, predictions = condition(candidates, everyone, seen, noise)
        offset = plans.offset.astype(np.float64)
        table = tabulate(candidates, offset, predictions)
        return table, plans

    def _lift_known_up(
        self,
        observed: _Observed,
        output: _Output,
    ) -> None:
        """Lift persons whose vertical is known.

        Those who fit badly the right way up are tried upside down as well.
        """
        views = Views(*into_views(*observed.rays, observed.up))
        misfit = self._lift_upright(observed.rows, views, observed.depths, output)
        odd = np.flatnonzero(misfit > UPSIDE_DOWN_MISFIT)
        if not len(odd):
            return

        turned = observed.select(odd)
        views = Views(*into_views(*turned.rays, -turned.up))
        other = _Output(self._make_arrays(len(odd)), output.metric)
        self._lift_upright(np.arange(len(odd)), views, turned.depths, other)

        upright_evidence = output.arrays.log_likelihood[turned.rows]
        evidence = other.arrays.log_likelihood + np.log(UPSIDE_DOWN_PRIOR)
        better = evidence > upright_evidence
        for values, others in zip(output.arrays, other.arrays):
            values[turned.rows[better]] = others[better]

    def _lift_upright(
        self,
        rows: np.ndarray,
        views: Views,
        depths: np.ndarray | None,
        output: _Output,
    ) -> np.ndarray:
        """Write persons `rows` (n,), one view each, and return the misfit (n,) of each.

        The misfit is the squared Mahalanobis distance of the keypoints from the likeliest
        candidate, per dimension. Views of one pitch and noise level are lifted together. depths:
        (n, 14, 4), or None.
        """
        order, views = _in_order(views)
        rows = rows[order]
        depths = None if depths is None else depths[order]
        misfit = np.zeros(len(rows))

        def lift_group(
            group: slice,
            pitch: int,
            level: int,
        ) -> None:
            part = Views(*(values[group] for values in views))
            own = None if depths is None else depths[group]
            cell = _Cell(pitch, self._tilt_std, level)
            misfit[group] = self._lift_group(rows[group], part, cell, own, output)

        in_parallel(lift_group, _groups(views, _PIECE), _PARALLEL)
        unordered = np.empty(len(rows))
        unordered[order] = misfit
        return unordered

    def _lift_group(
        self,
        rows: np.ndarray,
        views: Views,
        cell: _Cell,
        depths: np.ndarray | None,
        output: _Output,
    ) -> np.ndarray:
        """As `_lift_upright`, for views that share a cell."""
        modes = self.config.modes
        min_steps = self._min_steps
        if cell.level == FEW:
            modes = _MODES_OF_FEW
            min_steps = 0

        if depths is not None:  # they may choose another mode than the keypoints
            modes = max(modes, _MODES_WITH_DEPTH)
            # the tables lack the whole posterior
            cell = cell._replace(level=max(cell.level, DIFFERENT))

        # Shortlist, (n, M) each
        chosen, score, depth = self._shortlist(cell, views, modes, min_steps)
        view = np.repeat(np.arange(len(chosen)), chosen.shape[1]).reshape(chosen.shape)

        # Posteriors, and the evidence of keypoints that fit perfectly
        best = chosen[:, 0]
        if cell.level >= DIFFERENT:
            candidates = self._candidates(cell.pitch, cell.tilt_std)
            seen = views.seen[view.ravel()]
            noise = views.noise[view.ravel()]
            whole = depths is not None
            plans, predictions = condition(candidates, chosen.ravel(), seen, noise, whole)
            log_det = predictions.log_det.reshape(chosen.shape)
            index = np.arange(chosen.size).reshape(chosen.shape)
            plan = np.where(chosen >= 0, index, -1)
            bias = candidates.log_prior[best] - log_det[:, 0]
        else:
            table, plans = self._tables(*cell)
            plan = chosen
            bias = table.bias[best]

        # Refinement
        misfit = _misfit(depth[:, 0], bias, score[:, 0], views.seen.sum(1))
        persons = Persons(rows, views.seen, misfit)
        candidates_of_each = Shortlist(plan, view, depth, score)
        self._refine(persons, plans, candidates_of_each, views, depths, output)

        return misfit

    def _lift_unknown_up(
        self,
        row: int,
        rays: Rays,
        depths: np.ndarray | None,
        output: _Output,
    ) -> None:
        """Lift one person whose vertical is unknown, and write row `row`.

        Views have up in every direction of a coarse grid; the best modes of all of them count.
        rays: of this person alone; depths: (1, 14, 4), or None.
        """
        ups = every_way_up(rays.rays[0], rays.seen[0])  # (V, 3)
        if not len(ups):
            return

        repeated = Rays(*(np.repeat(values, len(ups), 0) for values in rays))
        _, views = _in_order(Views(*into_views(*repeated, ups)))
        found = self._search_views(views)
        if not found:
            return

        few = views.seen[found[0].view].sum() <= FEW_SEEN
        if few or depths is not None:
            found = found[:_MODES_OF_FEW]
        else:
            found = self._keep_distinct(found, views)

        # Posteriors, and the evidence of keypoints that fit perfectly
        whole = depths is not None
        conditioned = [self._condition_found(mode, views, whole) for mode in found]
        parts = [plans for plans, _ in conditioned]
        plans = Plans(*(np.concatenate(values) for values in zip(*parts)))
        best = found[0]
        log_prior = self._candidates(best.pitch, UNKNOWN_TILT_STD).log_prior[best.candidate]
        log_det = conditioned[0][1].log_det
        bias = log_prior - log_det - np.log(len(views.pitch))
        misfit = _misfit(best.depth, bias, best.score, views.seen[best.view].sum())

        # Refinement
        width = max(self.config.modes, len(found))
        depth = _pad([mode.depth for mode in found], width, 1.0)
        score = _pad([mode.score for mode in found], width, -np.inf)
        shortlisted = Shortlist(
            plan_row=_pad(range(len(found)), width, -1),
            view_row=_pad([mode.view for mode in found], width, 0),
            depth=depth.astype(np.float32),
            score=score.astype(np.float32),
        )
        persons = Persons(np.array([row]), views.seen[[best.view]], misfit)
        self._refine(persons, plans, shortlisted, views, depths, output)

    def _search_views(self, views: Views) -> list[_Found]:
        """The best modes of every view of one person, best first."""
        found = []
        count = len(views.pitch)
        for group, pitch, level in _groups(views, count):
            part = Views(*(values[group] for values in views))
            cell = _Cell(pitch, UNKNOWN_TILT_STD, level)
            chosen, score, depth = self._shortlist(cell, part, _MODES_PER_VIEW, self._min_steps)

            index = np.arange(group.start, group.stop)
            view = np.repeat(index, _MODES_PER_VIEW)
            score = score.ravel() - np.log(count)
            columns = (score, view, chosen.ravel(), depth.ravel())
            for values in zip(*columns):
                mode = _Found(pitch, *values)
                if mode.candidate >= 0:
                    found.append(mode)

        return sorted(found, key=lambda mode: -mode.score)

    def _keep_distinct(
        self,
        found: list[_Found],
        views: Views,
    ) -> list[_Found]:
        """The best of `found`, best first, with MIN_SEPARATION between those of one component."""
        kept: list[_Found] = []
        rotations: list[tuple[int, np.ndarray]] = []
        most_alike = 1 + 2 * np.cos(MIN_SEPARATION)  # trace of the rotation between two modes

        for mode in found:
            candidates = self._candidates(mode.pitch, UNKNOWN_TILT_STD)
            angle = candidates.yaw[mode.candidate] * 2 * np.pi / self.config.rotations
            yaw = rotation_about_vertical(angle)
            rotation = views.frame[mode.view].T @ upright(mode.pitch * PITCH_STEP) @ yaw
            component = candidates.component[mode.candidate]

            others = [other for own, other in rotations if own == component]
            if all(np.trace(other.T @ rotation) < most_alike for other in others):
                kept.append(mode)
                rotations.append((component, rotation))

            if len(kept) == self.config.modes:
                break

        return kept

    def _condition_found(
        self,
        mode: _Found,
        views: Views,
        whole: bool,
    ):
        """`condition` for one mode."""
        candidates = self._candidates(mode.pitch, UNKNOWN_TILT_STD)
        chosen = np.array([mode.candidate])
        seen = views.seen[[mode.view]]
        noise = views.noise[[mode.view]]

        return condition(candidates, chosen, seen, noise, whole)

    def _shortlist(
        self,
        cell: _Cell,
        views: Views,
        modes: int,
        min_steps: int,
    ) -> tuple[np.ndarray, ...]:
        """Candidates, log-evidence and depth, (V, M) each, of views that share a cell."""
        candidates = self._candidates(cell.pitch, cell.tilt_std)
        if cell.level >= DIFFERENT:
            masked = self._masked(cell.pitch, cell.tilt_std)
            score, depth = score_masked(masked, views.centred, views.noise, views.seen)
        else:
            table, _ = self._tables(*cell)
            score, depth = score_by_table(table, views.centred)

        return shortlist(score, depth, candidates.yaw, self.config.rotations, modes, min_steps)

    def _refine(
        self,
        persons: Persons,
        plans: Plans,
        shortlisted: Shortlist,
        views: Views,
        depths: np.ndarray | None,
        output: _Output,
    ) -> None:
        """Refine the shortlisted modes of n persons and write them.

        depths: (n, 14, 4), or None.
        """
        count, modes = shortlisted.plan_row.shape
        refined = Modes(
            joints=np.empty((count, modes, JOINT_COUNT, 3), np.float32),
            weight=np.empty((count, modes), np.float32),
            relative=np.empty((count, JOINT_COUNT, 3, 3), np.float32),
            root=np.empty((count, 3, 3), np.float32),
            log_evidence=np.empty(count, np.float32),
        )

        if depths is None:
            iterations = self.config.iterations
            refine_modes(plans, shortlisted, views, self._body, iterations, refined)
            size = Size(self.size_m, self.size_std_m)
        else:
            fuse_depths(plans, shortlisted, views, self._body, depths, refined)
            size = Size(1.0, 0.0)  # the modes are in metres already

        write_poses(persons, refined, size, output.metric, output.arrays)


def _misfit(
    depth,
    bias,
    score,
    keypoints,
):
    """Squared Mahalanobis distance per dimension, of candidates with depth and log-evidence `score`
    for a number of keypoints.

    bias: the log-evidence that keypoints without any distance would have at depth one.
    """
    return 2 * (np.log(depth) + (bias - score) / (2 * keypoints))


def _pad(
    values: Sequence,
    width: int,
    fill: float,
) -> np.ndarray:
    """(1, width) array of the values, filled up at the end."""
    missing = width - len(values)
    return np.array([[*values, *[fill] * missing]])


def _in_order(views: Views) -> tuple[np.ndarray, Views]:
    """Views sorted by pitch and noise level, and the former index of each."""
    if len(views.pitch) == 1:  # the node's usual case: nothing to sort
        return np.zeros(1, np.int64), views

    pitch_first = views.pitch * (4 * NONE) + views.level
    order = np.argsort(pitch_first, kind="stable")
    ordered = Views(*(values[order] for values in views))
    return order, ordered


def _groups(
    views: Views,
    most: int,
) -> list[tuple[slice, int, int]]:
    """Slices of sorted views that share pitch and noise level, with both; at most `most` long."""
    count = len(views.pitch)
    bounds = [0, count]
    if count > 1:
        changed = (np.diff(views.pitch) != 0) | (np.diff(views.level) != 0)
        starts = np.flatnonzero(changed) + 1
        bounds[1:1] = starts.tolist()

    groups = []
    for start, stop in zip(bounds, bounds[1:]):
        pitch = int(views.pitch[start])
        level = int(views.level[start])
        if level == NONE:
            continue

        for first in range(start, stop, most):
            groups.append((slice(first, min(first + most, stop)), pitch, level))

    return groups
