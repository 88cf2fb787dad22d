# SPDX-License-Identifier: Apache-2.0
"""Figures of a prior: the aligned poses, the means of its components, their first basis vectors,
and the likelihoods against C and K."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Protocol

import numpy as np

from lifting_ros.io.atomic import replacing
from lifting_ros.prior.mixture import greedy_centres
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.skeleton import JOINT_NAMES, LIMBS
from lifting_ros.viz.palette import COLOURS, side_of

SCATTER = 6000
"""Largest number of poses in the scatter plot."""

EXAMPLES = 10
"""Number of poses drawn below the scatter plot."""

SIGMAS = (-2, -1, 0, 1, 2)
"""Steps along a basis vector, in standard deviations."""

VECTORS = 5
"""Number of basis vectors drawn."""

NEARER = {"left": 5, "right": 3, "trunk": 4}
"""Drawing order by side, the nearest last."""

_BLUE = COLOURS["left"]
_ORANGE = COLOURS["right"]


class Trial(Protocol):
    """A model of some size, and its mean log-likelihood per pose."""

    components: int
    basis: int
    train: float
    """On the poses of its fit."""
    held_out: float
    """On the poses left out of the fit."""


def write_report(
    folder: str | Path,
    prior: MixturePPCA,
    positions_m: np.ndarray,
    over_components: Sequence[Trial],
    over_bases: Sequence[Trial],
) -> list[Path]:
    """Write aligned.png, means.png, basis.png and likelihood.png into `folder`, which is created if
    necessary; return their paths.

    positions_m: (N, 17, 3) the poses of the fit, metres, y up. over_components, over_bases: trials
    with different C and with different K.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    pictures = {
        "aligned.png": draw_aligned(prior, positions_m),
        "means.png": draw_means(prior),
        "basis.png": draw_basis(prior),
        "likelihood.png": draw_likelihood(prior, over_components, over_bases),
    }

    for name, figure in pictures.items():
        with replacing(folder / name) as partial:
            figure.savefig(partial, format="png", dpi=110)

    return [folder / name for name in pictures]


def new_figure(
    width: float,
    height: float,
):
    """A figure without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def seen_from(
    pose: np.ndarray,
    degrees: float,
) -> np.ndarray:
    """Joints (17, 3; y up) as points (17, 2; y up) for a viewer in front of the person, `degrees`
    around towards the person's left."""
    across = pose[1] - pose[4] + pose[14] - pose[11]  # to the person's right
    ahead = np.cross([0.0, 1, 0], across / np.linalg.norm(across))
    angle = np.arctan2(ahead[2], ahead[0]) - np.deg2rad(degrees)
    left_to_right = np.array([np.sin(angle), 0, -np.cos(angle)])
    return np.stack([pose @ left_to_right, pose[:, 1]], 1)


def draw_skeleton(
    axes,
    points: np.ndarray,
    width: float = 2.0,
) -> None:
    """Draw the limbs between points (17, 2), the person's left in front."""
    for parent, child in LIMBS:
        side = side_of(JOINT_NAMES[child])
        axes.plot(
            *points[[parent, child]].T,
            color=COLOURS[side],
            linewidth=width,
            solid_capstyle="round",
            zorder=NEARER[side],
        )


def bare(
    axes,
    title: str = "",
) -> None:
    """Prepare axes for one skeleton of unit size."""
    axes.set(xlim=(-0.62, 0.62), ylim=(-0.95, 0.65))
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    for side in axes.spines.values():
        side.set_color("#dddddd")


def draw_aligned(
    prior: MixturePPCA,
    positions_m: np.ndarray,
):
    """The aligned poses in the plane of their two principal directions, coloured by component, and
    skeletons of some of them (figure 2 of the paper)."""
    chosen = np.linspace(0, len(positions_m) - 1, min(SCATTER, len(positions_m))).astype(int)
    component, _, rows = prior._best(positions_m[chosen])
    points = _in_principal_plane(rows)
    colours = component_colours(len(prior.weights_))

    figure = new_figure(12, 9)
    above, below = figure.subfigures(2, 1, height_ratios=(3.2, 1))
    axes = above.add_subplot()

    for index, share in enumerate(prior.weights_):
        axes.scatter(
            *points[component == index].T,
            s=6,
            color=colours[index],
            alpha=0.45,
            linewidths=0,
            label=_component_label(index, share),
        )

    axes.legend(title="component: weight", markerscale=4)
    axes.set(
        xlabel="first principal direction (units of the person's size)",
        ylabel="second principal direction",
    )
    axes.set_title(
        "Aligned poses; the lettered ones are drawn below, left limbs blue, right ones orange"
    )

    # Examples from left to right
    stride = max(1, len(rows) // 1500)
    examples = stride * greedy_centres(rows[::stride], EXAMPLES, spacing=0.6)
    examples = examples[np.argsort(points[examples, 0])]
    insets = below.subplots(1, len(examples), squeeze=False)[0]

    for letter, index, inset in zip(ascii_lowercase, examples, insets):
        axes.plot(
            *points[index],
            "o",
            zorder=4,
            markerfacecolor="white",
            markeredgecolor=colours[component[index]],
            markersize=12,
        )
        axes.annotate(letter, points[index], ha="center", va="center", fontsize=9, zorder=5)

        pose = rows[index].reshape(-1, 3)
        draw_skeleton(inset, seen_from(pose, 35))
        bare(inset, letter)

    return figure


def _in_principal_plane(rows: np.ndarray) -> np.ndarray:
    """Rows (n, D) projected on their two principal directions, (n, 2)."""
    centred = rows - rows.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:2].T


def _component_label(
    index: int,
    share: float,
) -> str:
    return f"{index + 1}: {100 * share:.0f} %"


def component_colours(count: int) -> list:
    """`count` colours that are easy to distinguish."""
    from matplotlib import colormaps

    colours = colormaps["tab10" if count <= 10 else "tab20"]
    return [colours(index) for index in range(count)]


def draw_means(prior: MixturePPCA):
    """The mean poses of the components, from the front and from the person's left."""
    count = len(prior.weights_)
    figure = new_figure(max(5, 1.9 * count), 5.2)
    axes = figure.subplots(2, count, squeeze=False)

    for column, (share, mean) in enumerate(zip(prior.weights_, prior.means_)):
        front = axes[0, column]
        draw_skeleton(front, seen_from(mean, 0), 3)
        bare(front, _component_label(column, share))

        side = axes[1, column]
        draw_skeleton(side, seen_from(mean, 90), 3)
        bare(side)

    axes[0, 0].set_ylabel("from ahead")
    axes[1, 0].set_ylabel("from the left")
    figure.suptitle("Mean poses of the components, left limbs blue, right ones orange")
    return figure


def draw_basis(prior: MixturePPCA):
    """The mean of the heaviest component, moved along each of its first basis vectors."""
    vectors = min(VECTORS, prior.bases_.shape[1])
    figure = new_figure(1.7 * len(SIGMAS) + 0.4, 2.1 * vectors + 0.6)
    axes = figure.subplots(vectors, len(SIGMAS), squeeze=False)
    mean = prior.means_[0]

    for row in range(vectors):
        deviation = prior.deviations_[0, row]
        step = deviation * prior.bases_[0, row]
        for column, sigma in enumerate(SIGMAS):
            cell = axes[row, column]
            if sigma:
                draw_ghost(cell, seen_from(mean, 35))

            pose = mean + sigma * step
            draw_skeleton(cell, seen_from(pose, 35))
            bare(cell)

        axes[row, 0].set_ylabel(f"vector {row + 1}, sigma {deviation:.2f}", fontsize=9)

    for cell, sigma in zip(axes[0], SIGMAS):
        title = f"{sigma:+d} sigma" if sigma else "mean"
        cell.set_title(title, fontsize=9)

    figure.suptitle("The heaviest component along its first vectors (grey: its mean)")
    return figure


def draw_ghost(
    axes,
    points: np.ndarray,
) -> None:
    """Draw a skeleton (17, 2) in light grey."""
    for parent, child in LIMBS:
        axes.plot(*points[[parent, child]].T, color="#d5d5d5", linewidth=1.5, zorder=2)


def draw_likelihood(
    prior: MixturePPCA,
    over_components: Sequence[Trial],
    over_bases: Sequence[Trial],
):
    """Mean log-likelihood against C and against K, on the poses of the fit and on those left out;
    and the course of the fit: the cost of equation (1), then EM."""
    figure = new_figure(12, 8)
    by_components, by_basis, cost, course = figure.subplots(2, 2).ravel()
    count = len(prior.weights_)

    sizes = [trial.components for trial in over_components]
    _plot_trials(by_components, over_components, sizes, count)
    by_components.set(xlabel="components C", title=f"K = {prior.basis} vectors a component")

    sizes = [trial.basis for trial in over_bases]
    _plot_trials(by_basis, over_bases, sizes, prior.basis)
    by_basis.set(xlabel="basis vectors K", title=f"C = {count} components")

    _plot_alignment(cost, prior.alignment_history_)
    _plot_em(course, prior.log_likelihoods_)
    return figure


def _plot_trials(
    axes,
    trials: Sequence[Trial],
    sizes: list[int],
    own_size: int,
) -> None:
    """Log-likelihoods of trials with these sizes; own_size: that of the prior."""
    order = np.argsort(sizes, kind="stable")
    values = [sizes[index] for index in order]
    train = [trials[index].train for index in order]
    held_out = [trials[index].held_out for index in order]

    axes.plot(values, train, "o--", color="#999999", label="in the fit")
    axes.plot(values, held_out, "o-", color=_ORANGE, label="left out")
    axes.axvline(own_size, color=_BLUE, linewidth=1, label="this prior")
    axes.set(xticks=values, ylabel="mean log-likelihood a pose")
    axes.legend()


def _plot_alignment(
    axes,
    history: Sequence[Sequence[float]],
) -> None:
    """First and last cost of the alignment at each size of the growing basis."""
    sizes = range(1, len(history) + 1)
    first = [costs[0] for costs in history]
    last = [costs[-1] for costs in history]

    axes.plot(sizes, first, ".--", color="#999999", label="first")
    axes.plot(sizes, last, "o-", markersize=4, color=_BLUE, label="last")
    axes.set(
        xlabel="size of the growing basis",
        ylabel="cost of equation (1) a pose",
        title="Alignment: first and last cost at each size",
    )
    axes.legend()


def _plot_em(
    axes,
    log_likelihoods: Sequence[float],
) -> None:
    """Log-likelihood after each iteration of EM."""
    iterations = range(1, len(log_likelihoods) + 1)
    axes.plot(iterations, log_likelihoods, "o-", markersize=3, color=_BLUE)
    axes.set(xlabel="iteration", ylabel="mean log-likelihood a pose", title="EM of the mixture")
