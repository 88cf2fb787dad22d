# SPDX-License-Identifier: Apache-2.0
"""Calibrates the covariances of the stereoscopic lifter: measures its errors on people who are not
in the training set."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from lifting_ros.lifting.stereo import StereoErrors, StereoLifter, depth_deviation, root_deviation
from lifting_ros.lifting.stereo_search import search_depth
from lifting_ros.research.datasets.stereo_views import StereoViews
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

LEAST_SEEN = 6
"""Fewest visible keypoints of a person whose place is measured."""


def calibrated(lifter: StereoLifter, views: StereoViews) -> StereoLifter:
    """The lifter with the residuals of `views`."""
    return dataclasses.replace(lifter, errors=residuals(lifter, views))


def residuals(lifter: StereoLifter, views: StereoViews) -> StereoErrors:
    """Factors that make the mean squared error of each axis, divided by the variance, equal to
    one, and the standard deviations of the root."""
    view = views.view
    with torch.inference_mode():
        found = lifter.network(
            *(torch.from_numpy(v).float() for v in (view.points(), view.seen, views.context))
        )

    joints = found.joints.double().numpy()
    deviation = np.maximum(found.deviation.double().numpy(), 1e-6)
    factor = np.sqrt((((joints - views.joints) / deviation)[:, 1:] ** 2).mean((0, 1)))
    root = search_depth(view.rays, joints[:, list(KEYPOINT_TO_JOINT)], view.seen.astype(float)).root
    usable = np.isfinite(root).all(1) & (view.seen.sum(1) >= LEAST_SEEN)
    off = (root - views.root)[usable]
    depth = (
        off[:, 2]
        / views.root[usable, 2]
        / depth_deviation(deviation * factor, joints, view.seen)[usable]
    )
    across = off[:, :2] / root_deviation(deviation * factor, view.seen)[usable]

    return StereoErrors(
        tuple(factor.tolist()),
        float(np.sqrt((depth**2).mean())),
        float(np.sqrt((across**2).mean())),
    )
