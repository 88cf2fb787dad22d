# SPDX-License-Identifier: Apache-2.0
"""The stereoscopic lifter ("Generalizing Monocular 3D Human Pose Estimation in the Wild", ICCV
workshop 2019).

Keypoints are turned into the frame that looks at the person, the network sees a second view in them
and reconstructs the pose from both (`stereo_network`), and the geometric search puts it before the
camera (`stereo_search`). The paper takes the joints on their rays for the answer: no reprojection
error at all, at the price of all the noise of the keypoints. Here a ray moves a joint as far as the
covariances of both say: exact keypoints leave it on the ray, noisy ones where the network has it,
and what remains uncertain is computed, not guessed.
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
from lifting_ros.io.checkpoint import CheckpointError, load_tensors, reason, save_tensors
from lifting_ros.lifting.depth_fusion import read_depth
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import Rays, to_rays
from lifting_ros.lifting.person_view import PersonView, look_at_person
from lifting_ros.lifting.request import UP, check_request, lift_somebody
from lifting_ros.lifting.stereo_depth import Scale, measured_scale
from lifting_ros.lifting.stereo_network import StereoConfig, StereoNetwork
from lifting_ros.lifting.stereo_search import Placed, search_depth
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT
from lifting_ros.types import JointStatus, LiftedPoses

_JOINT = list(KEYPOINT_TO_JOINT)
_LEAST_SEEN = 2


@dataclass(frozen=True)
class StereoErrors:
    """Residuals on people of the training set that the network has not learnt from
    (`training.calibrate_stereo`)."""

    deviation: tuple[float, ...] = field(
        default=(1.0, 1.0, 1.0),
        metadata={
            "description": "factor on the network's deviations across, down and along the view"
        },
    )
    depth: float = field(
        default=1.0,
        metadata={
            "description": "deviation of the root's depth, size being known, over that which errors of the joints seen, each its own, make",
            "range": (0.0, 10.0),
        },
    )
    across: float = field(
        default=1.0,
        metadata={
            "description": "deviation of the root across the view over that of the joints seen",
            "range": (0.0, 10.0),
        },
    )


class Reconstruction(NamedTuple):
    """Of N persons in their own view, in units of the person's size."""

    view: PersonView
    right: np.ndarray | None
    """(N, 14, 2) rays of the second view, None without view synthesis; its camera stands `baseline`
    to the right."""
    joints: np.ndarray
    """(N, 17, 3) about the root, as the network has them."""
    variance: np.ndarray
    """(N, 17, 3) of each axis."""
    placed: Placed
    """14 joints on the rays of their keypoints, and the root."""
    across: np.ndarray
    """(N, 2) deviation of the root across the view."""
    along: np.ndarray
    """(N,) deviation of the root's depth over it, size being known."""


@dataclass(frozen=True)
class StereoLifter:
    """Keypoints and confidences to joints and covariances, as `lifting.Lifter` gives them. Safe to
    use from several threads."""

    network: StereoNetwork
    size_m: float
    """People's mean size (root of the sum of squared limb lengths), metres, in the training set."""
    size_std_m: float
    errors: StereoErrors = StereoErrors()
    search: bool = True
    """Whether joints move towards their rays; without, the pose is the network's, and the search
    says only where it stands."""
    config: LifterConfig = LifterConfig()
    """Of it the noise of keypoints without a covariance is used."""

    def lift(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> LiftedPoses:
        """Lift N persons, as `request.PoseLifter.lift` says; one hypothesis, the answer.

        INVALID are persons with fewer than two usable keypoints, or with all of them in one place
        but for their noise. Where gravity is unknown the picture's own way up is taken, which the
        network is told. Depths say where a person is, and by that how large.
        """
        found = self.reconstruct(keypoints_px, confidence, covariance_px2, camera, up)
        measured = (
            None
            if depth is None or camera is None
            else np.moveaxis(read_depth(depth, len(found.joints))[0], -1, 0)
        )
        return self.finish(found, camera is not None, measured)

    def warm_up(self, depth: bool = False) -> None:
        """Compile what no call has compiled yet."""
        lift_somebody(self)

    def reconstruct(
        self, keypoints_px, confidence, covariance_px2=None, camera: Camera | None = None, up=UP
    ) -> Reconstruction:
        """What the networks and the search say of N persons; arguments and errors as `lift`."""
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
            rays = _at_usual_distance(rays, float(self.network.context_statistics[0, 0].exp()))
        view = look_at_person(rays, np.broadcast_to(np.asarray(up, np.float64), (count, 3)))
        with torch.inference_mode():
            given = (
                torch.from_numpy(v).float()
                for v in (view.points(), view.seen, view.context(camera is not None))
            )
            right, joints, deviation = (
                None if v is None else v.double().numpy() for v in self.network(*given)
            )
        variance = (deviation * np.array(self.errors.deviation)) ** 2
        right = None if right is None else view.centre[:, None] + view.extent[:, None, None] * right
        placed = search_depth(view.rays, joints[:, _JOINT], view.seen.astype(float))
        across = self.errors.across * root_deviation(np.sqrt(variance), view.seen)
        along = self.errors.depth * depth_deviation(np.sqrt(variance), joints, view.seen)
        return Reconstruction(view, right, joints, variance, placed, across, along)

    def finish(
        self, found: Reconstruction, metric: bool, depth: np.ndarray | None = None
    ) -> LiftedPoses:
        """The answer of a reconstruction; metric: whether a camera was known; depth (2, N, 14): z
        and its variance, inf for none."""
        moved, conditioned, evidence = _towards_rays(found)
        joints, covariance = (
            (moved, conditioned)
            if self.search
            else (found.joints, found.variance[..., None] * np.eye(3))
        )
        valid = (
            (found.view.seen.sum(1) >= _LEAST_SEEN)
            & ~found.view.lost()
            & np.isfinite(found.placed.root).all(1)
        )
        back, to = np.swapaxes(found.view.rotation, 1, 2), found.view.rotation
        own, root = (
            np.einsum("nab,njb->nja", back, joints),
            np.einsum("nab,nb->na", back, found.placed.root),
        )
        size, reach = self._scales((root[:, None] + own)[:, _JOINT, 2], found, depth)
        relative = size.mean[:, None, None, None] ** 2 * (back[:, None] @ covariance @ to[:, None])
        relative = relative + size.variance[:, None, None, None] * _outer(own)
        across = (size.mean[:, None] * np.pad(found.across, ((0, 0), (0, 1))))[
            :, :, None
        ] ** 2 * np.eye(3)
        placed = back @ across @ to + reach.variance[:, None, None] * _outer(root)
        root, placed = (
            (reach.mean[:, None] * root, placed)
            if metric
            else (np.zeros_like(root), np.full_like(placed, np.nan))
        )
        status = np.full((len(own), JOINT_COUNT), JointStatus.INFERRED, np.uint8)
        status[:, _JOINT] = np.where(found.view.seen, JointStatus.OBSERVED, JointStatus.INFERRED)
        joints_m = root[:, None] + size.mean[:, None, None] * own
        answer = LiftedPoses(
            joints_m,
            root,
            relative,
            placed,
            status,
            evidence,
            joints_m[:, None],
            np.ones((len(own), 1)),
        )
        poses = LiftedPoses.invalid(len(own), 1)
        for part in dataclasses.fields(LiftedPoses):
            getattr(poses, part.name)[valid] = getattr(answer, part.name)[valid]
        return poses

    def _scales(
        self, z: np.ndarray, found: Reconstruction, depth: np.ndarray | None
    ) -> tuple[Scale, Scale]:
        """Metres a unit of the pose, and of its place: people's sizes, and both better where depths
        of joints at z (N, 14) are measured.

        Depths say the place; the size they say is as uncertain as the depth over the size is.
        """
        prior, variance, doubt = np.full(len(z), self.size_m), self.size_std_m**2, found.along**2
        everybody = (
            Scale(prior, np.full(len(z), variance)),
            Scale(prior, variance + doubt * prior**2),
        )
        if depth is None:
            return everybody
        place = measured_scale(z, found.view.seen, *depth)
        told = place.variance + doubt * place.mean**2
        size = Scale(
            (prior / variance + place.mean / told) / (1 / variance + 1 / told),
            1 / (1 / variance + 1 / told),
        )
        known = np.isfinite(place.mean)
        return tuple(
            Scale(*(np.where(known, a, b) for a, b in zip(measured, usual)))
            for measured, usual in zip((size, place), everybody)
        )

    def save(self, path: str | Path, card: dict) -> None:
        """Write weights in fp16 with architecture, statistics, sizes, residuals and a short card,
        whole or not at all."""
        half = {
            name: t.half() if t.is_floating_point() else t
            for name, t in self.network.state_dict().items()
        }
        sizes = {"size_m": self.size_m, "size_std_m": self.size_std_m, "search": self.search}
        parts = {
            "lifter": "stereo",
            "stereo": dataclasses.asdict(self.network.config),
            "errors": dataclasses.asdict(self.errors),
        }
        save_tensors(path, half, parts | sizes | {"card": card})

    @classmethod
    def load(cls, path: str | Path, config: LifterConfig | None = None) -> StereoLifter:
        """Read what `save` wrote; of `config` the keypoints' noise and the stature are used.
        CheckpointError in one line where that cannot be done."""
        tensors, header = load_tensors(path)
        try:
            network = StereoNetwork(from_mapping(StereoConfig, header["stereo"]))
            network.load_state_dict(tensors)
            errors = from_mapping(StereoErrors, header["errors"])
            size, spread, search = (
                float(header["size_m"]),
                float(header["size_std_m"]),
                bool(header["search"]),
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: holds no stereoscopic lifter ({reason(error)})"
            ) from None
        config = config or LifterConfig()
        return cls(network.float().eval(), *config.size_m(size, spread), errors, search, config)


def root_deviation(deviation: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Deviation (N, 2) across the view that the mean of the joints seen (N, 14) has, were their
    errors (N, 17, 3) all one."""
    weight = seen[..., None] / np.maximum(seen.sum(1), 1)[:, None, None]
    return (weight * deviation[:, _JOINT, :2]).sum(1)


def depth_deviation(deviation: np.ndarray, joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Deviation (N,) of the depth over it, were the errors of the joints (N, 17, 3) across the view
    each its own: as that of a scale, by how far the joints seen (N, 14) are apart there. Two
    shoulders say little."""
    weight, count = seen[..., None], np.maximum(seen.sum(1), 1)
    flat = joints[:, _JOINT, :2]
    middle = (weight * flat).sum(1) / count[:, None]
    apart = (weight * (flat - middle[:, None]) ** 2).sum((1, 2))
    error = (weight * deviation[:, _JOINT, :2] ** 2).sum((1, 2)) / (2 * count)
    return np.sqrt(error / np.maximum(apart, 1e-6))


def _towards_rays(found: Reconstruction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses (N, 17, 3) that have seen their keypoints, covariances (N, 17, 3, 3), and the log
    density of the keypoints given the network's.

    A joint (x, y, z) about the root is on the ray u where (x, y) - u z = u d - root: a linear
    measurement, its noise that of the keypoint at the joint's depth. A ray says where a joint is,
    not where the root is: what that is off is in the covariance.
    """
    view, joints, seen = found.view, found.joints.copy(), found.view.seen
    prior = found.variance[:, _JOINT, :, None] * np.eye(3)  # N, 14, 3, 3
    reach = found.placed.root[:, None, 2] + joints[:, _JOINT, 2]  # N, 14
    look = np.concatenate(
        [np.broadcast_to(np.eye(2), (*seen.shape, 2, 2)), -view.rays[..., None]], -1
    )  # N, 14, 2, 3
    off = view.rays * reach[..., None] - found.placed.root[:, None, :2] - joints[:, _JOINT, :2]
    noise = (reach**2)[..., None, None] * view.noise + 1e-12 * np.eye(2)
    noise = np.where(seen[..., None, None] & np.isfinite(noise), noise, np.eye(2))
    off = np.where(seen[..., None] & np.isfinite(off), off, 0.0)
    spread = np.linalg.inv(look @ prior @ np.swapaxes(look, -1, -2) + noise)
    gain = np.where(
        seen[..., None, None], prior @ np.swapaxes(look, -1, -2) @ spread, 0.0
    )  # N, 14, 3, 2
    joints[:, _JOINT] += np.einsum("nkab,nkb->nka", gain, off)
    left, noise = (
        np.eye(3) - gain @ look,
        noise + ((found.across**2)[..., None] * np.eye(2))[:, None],
    )
    covariance = found.variance[..., None] * np.eye(3)
    covariance[:, _JOINT] = left @ prior @ np.swapaxes(left, -1, -2) + gain @ noise @ np.swapaxes(
        gain, -1, -2
    )
    distance = (
        np.einsum("nka,nkab,nkb->nk", off, spread, off) - np.linalg.slogdet(spread / (2 * np.pi))[1]
    )
    return joints, covariance, -0.5 * np.where(seen, distance, 0.0).sum(1)


def _at_usual_distance(given: Rays, extent: float) -> Rays:
    """Rays of a picture whose camera is not known, about its middle, as if people were as far away
    as the training set's mostly are."""
    square = (np.where(given.seen[..., None], given.rays, 0.0) ** 2).sum((1, 2)) / np.maximum(
        given.seen.sum(1), 1
    )
    factor = (extent / np.sqrt(np.where(square > 0, square, 1.0)))[:, None, None]
    return Rays(factor * given.rays, factor**2 * given.noise, given.seen)


def _outer(vectors: np.ndarray) -> np.ndarray:
    return vectors[..., :, None] * vectors[..., None, :]
