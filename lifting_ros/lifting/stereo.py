# SPDX-License-Identifier: Apache-2.0
"""The stereoscopic lifter.

After "Generalizing Monocular 3D Human Pose Estimation in the Wild" (ICCV workshop 2019). Keypoints
are turned into the frame that looks at the person. The network predicts a second view of them and
reconstructs the pose from both (`stereo_network`); the geometric search finds its distance from the
camera (`stereo_search`).

The paper's answer is the joints on their rays: no reprojection error, but all the noise of the
keypoints. Here a ray moves a joint as far as the covariances of both imply. Exact keypoints leave
the joint on the ray, noisy ones leave it where the network has it, and the remaining covariance is
computed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lifting_ros.config import from_mapping
from lifting_ros.geometry.camera import Camera
from lifting_ros.geometry.rotations import outer
from lifting_ros.io.checkpoint import (
    CheckpointError,
    half_precision,
    load_tensors,
    reason,
    save_tensors,
)
from lifting_ros.lifting.depth_fusion import read_depth
from lifting_ros.lifting.learned_lifting import joint_status
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import Rays, to_rays
from lifting_ros.lifting.person_view import PersonView, look_at_person
from lifting_ros.lifting.request import (
    UP,
    Depths,
    check_request,
    lift_somebody,
    scatter_poses,
    up_of_each,
)
from lifting_ros.lifting.stereo_depth import Scale, measured_scale
from lifting_ros.lifting.stereo_network import StereoConfig, StereoNetwork
from lifting_ros.lifting.stereo_search import Placed, search_depth
from lifting_ros.skeleton import KEYPOINT_TO_JOINT
from lifting_ros.types import LiftedPoses

_JOINT = list(KEYPOINT_TO_JOINT)

_LEAST_SEEN = 2
"""Persons with fewer usable keypoints are INVALID."""


@dataclass(frozen=True)
class StereoErrors:
    """Factors that fit the covariances to residuals on people held out from training.

    `training.calibrate_stereo` determines them.
    """

    deviation: tuple[float, ...] = field(
        default=(1.0, 1.0, 1.0),
        metadata={
            "description": "factors on the network's stds across, down and along the view",
        },
    )
    depth: float = field(
        default=1.0,
        metadata={
            "description": (
                "std of the root's depth for known size, divided by the std that independent "
                "errors of the seen joints cause"
            ),
            "range": (0.0, 10.0),
        },
    )
    across: float = field(
        default=1.0,
        metadata={
            "description": "std of the root across the view, divided by that of the seen joints",
            "range": (0.0, 10.0),
        },
    )


class Reconstruction(NamedTuple):
    """N persons, each in its own view frame, in units of the person's size."""

    view: PersonView
    right: np.ndarray | None
    """(N, 14, 2) rays in the second view, whose camera is `baseline` to the right; None without
    view synthesis."""
    joints: np.ndarray
    """(N, 17, 3) about the root, as the network predicts them."""
    variance: np.ndarray
    """(N, 17, 3) along each axis."""
    placed: Placed
    """The 14 observed joints on the rays of their keypoints, and the root."""
    across: np.ndarray
    """(N, 2) std of the root across the view."""
    along: np.ndarray
    """(N,) std of the root's depth divided by the depth, for known size."""


@dataclass(frozen=True)
class StereoLifter:
    """A trained `StereoNetwork` as a `request.PoseLifter`. Thread-safe."""

    network: StereoNetwork
    size_m: float
    """Mean size of people (root of the sum of squared limb lengths) in the training set, metres."""
    size_std_m: float
    errors: StereoErrors = StereoErrors()
    search: bool = True
    """Whether joints move towards their rays. If not, the pose is the network's, and the search
    determines only its position."""
    config: LifterConfig = LifterConfig()
    """The noise of keypoints without a covariance is taken from it."""

    def lift(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: tuple[np.ndarray, np.ndarray] | Depths | None = None,
    ) -> LiftedPoses:
        """Lift N persons as `request.PoseLifter.lift` specifies; the only hypothesis is the answer.

        Persons are INVALID if fewer than two keypoints are usable, or if these are
        indistinguishable in their noise. Where up is unknown, up in the picture is used, and the
        network is told so. Depths determine a person's distance and thereby the size.
        """
        found = self.reconstruct(keypoints_px, confidence, covariance_px2, camera, up)
        metric = camera is not None
        if depth is None or not metric:
            return self.finish(found, metric)

        measured, _ = read_depth(depth, len(found.joints))
        return self.finish(found, metric, np.moveaxis(measured, -1, 0))

    def warm_up(self, depth: bool = False) -> None:
        """Compile what no call has compiled yet."""
        lift_somebody(self)

    def reconstruct(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
    ) -> Reconstruction:
        """Return the network's prediction and its position; arguments and errors as for `lift`."""
        count = check_request(keypoints_px, confidence, covariance_px2)
        rays = to_rays(
            keypoints_px,
            confidence,
            covariance_px2,
            camera,
            self.config.keypoint_noise,
            self.config.noise_floor_px,
        )
        if camera is None:
            log_extent = self.network.context_statistics[0, 0]
            rays = _at_usual_distance(rays, float(log_extent.exp()))

        view = look_at_person(rays, up_of_each(up, count))

        # Network
        right, joints, std = self._predict(view, camera is not None)
        std = std * np.array(self.errors.deviation)
        variance = std**2
        if right is not None:
            right = view.centre[:, None] + view.extent[:, None, None] * right

        # Position
        placed = search_depth(view.rays, joints[:, _JOINT], view.seen.astype(float))
        std = np.sqrt(variance)
        across = self.errors.across * root_deviation(std, view.seen)
        along = self.errors.depth * depth_deviation(std, joints, view.seen)

        return Reconstruction(view, right, joints, variance, placed, across, along)

    def _predict(
        self,
        view: PersonView,
        metric: bool,
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """Return the network's output as float64 arrays."""
        points = torch.from_numpy(view.points()).float()
        seen = torch.from_numpy(view.seen).float()
        context = torch.from_numpy(view.context(metric)).float()
        with torch.inference_mode():
            output = self.network(points, seen, context)

        right = None
        if output.right is not None:
            right = output.right.double().numpy()

        joints = output.joints.double().numpy()
        deviation = output.deviation.double().numpy()

        return right, joints, deviation

    def finish(
        self,
        found: Reconstruction,
        metric: bool,
        depth: np.ndarray | None = None,
    ) -> LiftedPoses:
        """Return a reconstruction as poses.

        metric: whether a camera was known; depth: (2, N, 14) z and its variance, inf for none.
        """
        # The pose, corrected by the rays
        joints, covariance, evidence = _towards_rays(found)
        if not self.search:
            joints = found.joints
            covariance = found.variance[..., None] * np.eye(3)

        # From the view frame to the optical frame
        view = found.view
        to_view = view.rotation
        to_optical = np.swapaxes(view.rotation, 1, 2)
        own = np.einsum("nab,njb->nja", to_optical, joints)
        root = np.einsum("nab,nb->na", to_optical, found.placed.root)
        turned = to_optical[:, None] @ covariance @ to_view[:, None]

        # To metres
        z = (root[:, None] + own)[:, _JOINT, 2]
        size, reach = self._scales(z, found, depth)
        relative = size.mean[:, None, None, None] ** 2 * turned
        relative = relative + size.variance[:, None, None, None] * outer(own)
        if metric:
            root_covariance = _root_covariance(found, root, size, reach)
            root = reach.mean[:, None] * root
        else:
            root_covariance = np.full((len(own), 3, 3), np.nan)
            root = np.zeros_like(root)

        joints_m = root[:, None] + size.mean[:, None, None] * own
        answer = LiftedPoses(
            joints_m=joints_m,
            root_m=root,
            covariance_m2=relative,
            root_covariance_m2=root_covariance,
            status=joint_status(view.seen),
            log_likelihood=evidence,
            hypotheses_m=joints_m[:, None],
            hypothesis_weight=np.ones((len(own), 1)),
        )
        return _only_valid(answer, found)

    def _scales(
        self,
        z: np.ndarray,
        found: Reconstruction,
        depth: np.ndarray | None,
    ) -> tuple[Scale, Scale]:
        """Return metres per unit of the pose, and of its position.

        Both come from people's sizes and, where the depths of joints at z (N, 14) are measured,
        from these. Depths give the position directly. The size that they imply is as uncertain as
        the depth in units of the size.
        """
        # From people's sizes
        doubt = found.along**2
        prior = np.full(len(z), self.size_m)
        variance = self.size_std_m**2
        usual_size = Scale(prior, np.full(len(z), variance))
        usual_place = Scale(prior, variance + doubt * prior**2)
        if depth is None:
            return usual_size, usual_place

        # From depths
        depth_m, variance_m2 = depth
        place = measured_scale(z, found.view.seen, depth_m, variance_m2)

        # The size from both
        told = place.variance + doubt * place.mean**2
        precision = 1 / variance + 1 / told
        weighted = prior / variance + place.mean / told
        size = Scale(weighted / precision, 1 / precision)

        known = np.isfinite(place.mean)
        return _choose(known, size, usual_size), _choose(known, place, usual_place)

    def save(
        self,
        path: str | Path,
        card: dict,
    ) -> None:
        """Write weights in fp16 with architecture, statistics, sizes, errors and a short card.

        `path` is replaced only when the file is complete.
        """
        header = {
            "lifter": "stereo",
            "stereo": dataclasses.asdict(self.network.config),
            "errors": dataclasses.asdict(self.errors),
            "size_m": self.size_m,
            "size_std_m": self.size_std_m,
            "search": self.search,
            "card": card,
        }
        save_tensors(path, half_precision(self.network.state_dict()), header)

    @classmethod
    def load(
        cls,
        path: str | Path,
        config: LifterConfig | None = None,
    ) -> StereoLifter:
        """Return a saved lifter; CheckpointError in one line if the file does not hold one.

        Of `config` the keypoints' noise and the stature are used.
        """
        tensors, header = load_tensors(path)
        try:
            network = StereoNetwork(from_mapping(StereoConfig, header["stereo"]))
            network.load_state_dict(tensors)
            errors = from_mapping(StereoErrors, header["errors"])
            mean = float(header["size_m"])
            std = float(header["size_std_m"])
            search = bool(header["search"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: holds no stereoscopic lifter ({reason(error)})"
            ) from None

        config = config or LifterConfig()
        size_m, size_std_m = config.size_m(mean, std)
        return cls(network.float().eval(), size_m, size_std_m, errors, search, config)


def root_deviation(
    deviation: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Return the std (N, 2) across the view of the mean of the seen joints (N, 14).

    deviation: (N, 17, 3) stds of the joints, whose errors are taken as fully correlated.
    """
    count = np.maximum(seen.sum(1), 1)
    weight = seen[..., None] / count[:, None, None]
    weighted = weight * deviation[:, _JOINT, :2]
    return weighted.sum(1)


def depth_deviation(
    deviation: np.ndarray,
    joints: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Return the std (N,) of the depth divided by the depth.

    It is that of a scale, for independent errors of the joints (N, 17, 3) across the view: the
    closer together the seen joints (N, 14) are there, the larger. deviation: (N, 17, 3) stds.
    """
    weight = seen[..., None]
    count = np.maximum(seen.sum(1), 1)

    # How far the joints are apart
    flat = joints[:, _JOINT, :2]
    middle = (weight * flat).sum(1) / count[:, None]
    off = flat - middle[:, None]
    square = off**2
    apart = (weight * square).sum((1, 2))

    # Their mean variance
    variance = deviation[:, _JOINT, :2] ** 2
    total = (weight * variance).sum((1, 2))
    error = total / (2 * count)
    return np.sqrt(error / np.maximum(apart, 1e-6))


def _towards_rays(found: Reconstruction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correct the network's poses by the rays of their keypoints, as a Kalman update.

    Returns poses (N, 17, 3), covariances (N, 17, 3, 3) and the log density (N,) of the keypoints
    given the network's prediction.

    A joint (x, y, z) about the root is on the ray u if (x, y) - u z = u d - root. That is a linear
    measurement; its noise is that of the keypoint at the joint's depth. A ray determines the joint,
    not the root: the error of the root is added to the covariance.
    """
    view = found.view
    seen = view.seen
    root = found.placed.root[:, None]
    mean = found.joints[:, _JOINT]
    prior = found.variance[:, _JOINT, :, None] * np.eye(3)  # (N, 14, 3, 3)

    # Measurement
    reach = root[..., 2] + mean[..., 2]  # (N, 14)
    look = _measurement_matrix(view.rays)  # (N, 14, 2, 3)
    on_ray = view.rays * reach[..., None]
    off = on_ray - root[..., :2] - mean[..., :2]
    square = reach**2
    noise = square[..., None, None] * view.noise
    noise = noise + 1e-12 * np.eye(2)

    # Nothing is measured where no keypoint is seen.
    measured = seen[..., None, None] & np.isfinite(noise)
    noise = np.where(measured, noise, np.eye(2))
    measured = seen[..., None] & np.isfinite(off)
    off = np.where(measured, off, 0.0)

    # Gain
    seen_by = np.swapaxes(look, -1, -2)
    innovation = look @ prior @ seen_by + noise
    precision = np.linalg.inv(innovation)
    gain = prior @ seen_by @ precision
    gain = np.where(seen[..., None, None], gain, 0.0)  # (N, 14, 3, 2)

    # Joints
    joints = found.joints.copy()
    joints[:, _JOINT] += np.einsum("nkab,nkb->nka", gain, off)

    # Covariances, in Joseph form
    root_variance = found.across**2
    root_noise = root_variance[..., None] * np.eye(2)
    noise = noise + root_noise[:, None]
    left = np.eye(3) - gain @ look
    remaining = left @ prior @ np.swapaxes(left, -1, -2)
    added = gain @ noise @ np.swapaxes(gain, -1, -2)
    covariance = found.variance[..., None] * np.eye(3)
    covariance[:, _JOINT] = remaining + added

    # Evidence
    distance = np.einsum("nka,nkab,nkb->nk", off, precision, off)
    _, log_volume = np.linalg.slogdet(precision / (2 * np.pi))
    surprise = np.where(seen, distance - log_volume, 0.0)
    return joints, covariance, -0.5 * surprise.sum(1)


def _measurement_matrix(rays: np.ndarray) -> np.ndarray:
    """Return matrices (N, 14, 2, 3) that map (x, y, z) to (x, y) - u z, for rays u (N, 14, 2)."""
    leading = rays.shape[:-1]
    identity = np.broadcast_to(np.eye(2), (*leading, 2, 2))
    last = -rays[..., None]
    return np.concatenate([identity, last], -1)


def _root_covariance(
    found: Reconstruction,
    root: np.ndarray,
    size: Scale,
    reach: Scale,
) -> np.ndarray:
    """Return the covariance (N, 3, 3) of the root, optical frame, m^2.

    root: (N, 3) optical frame, in units of the size.
    """
    to_view = found.view.rotation
    to_optical = np.swapaxes(to_view, 1, 2)

    std = size.mean[:, None] * np.pad(found.across, ((0, 0), (0, 1)))
    across = std[:, :, None] ** 2 * np.eye(3)
    turned = to_optical @ across @ to_view
    along = reach.variance[:, None, None] * outer(root)

    return turned + along


def _only_valid(
    answer: LiftedPoses,
    found: Reconstruction,
) -> LiftedPoses:
    """Return the answer with all persons INVALID who cannot be lifted."""
    view = found.view
    enough = view.seen.sum(1) >= _LEAST_SEEN
    placed = np.isfinite(found.placed.root).all(1)
    rows = np.flatnonzero(enough & ~view.lost() & placed)

    return scatter_poses(len(placed), 1, [(rows, answer.select(rows))])


def _choose(
    known: np.ndarray,
    measured: Scale,
    usual: Scale,
) -> Scale:
    """Return the measured scale of the persons for whom it is `known` (N,), else the usual one."""
    mean = np.where(known, measured.mean, usual.mean)
    variance = np.where(known, measured.variance, usual.variance)
    return Scale(mean, variance)


def _at_usual_distance(
    given: Rays,
    extent: float,
) -> Rays:
    """Return rays of an unknown camera, scaled to the extent of people at their usual distance.

    extent: the mean of the training set.
    """
    mask = given.seen[..., None]
    count = np.maximum(given.seen.sum(1), 1)
    known = np.where(mask, given.rays, 0.0)
    square = (known**2).sum((1, 2)) / count
    square = np.where(square > 0, square, 1.0)

    factor = extent / np.sqrt(square)
    factor = factor[:, None, None]
    return Rays(factor * given.rays, factor**2 * given.noise, given.seen)
