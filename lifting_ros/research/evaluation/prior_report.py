# SPDX-License-Identifier: Apache-2.0
"""Pictures by which a person judges a prior: the aligned poses, the components' means, their first
vectors, likelihoods against C and K."""

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

SCATTER = 6000
EXAMPLES = 10
SIGMAS = (-2, -1, 0, 1, 2)
VECTORS = 5
COLOURS = {"left": "#1f77b4", "right": "#d62728", "": "#444444"}
NEARER = {"left": 5, "right": 3, "": 4}
_SIDES = [
    next((side for side in ("left", "right") if JOINT_NAMES[child].startswith(side)), "")
    for _, child in LIMBS
]


class Trial(Protocol):
    """A model that was tried on poses left out."""

    components: int
    basis: int
    train: float
    held_out: float


def write_report(
    folder: str | Path,
    prior: MixturePPCA,
    positions_m: np.ndarray,
    over_components: Sequence[Trial],
    over_bases: Sequence[Trial],
) -> list[Path]:
    """Draw aligned.png, means.png, basis.png and likelihood.png into `folder`, made where it is not
    there; their paths.

    positions_m (N, 17, 3): the poses of the fit, metres, y up; the trials are the likelihoods
    against C and against K.
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


def new_figure(width: float, height: float):
    """A figure that belongs to no window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)

    return figure


def seen_from(pose: np.ndarray, degrees: float) -> np.ndarray:
    """Joints (17, 3) as points (17, 2) to a viewer whom the person looks at, walking `degrees`
    around to the person's left."""
    across = pose[1] - pose[4] + pose[14] - pose[11]  # to the person's right
    ahead = np.cross([0.0, 1, 0], across / np.linalg.norm(across))
    angle = np.arctan2(ahead[2], ahead[0]) - np.deg2rad(degrees)
    left_to_right = np.array([np.sin(angle), 0, -np.cos(angle)])

    return np.stack([pose @ left_to_right, pose[:, 1]], 1)


def draw_skeleton(axes, points: np.ndarray, width: float = 2.0) -> None:
    """Limbs between points (17, 2), the person's left blue and in front, right red."""
    for (parent, child), side in zip(LIMBS, _SIDES):
        axes.plot(
            *points[[parent, child]].T,
            color=COLOURS[side],
            linewidth=width,
            solid_capstyle="round",
            zorder=NEARER[side],
        )


def bare(axes, title: str = "") -> None:
    """Axes for one skeleton of unit size."""
    axes.set(xlim=(-0.62, 0.62), ylim=(-0.95, 0.65))
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    for side in axes.spines.values():
        side.set_color("#dddddd")


def draw_aligned(prior: MixturePPCA, positions_m: np.ndarray):
    """The aligned poses in the plane of their two principal directions, coloured by component, some
    of them drawn (figure 2)."""
    chosen = np.linspace(0, len(positions_m) - 1, min(SCATTER, len(positions_m))).astype(int)
    component, _, rows = prior._best(positions_m[chosen])
    centre = rows.mean(0)
    plane = np.linalg.svd(rows - centre, full_matrices=False)[2][:2]
    points = (rows - centre) @ plane.T
    figure = new_figure(12, 9)
    above, below = figure.subfigures(2, 1, height_ratios=(3.2, 1))
    axes = above.add_subplot()
    colours = component_colours(len(prior.weights_))

    for c, share in enumerate(prior.weights_):
        axes.scatter(
            *points[component == c].T,
            s=6,
            color=colours[c],
            alpha=0.45,
            linewidths=0,
            label=f"{c + 1}: {100 * share:.0f} %",
        )

    axes.legend(title="component: weight", markerscale=4)
    axes.set(
        xlabel="first principal direction (units of the person's size)",
        ylabel="second principal direction",
    )
    axes.set_title(
        "Aligned poses; the lettered ones are drawn below, left limbs blue, right limbs red"
    )
    stride = max(1, len(rows) // 1500)
    examples = stride * greedy_centres(rows[::stride], EXAMPLES, spacing=0.6)
    examples = examples[np.argsort(points[examples, 0])]

    for letter, index, inset in zip(
        ascii_lowercase, examples, below.subplots(1, len(examples), squeeze=False)[0]
    ):
        ring = {
            "markerfacecolor": "white",
            "markeredgecolor": colours[component[index]],
            "markersize": 12,
        }
        axes.plot(*points[index], "o", zorder=4, **ring)
        axes.annotate(letter, points[index], ha="center", va="center", fontsize=9, zorder=5)
        draw_skeleton(inset, seen_from(rows[index].reshape(-1, 3), 35))
        bare(inset, letter)

    return figure


def component_colours(count: int) -> list:
    """Colours that are told apart."""
    from matplotlib import colormaps

    return [colormaps["tab10" if count <= 10 else "tab20"](c) for c in range(count)]


def draw_means(prior: MixturePPCA):
    """The components' mean poses from ahead and from their left."""
    count = len(prior.weights_)
    figure = new_figure(max(5, 1.9 * count), 5.2)
    axes = figure.subplots(2, count, squeeze=False)

    for c, (share, mean) in enumerate(zip(prior.weights_, prior.means_)):
        for row, (side, degrees) in enumerate((("from ahead", 0), ("from the left", 90))):
            draw_skeleton(axes[row, c], seen_from(mean, degrees), 3)
            bare(axes[row, c], f"{c + 1}: {100 * share:.0f} %" if row == 0 else "")
            if c == 0:
                axes[row, 0].set_ylabel(side)

    figure.suptitle("Mean poses of the components, left limbs blue, right limbs red")

    return figure


def draw_basis(prior: MixturePPCA):
    """The heaviest component moved along each of its first vectors."""
    vectors = min(VECTORS, prior.bases_.shape[1])
    figure = new_figure(1.7 * len(SIGMAS) + 0.4, 2.1 * vectors + 0.6)
    axes = figure.subplots(vectors, len(SIGMAS), squeeze=False)

    for row in range(vectors):
        step = prior.deviations_[0, row] * prior.bases_[0, row]
        for column, sigma in enumerate(SIGMAS):
            pose = prior.means_[0] + sigma * step
            if sigma:
                draw_ghost(axes[row, column], seen_from(prior.means_[0], 35))

            draw_skeleton(axes[row, column], seen_from(pose, 35))
            bare(
                axes[row, column],
                f"{sigma:+d} sigma" if row == 0 and sigma else ("mean" if row == 0 else ""),
            )

        axes[row, 0].set_ylabel(
            f"vector {row + 1}, sigma {prior.deviations_[0, row]:.2f}", fontsize=9
        )

    figure.suptitle("The heaviest component along its first vectors (grey: its mean)")

    return figure


def draw_ghost(axes, points: np.ndarray) -> None:
    """A skeleton in light grey."""
    for parent, child in LIMBS:
        axes.plot(*points[[parent, child]].T, color="#d5d5d5", linewidth=1.5, zorder=2)


def draw_likelihood(
    prior: MixturePPCA, over_components: Sequence[Trial], over_bases: Sequence[Trial]
):
    """Likelihood against C and K, in the fit and left out of it, and the course of the fit: cost of
    equation (1), then EM."""
    figure = new_figure(12, 8)
    by_c, by_k, cost, course = figure.subplots(2, 2).ravel()

    for axes, trials, name in ((by_c, over_components, "components"), (by_k, over_bases, "basis")):
        trials = sorted(trials, key=lambda t: getattr(t, name))
        values = [getattr(t, name) for t in trials]
        axes.plot(values, [t.train for t in trials], "o--", color="#999999", label="in the fit")
        axes.plot(values, [t.held_out for t in trials], "o-", color="#d62728", label="left out")
        axes.axvline(
            {"components": len(prior.weights_), "basis": prior.basis}[name],
            color="#1f77b4",
            linewidth=1,
            label="this prior",
        )
        axes.set(xticks=values, ylabel="mean log-likelihood a pose")
        axes.legend()

    by_c.set(xlabel="components C", title=f"K = {prior.basis} vectors a component")
    by_k.set(xlabel="basis vectors K", title=f"C = {len(prior.weights_)} components")
    sizes = range(1, len(prior.alignment_history_) + 1)
    cost.plot(
        sizes,
        [costs[0] for costs in prior.alignment_history_],
        ".--",
        color="#999999",
        label="first",
    )
    cost.plot(
        sizes,
        [costs[-1] for costs in prior.alignment_history_],
        "o-",
        markersize=4,
        color="#1f77b4",
        label="last",
    )
    cost.set(
        xlabel="size of the growing basis",
        ylabel="cost of equation (1) a pose",
        title="Alignment: first and last cost at each size",
    )
    cost.legend()
    course.plot(
        range(1, len(prior.log_likelihoods_) + 1),
        prior.log_likelihoods_,
        "o-",
        markersize=3,
        color="#1f77b4",
    )
    course.set(xlabel="iteration", ylabel="mean log-likelihood a pose", title="EM of the mixture")

    return figure
