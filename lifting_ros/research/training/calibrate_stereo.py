# SPDX-License-Identifier: Apache-2.0
"""Calibrates the covariances of the stereoscopic lifter by its errors on people who are not in the
training set."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from lifting_ros.lifting.stereo import StereoErrors, StereoLifter, depth_deviation, root_deviation
from lifting_ros.lifting.stereo_search import search_depth
from lifting_ros.research.datasets.stereo_views import StereoViews
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

LEAST_SEEN = 6
"""Fewest visible keypoints of a person whose root position is measured."""


def calibrated(lifter: StereoLifter, views: StereoViews) -> StereoLifter:
    """The lifter with the errors that it has on `views`."""
    return dataclasses.replace(lifter, errors=residuals(lifter, views))


def residuals(lifter: StereoLifter, views: StereoViews) -> StereoErrors:
    """Factors of the standard deviations, by which the mean squared error divided by the variance
    is one on each axis, and the standard deviations of the root."""
    view = views.view
    given = (view.points(), view.seen, views.context)
    with torch.inference_mode():
        found = lifter.network(*(torch.from_numpy(value).float() for value in given))

    # Joints
    joints = found.joints.double().numpy()
    deviation = np.maximum(found.deviation.double().numpy(), 1e-6)
    standardised = ((joints - views.joints) / deviation)[:, 1:]
    factor = np.sqrt((standardised**2).mean((0, 1)))
    deviation = deviation * factor

    # Root
    observed = joints[:, list(KEYPOINT_TO_JOINT)]
    root = search_depth(view.rays, observed, view.seen.astype(float)).root
    usable = np.isfinite(root).all(1) & (view.seen.sum(1) >= LEAST_SEEN)
    missed = (root - views.root)[usable]

    relative = missed[:, 2] / views.root[usable, 2]
    depth = relative / depth_deviation(deviation, joints, view.seen)[usable]
    across = missed[:, :2] / root_deviation(deviation, view.seen)[usable]

    return StereoErrors(
        tuple(factor.tolist()),
        float(np.sqrt((depth**2).mean())),
        float(np.sqrt((across**2).mean())),
    )
