# SPDX-License-Identifier: Apache-2.0
"""Leave one subject out: every person is lifted by a prior, or by a plain network, that was fitted
without that person. What is reported is the spread over people."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.lifting.corrected_lifter import CorrectedLifter
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.pose_correction import PoseCorrection
from lifting_ros.lifting.request import PoseLifter
from lifting_ros.lifting.residual_mlp import SupervisedLifter
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.research.datasets.mocap import MIXED_SUBJECTS, Mocap
from lifting_ros.research.evaluation.lifting import lift_trial
from lifting_ros.research.evaluation.metrics import n_mpjpe
from lifting_ros.research.evaluation.virtual_cameras import PROTOCOLS, make_trial
from lifting_ros.research.training.choose_prior import people
from lifting_ros.research.training.fit_prior import fit_prior, stature
from lifting_ros.research.training.mlp_trainer import (
    PictureSource,
    balanced_pictures,
    run_training,
)
from lifting_ros.research.training.train_pose_correction import (
    RECIPES,
    rows_of_pictures,
    train_pose_correction,
)
from lifting_ros.research.training.train_supervised import SupervisedTrainConfig, SupervisedTrainer

Errors = dict[str, dict[str, float]]
"""Subject -> protocol -> mean N-MPJPE, mm."""

Rows = dict[str, dict[str, float]]

PLAIN = "plain MLP"
"""Name of the baseline."""

CAMERAS = 4
"""Views of each pose."""

MOST_PICTURES = 200_000
"""Different pictures that the plain MLP learns from."""

ALWAYS_TRAINED = -1
"""Fold of the poses that every fit sees."""

_KEY_LENGTH = 16


class PriorSetting(NamedTuple):
    """The settings of a fit of the prior. The defaults are those of the prior that ships."""

    components: int = 12
    basis: int = 40
    posed: float = 0.35
    """Share of generated poses."""

    @property
    def name(self) -> str:
        """Name of its row."""
        return f"ppca {self.components} x {self.basis}, posed {self.posed:g}"


class Plan(NamedTuple):
    """What is fitted, and on whom it is measured."""

    mocap: Mocap
    fold: np.ndarray
    """(N,) number of the fit that a pose is left out of; ALWAYS_TRAINED for none."""
    settings: tuple[PriorSetting, ...]
    samples: int
    """Training pictures of the plain MLP; 0: no such network."""
    correction: int
    """People seen in the training of a pose correction of each prior; 0: no such correction."""
    views: int
    """Most views of a subject."""
    seed: int


def subject_folds(mocap: Mocap, count: int = 0) -> np.ndarray:
    """Fold of each pose (N,), so that a subject is in one fold.

    Subjects who were recorded together share a fold. count: number of folds, which the largest
    subjects are dealt to first; 0: one for each. DataError for fewer than two people.
    """
    group = people(mocap)
    mixed = [n for n, name in enumerate(mocap.subjects) if name in MIXED_SUBJECTS]
    held_out = ~np.isin(mocap.subject_id, mixed)
    owners, sizes = np.unique(group[held_out], return_counts=True)
    if len(owners) < 2:
        raise DataError("mocap: subject_id: expected two people or more, recorded separately")

    folds = min(count or len(owners), len(owners))
    filled = np.zeros(folds, int)
    fold = np.full(len(group), ALWAYS_TRAINED)
    for index in np.argsort(-sizes, kind="stable"):
        smallest = int(filled.argmin())
        fold[held_out & (group == owners[index])] = smallest
        filled[smallest] += sizes[index]

    return fold


def leave_out(plan: Plan, work: Path) -> dict[str, Errors]:
    """N-MPJPE of each subject by method, lifted by fits that have not seen the subject.

    Fits are kept in `work`: the same call resumes where it ended.
    """
    found: dict[str, Errors] = {}
    for number in range(plan.fold.max() + 1):
        left_out = plan.fold == number
        subjects = np.unique(plan.mocap.subject_id[left_out])
        for method, lifter in _fits(plan, plan.mocap.select(~left_out), work):
            for subject in subjects:
                name = name_of(plan.mocap, subject)
                errors = subject_errors(lifter, plan, subject)
                found.setdefault(method, {})[name] = errors

    return found


def _fits(plan: Plan, seen: Mocap, work: Path) -> Iterator[tuple[str, PoseLifter]]:
    """Every method, fitted to the poses `seen`, one after the other."""
    for setting in plan.settings:
        lifter = Lifter(fitted_prior(seen, setting, plan.seed, work))
        yield setting.name, lifter
        if plan.correction:
            correction = fitted_correction(lifter, seen, setting.posed, plan, work)
            yield f"{setting.name}, corrected", CorrectedLifter(lifter, correction)
    if plan.samples:
        yield PLAIN, plain_mlp(seen, plan.samples, plan.seed, work)


def held_out_errors(lifters: Mapping[str, PoseLifter], plan: Plan) -> dict[str, Errors]:
    """N-MPJPE of each validation subject by lifter: the people that no shipped lifter has seen."""
    ids = np.unique(plan.mocap.subject_id[plan.mocap.validation_rows()])
    found = {}
    for method, lifter in lifters.items():
        errors = {name_of(plan.mocap, n): subject_errors(lifter, plan, n) for n in ids}
        found[method] = errors
    return found


def subject_errors(lifter: PoseLifter, plan: Plan, subject: int) -> dict[str, float]:
    """Mean N-MPJPE in mm of a subject by protocol. The same seed gives every lifter the same
    views."""
    poses_m = plan.mocap.positions_m[plan.mocap.subject_id == subject]
    most = -(-plan.views // CAMERAS)
    rows = np.linspace(0, len(poses_m) - 1, min(len(poses_m), most)).astype(int)

    errors = {}
    for protocol, how in PROTOCOLS.items():
        trial = make_trial(poses_m[rows], how, CAMERAS, plan.seed)
        lifted = lift_trial(lifter, trial)
        joints_m = lifted.poses.joints_m[lifted.valid]
        each = n_mpjpe(joints_m, trial.joints_m[lifted.valid])
        errors[protocol] = 1e3 * float(each.mean()) if len(each) else float("nan")

    return errors


def fitted_prior(mocap: Mocap, setting: PriorSetting, seed: int, work: Path) -> MixturePPCA:
    """The prior of a setting, fitted to all poses of `mocap` as `lifting fit-prior` does, or the
    one that was kept in `work`."""
    path = work / f"prior_{key_of(mocap, setting, seed)}.npz"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        prior = fit_prior(mocap, setting.components, setting.basis, seed, posed=setting.posed)
        prior.save(path)

    return MixturePPCA.load(path)


def fitted_correction(
    lifter: Lifter, mocap: Mocap, posed: float, plan: Plan, work: Path
) -> PoseCorrection:
    """The pose correction of a prior, trained on virtual pictures of all poses of `mocap` and of
    generated ones with the share `posed`. It resumes from `work`."""
    recipe = RECIPES["ppca"]
    config = dataclasses.replace(
        recipe,
        samples=plan.correction,
        pictures=min(plan.correction, recipe.pictures),
        posed=posed,
        seed=plan.seed,
    )
    folder = work / f"correction_{key_of(mocap, lifter.prior.digest(), config)}"
    pictures = balanced_pictures(mocap, config.pictures, config.seed, config.posed)
    rows = rows_of_pictures(lifter, pictures, config.seed)
    weights, _ = train_pose_correction(config, rows, None, folder)
    return PoseCorrection({name: value.numpy() for name, value in weights.items()})


def plain_mlp(mocap: Mocap, samples: int, seed: int, work: Path) -> SupervisedLifter:
    """The baseline: the network of `lifting train supervised`, trained on the recorded poses alone
    with Gaussian noise and random keypoints missing. It resumes from `work`.

    Its covariances are not learnt.
    """
    config = SupervisedTrainConfig(
        images=min(samples, MOST_PICTURES),
        samples=samples,
        posed=0.0,
        real=0.0,
        half=0.0,
        spread_steps=0,
        seed=seed,
    )
    pictures = balanced_pictures(mocap, config.images, seed)
    size = stature(mocap)
    network = run_training(
        SupervisedTrainer(config, pictures),
        PictureSource(pictures, config),
        work / f"mlp_{key_of(mocap, samples, seed)}",
        lambda trained: SupervisedLifter(trained, size),
    )
    return SupervisedLifter(network, size)


def key_of(mocap: Mocap, *settings: object) -> str:
    """Short name of a fit: of other poses or settings, it is another one."""
    digest = hashlib.sha256(repr(settings).encode())
    for array in (mocap.positions_m, mocap.subject_id, mocap.own_proportions):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:_KEY_LENGTH]


def name_of(mocap: Mocap, subject: int) -> str:
    """Name of a subject; the number where the file names none."""
    return mocap.subjects[subject] if mocap.subjects else str(subject)


def spread_rows(found: Mapping[str, Errors], subjects: Sequence[str] = ()) -> Rows:
    """Mean and standard deviation (std) over subjects by method, mm.

    subjects: count only these; by default all that a method was measured on.
    """
    rows = {}
    for method, errors in found.items():
        chosen = [name for name in errors if not subjects or name in subjects]
        row: dict[str, float] = {}
        for protocol in PROTOCOLS:
            values = np.array([errors[name][protocol] for name in chosen])
            row[protocol] = float(values.mean()) if len(values) else float("nan")
            row[f"{protocol} std"] = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        rows[method] = row | {"subjects": float(len(chosen))}

    return rows


def against_plain(found: Mapping[str, Errors]) -> Rows:
    """How much larger than that of the plain MLP the mean error is, in %, and the number of
    subjects on which it is smaller; over the subjects that both were measured on."""
    rows = {}
    plain = found[PLAIN]
    for method, errors in found.items():
        if method == PLAIN:
            continue
        common = [name for name in errors if name in plain]
        row: dict[str, float] = {}
        for protocol in PROTOCOLS:
            own = np.array([errors[name][protocol] for name in common])
            other = np.array([plain[name][protocol] for name in common])
            row[protocol] = 100 * float(own.mean() / other.mean() - 1)
            row[f"{protocol} better"] = float((own < other).sum())
        rows[method] = row | {"subjects": float(len(common))}

    return rows


def subject_tables(plan: Plan, lifters: Mapping[str, PoseLifter], work: Path) -> dict[str, Rows]:
    """Tables by title: the spread over all subjects, over the validation subjects with the lifters
    that ship, both against the plain MLP, and the errors of each subject."""
    found = leave_out(plan, work)
    shipped = held_out_errors(lifters, plan)
    names = sorted({name for errors in shipped.values() for name in errors})
    beside = {f"{method}, as given": errors for method, errors in shipped.items()}

    tables = {
        "subjects left out of the fit, N-MPJPE, mm": spread_rows(found),
        f"of these {', '.join(names)}": spread_rows(found | beside, names),
    }
    if PLAIN in found:
        tables[f"against the {PLAIN}, % (below 0: better)"] = against_plain(found | beside)
    return tables | dict(by_subject(found | beside))


def by_subject(found: Mapping[str, Errors]) -> Iterator[tuple[str, Rows]]:
    """One table a protocol: a row for each subject, a column for each method."""
    subjects = sorted({name for errors in found.values() for name in errors})
    nothing = dict.fromkeys(PROTOCOLS, float("nan"))
    for protocol in PROTOCOLS:
        rows = {}
        for name in subjects:
            row = {method: errors.get(name, nothing)[protocol] for method, errors in found.items()}
            rows[name] = row
        yield f"by subject, {protocol}, mm", rows
