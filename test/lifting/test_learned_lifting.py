# SPDX-License-Identifier: Apache-2.0
"""What every learned lifter shares, with a network that knows the truth or nothing: places, frames,
covariances, refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see

from lifting_ros.geometry.camera import Camera
from lifting_ros.geometry.rotations import up_to_camera
from lifting_ros.lifting.learned_lifting import Guess, LearnedLifter
from lifting_ros.lifting.lifter_config import HEIGHT_OVER_SIZE, LifterConfig
from lifting_ros.lifting.residual_mlp import (
    RelativeLifter,
    ResidualMLP,
    ResidualMLPConfig,
    SupervisedLifter,
)
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.skeleton import KEYPOINT_TO_JOINT, limb_lengths
from lifting_ros.types import JointStatus, LiftedPoses

COUNT = 6
SIZE = (1.05, 0.04)
SURE = np.full((COUNT, 14), 1.0)
EXACT = np.tile(0.01 * np.eye(2), (COUNT, 14, 1, 1))


class Oracle(LearnedLifter):
    """Says the true shape, of persons in the optical frame, each as often as it is asked for in one
    call."""

    method = "oracle"

    def __init__(
        self, joints_m: np.ndarray, config: LifterConfig | None = None, deviation: float = 0.01
    ):
        super().__init__(SIZE, config)
        self.size_m = np.sqrt((limb_lengths(joints_m) ** 2).sum(-1))
        self.shape = (joints_m - joints_m[:, :1]) / self.size_m[:, None, None]
        self.deviation, self.asked = deviation, []

    def guess(self, views, metric):
        self.asked.append(views)
        shape = np.tile(self.shape, (len(views.pitch) // len(self.shape), 1, 1))
        covariance = np.tile(self.deviation**2 * np.eye(3), (len(shape), 17, 1, 1))
        covariance[:, 0] = 0
        return Guess(np.einsum("vab,vjb->vja", views.frame.astype(float), shape), covariance)


def people(distance_m: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Joints in the optical frame and keypoints, everybody of the mean size."""
    poses = make_poses(COUNT, seed=5)
    poses *= (SIZE[0] / np.sqrt((limb_lengths(poses) ** 2).sum(-1)))[:, None, None]
    return see(poses, distance_m)


def untaught(kind=SupervisedLifter, joints: int = 17):
    torch.manual_seed(1)
    network = ResidualMLP(ResidualMLPConfig(width=32), joints)
    if joints == 14:
        network.completion[list(KEYPOINT_TO_JOINT), range(14)] = 1.0
    return kind(network, SIZE)


def test_known_shape_is_placed_correctly():
    joints, keypoints = people()
    poses = Oracle(joints).lift(keypoints, SURE, EXACT, CAMERA)
    np.testing.assert_allclose(poses.joints_m, joints, atol=2e-3)
    assert (poses.status[:, list(KEYPOINT_TO_JOINT)] == JointStatus.OBSERVED).all() and (
        poses.status[:, 9] == JointStatus.INFERRED
    ).all()
    np.testing.assert_array_equal(poses.hypotheses_m[:, 0], poses.joints_m)
    assert (poses.hypothesis_weight == 1).all() and np.isfinite(poses.log_likelihood).all()


def test_stature_determines_the_distance():
    """Twice the size is twice as far; its deviation is the range's."""
    joints, keypoints = people()
    config = LifterConfig(stature_m=2 * SIZE[0] * HEIGHT_OVER_SIZE, stature_std_m=0.1)
    poses = Oracle(joints, config).lift(keypoints, SURE, EXACT, CAMERA)
    np.testing.assert_allclose(poses.joints_m, 2 * joints, rtol=2e-3, atol=4e-3)
    away = np.linalg.norm(poses.root_m, axis=-1)
    ray = poses.root_m / away[:, None]
    along = np.sqrt(np.einsum("na,nab,nb->n", ray, poses.root_covariance_m2, ray))
    np.testing.assert_allclose(along / away, 0.1 / (2 * SIZE[0] * HEIGHT_OVER_SIZE), rtol=0.05)


def test_without_a_camera_the_root_is_the_origin():
    joints, keypoints = people()
    poses = Oracle(joints).lift(keypoints, SURE, EXACT)
    assert (poses.root_m == 0).all() and np.isnan(poses.root_covariance_m2).all()
    relative = joints - joints[:, :1]
    scale = SIZE[0] / np.sqrt((limb_lengths(joints) ** 2).sum(-1))
    np.testing.assert_allclose(poses.joints_m, relative * scale[:, None, None], atol=1e-6)


def test_distortion_and_a_tilted_camera_are_undone():
    joints, _ = people()
    tilt = up_to_camera(np.array([0.3, -1.0, 0.2])) @ np.diag([1.0, -1, -1])
    turned = (joints - [0, 0, 4.0]) @ tilt.T + [0, 0, 4.0]
    camera = Camera(
        np.array([[600.0, 3, 300], [0, 580, 250], [0, 0, 1]]),
        np.array([-0.2, 0.05, 0.001, 0.002, 0.0]),
    )
    keypoints = camera.project(turned[:, list(KEYPOINT_TO_JOINT)])
    poses = Oracle(turned).lift(keypoints, SURE, EXACT, camera, tilt @ [0, -1.0, 0])
    np.testing.assert_allclose(poses.joints_m, turned, atol=3e-3)


def test_missing_keypoints_do_not_move_the_person():
    joints, keypoints = people()
    confidence = SURE.copy()
    confidence[:, [0, 4, 9]] = 0
    keypoints[confidence == 0] = np.nan
    poses = Oracle(joints).lift(keypoints, confidence, EXACT, CAMERA)
    np.testing.assert_allclose(poses.joints_m, joints, atol=3e-3)
    assert (poses.status[:, [10, 16, 2]] == JointStatus.INFERRED).all()


@pytest.mark.parametrize("keypoint", range(14))
def test_a_keypoint_on_something_else_moves_nobody(keypoint):
    joints, keypoints = people()
    oracle = Oracle(joints, deviation=0.02)
    true = oracle.lift(keypoints, SURE, 4 * EXACT / 0.01, CAMERA)
    wrong = keypoints.copy()
    wrong[:, keypoint] += (90, -60)  # a quarter of the person, at a std of 2 px
    found = oracle.lift(wrong, SURE, 4 * EXACT / 0.01, CAMERA)
    moved = np.linalg.norm(found.root_m, axis=1) / np.linalg.norm(true.root_m, axis=1)
    np.testing.assert_allclose(moved, 1, atol=0.03)


def test_depth_finds_a_person_of_another_size():
    """And a hand before the hip, half a metre off, is not believed."""
    joints, keypoints = people()
    far = 1.1 * joints
    z = far[:, list(KEYPOINT_TO_JOINT), 2].copy()
    z[:, 8] -= 0.5
    variance = np.full(z.shape, 0.03**2)
    z[:, 3], variance[:, 3] = np.nan, np.inf
    z[0], variance[0] = np.nan, np.inf
    poses = Oracle(joints).lift(keypoints, SURE, EXACT, CAMERA, depth=(z, variance))
    off = np.linalg.norm(poses.root_m - far[:, 0], axis=-1)
    assert (off[1:] < 0.04).all() and 0.2 < off[0] < 0.6
    spread = np.sqrt(poses.root_covariance_m2[:, 2, 2])
    assert (
        (spread[1:] < 0.06).all() and (spread[1:] > 0.02).all() and spread[0] > 0.1
    )  # two centimetres all depths share


def test_depth_counts_by_its_certainty():
    """Told to be a tenth farther than the size says: believed from a good sensor, hardly from a bad
    one."""
    joints, keypoints = people()
    z = 1.1 * joints[:, list(KEYPOINT_TO_JOINT), 2]
    told = (
        Oracle(joints).lift(keypoints, SURE, EXACT, CAMERA, depth=(z, np.full(z.shape, s**2)))
        for s in (0.03, 3.0)
    )
    (sure, unsure), truth = told, np.linalg.norm(joints[:, 0], axis=-1)
    farther = [np.linalg.norm(poses.root_m, axis=-1) / truth - 1 for poses in (sure, unsure)]
    assert (farther[0] > 0.09).all() and (farther[1] < 0.05).all()
    assert (sure.root_covariance_m2[:, 2, 2] < 0.2 * unsure.root_covariance_m2[:, 2, 2]).all()


def test_root_covariances_hold_what_they_say():
    """People of all sizes, noisy keypoints, a shape that is right: squared distances are those of
    three dimensions."""
    rng = np.random.default_rng(0)
    poses = make_poses(400, seed=2)
    poses *= (rng.normal(SIZE[0], SIZE[1], 400) / np.sqrt((limb_lengths(poses) ** 2).sum(-1)))[
        :, None, None
    ]
    joints, keypoints = see(poses)
    noisy = keypoints + 4 * rng.standard_normal(keypoints.shape)
    found = Oracle(joints, deviation=1e-3).lift(
        noisy, np.ones((400, 14)), np.tile(16 * np.eye(2), (400, 14, 1, 1)), CAMERA
    )
    off = found.root_m - joints[:, 0]
    square = np.einsum("na,nab,nb->n", off, np.linalg.inv(found.root_covariance_m2), off)
    assert 2.4 < square.mean() < 3.7
    relative = found.joints_m - found.root_m[:, None] - joints + joints[:, :1]
    hand = np.einsum(
        "na,nab,nb->n",
        relative[:, 16],
        np.linalg.inv(found.covariance_m2[:, 16] + 1e-9 * np.eye(3)),
        relative[:, 16],
    )
    assert hand.mean() < 4


@pytest.mark.parametrize("kind", [SupervisedLifter, RelativeLifter])
def test_a_shift_of_the_image_is_a_shift_of_the_person(kind):
    """Under K moved along with the pixels nothing changes; without a camera neither place nor size
    in the image matters."""
    lifter, (_, keypoints) = untaught(kind), people()
    moved = Camera(CAMERA.matrix + np.array([[0, 0, 37.0], [0, 0, -21], [0, 0, 0]]))
    here, there = (
        lifter.lift(keypoints, SURE, EXACT, CAMERA),
        lifter.lift(keypoints + [37.0, -21], SURE, EXACT, moved),
    )
    for field in dataclasses.fields(LiftedPoses):
        np.testing.assert_allclose(
            getattr(there, field.name), getattr(here, field.name), rtol=1e-4, atol=1e-5
        )
    free, shifted = lifter.lift(keypoints, SURE), lifter.lift(3 * keypoints + [37.0, -21], SURE)
    np.testing.assert_allclose(shifted.joints_m, free.joints_m, atol=2e-3)


def test_a_camera_rolled_on_its_side_sees_the_same_person():
    lifter, (_, keypoints) = untaught(), people()
    middle = CAMERA.matrix[:2, 2]
    rolled = (keypoints - middle) @ np.array([[0.0, 1], [-1, 0]]) + middle  # a quarter turn: x to y
    here = lifter.lift(keypoints, SURE, EXACT, CAMERA)
    there = lifter.lift(rolled, SURE, EXACT, CAMERA, up=(1.0, 0, 0))
    turn = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(there.joints_m, here.joints_m @ turn.T, atol=1e-4)
    np.testing.assert_allclose(there.covariance_m2, turn @ here.covariance_m2 @ turn.T, atol=1e-5)


def test_root_covariance_turns_with_the_camera():
    """Also for a camera that is tilted and on its side: the largest std is along its ray."""
    joints, _ = people()
    tilt = up_to_camera(np.array([1.0, -0.2, 0.3])) @ np.diag([1.0, -1, -1])
    turned = (joints + [0.9, 0.5, -4.0]) @ tilt.T + [0.5, 0.3, 4.0]
    poses = Oracle(turned).lift(
        CAMERA.project(turned[:, list(KEYPOINT_TO_JOINT)]), SURE, EXACT, CAMERA, tilt @ [0, -1.0, 0]
    )
    longest = np.linalg.eigh(poses.root_covariance_m2)[1][..., -1]
    away = poses.root_m / np.linalg.norm(poses.root_m, axis=-1, keepdims=True)
    assert (np.abs((longest * away).sum(-1)) > 0.999).all()


def test_inflation_factors_widen_their_own_covariances():
    """In the order of `fit_inflation`: joints inferred, joints observed, and the root but for what
    the size brings."""
    confidence = SURE.copy()
    confidence[:, [4, 10]] = 0
    _, keypoints = people()
    for index in range(3):
        lifter = untaught()
        lifter.size = SIZE[0], 1e-6  # what the size brings to a joint is not widened
        plain = lifter.lift(keypoints, confidence, EXACT, CAMERA)
        lifter.network.inflation[index] = 4.0
        wide = lifter.lift(keypoints, confidence, EXACT, CAMERA)
        for kind, own in ((JointStatus.INFERRED, index == 0), (JointStatus.OBSERVED, index == 1)):
            chosen = (plain.status == kind) & (np.arange(17) > 0)
            wanted = (4.0 if own else 1.0) * plain.covariance_m2[chosen]
            np.testing.assert_allclose(wide.covariance_m2[chosen], wanted, rtol=0.02, atol=1e-7)
    np.testing.assert_allclose(
        wide.root_covariance_m2, 4 * plain.root_covariance_m2, rtol=1e-3, atol=1e-9
    )


def test_root_factor_leaves_the_part_of_the_size():
    """Along the ray the doubt is the size's and stays, across it is four times what it was."""
    joints, keypoints = people()
    oracle = Oracle(joints)
    plain = oracle.lift(keypoints, SURE, EXACT, CAMERA).root_covariance_m2
    truth = oracle.guess
    oracle.guess = lambda views, metric: truth(views, metric)._replace(root_scale=4.0)
    wide = oracle.lift(keypoints, SURE, EXACT, CAMERA).root_covariance_m2
    before, after = np.linalg.eigvalsh(plain), np.linalg.eigvalsh(wide)
    np.testing.assert_allclose(after[:, :2], 4 * before[:, :2], rtol=0.1)
    np.testing.assert_allclose(after[:, 2], before[:, 2], rtol=0.1)


def test_unknown_up_takes_the_likeliest_way():
    joints, keypoints = people()
    oracle, found = Oracle(joints[:1]), None
    oracle.guess = _upright_only(oracle)
    found = oracle.lift(keypoints[:1], SURE[:1], EXACT[:1], CAMERA, (np.nan, 0, 0))
    assert np.linalg.norm(found.joints_m - joints[:1], axis=-1).max() < 0.15
    assert len(oracle.asked[0].pitch) == 60


def test_uncertain_shape_is_less_likely():
    """Of two that fit as well the one that is surer of it: so a network that is shown what it has
    not learnt is not believed."""
    joints, keypoints = people()
    sure, unsure = (
        Oracle(joints, deviation=d).lift(keypoints, SURE, EXACT, CAMERA).log_likelihood
        for d in (0.01, 0.3)
    )
    np.testing.assert_allclose(sure - unsure, 28 * np.log(30.0), rtol=0.1)


def test_everybody_is_tried_upside_down():
    """The network knows people the right way up alone; a handstand is found where gravity is known,
    and nobody else is turned over."""
    joints, keypoints = people()
    over = (
        joints * np.array([1.0, -1, 1]) * np.array([-1.0, 1, 1])
    )  # half a turn about the optical axis
    upright, seen = Oracle(joints, deviation=1e-3), []
    truth = upright.guess

    def guess(views, metric):
        seen.append(len(views.pitch))
        found = truth(
            views._replace(frame=np.tile(np.eye(3, dtype=np.float32), (len(views.pitch), 1, 1))),
            metric,
        )
        return found

    upright.guess = guess
    found = upright.lift(CAMERA.project(over[:, list(KEYPOINT_TO_JOINT)]), SURE, EXACT, CAMERA)
    assert seen == [2 * COUNT] and np.linalg.norm(found.joints_m - over, axis=-1).max() < 0.2
    seen.clear()
    found = upright.lift(keypoints, SURE, EXACT, CAMERA)
    assert np.linalg.norm(found.joints_m - joints, axis=-1).max() < 0.2


def test_handstand_needs_more_than_a_slightly_better_fit():
    """Whose keypoints are some dozens of times likelier upside down stands all the same: handstands
    are rarer."""
    joints, keypoints = people()
    oracle, found = Oracle(joints), {}
    truth = oracle.guess

    def guess(views, metric):
        found["views"] = truth(views, metric)
        found["views"].joints[:COUNT, 16, 0] += 0.03  # three deviations of a wrist, as it stands
        return found["views"]

    oracle.guess = guess
    poses = oracle.lift(keypoints, SURE, EXACT, CAMERA)
    off = np.linalg.norm(poses.joints_m - joints, axis=-1)[:, 16]
    assert (off > 0.02).all()


def _upright_only(oracle: Oracle):
    """A network that says one pose in the view frame, whichever way the person is seen."""
    truth = oracle.guess

    def guess(views, metric):
        level = np.abs(views.frame[:, 1] @ [0, 1.0, 0] - 1).argmin()
        found = truth(views, metric)
        return found._replace(
            joints=np.repeat(found.joints[level : level + 1], len(views.pitch), 0)
        )

    return guess


@pytest.mark.parametrize("camera", [CAMERA, None])
def test_persons_who_cannot_be_lifted_are_invalid(camera):
    lifter, (_, keypoints) = untaught(), people()
    confidence = SURE.copy()
    confidence[0], confidence[1, 1:], keypoints[2] = 0, 0, np.nan
    keypoints[3] = 100.0
    up = np.tile([0.0, -1, 0], (COUNT, 1))
    up[[2, 4]] = np.nan
    poses = lifter.lift(keypoints, confidence, None, camera, up)
    assert (poses.status[:4] == JointStatus.INVALID).all() and (poses.status[4:] > 0).all()
    assert np.isnan(poses.joints_m[:4]).all() and np.isfinite(poses.joints_m[4:]).all()
    assert (
        np.isnan(poses.hypothesis_weight[:4]).all() and np.isfinite(poses.covariance_m2[4:]).all()
    )
    assert len(lifter.lift(np.zeros((0, 14, 2)), np.zeros((0, 14))).joints_m) == 0


@pytest.mark.parametrize("normalised", [True, False])
def test_shapes_are_about_the_root(normalised):
    """Also where 14 joints about the neck are learnt, which the pelvis follows from."""
    network = untaught(joints=14).network
    network.completion[0, [8, 11]] = 0.5  # between the hips
    shape = network.shape(torch.randn(5, 14, 3) + 7.0, normalised).detach().numpy()
    assert (shape[:, 0] == 0).all()
    size = np.sqrt((limb_lengths(shape) ** 2).sum(-1))
    np.testing.assert_allclose(
        size, 1.0, rtol=1e-5
    ) if normalised else np.testing.assert_array_less(2.0, size)


def test_two_keypoints_are_enough_for_an_answer():
    lifter, (_, keypoints) = untaught(RelativeLifter), people()
    confidence = np.zeros((COUNT, 14))
    confidence[:, [0, 13]] = 1
    poses = lifter.lift(keypoints, confidence, EXACT, CAMERA)
    assert np.isfinite(poses.joints_m).all() and np.isfinite(poses.root_covariance_m2).all()
    assert (np.linalg.eigvalsh(poses.root_covariance_m2) > 0).all()


@pytest.mark.parametrize(
    ("kind", "joints"), [(SupervisedLifter, 17), (RelativeLifter, 17), (RelativeLifter, 14)]
)
def test_weights_come_back_from_the_file(tmp_path, kind, joints):
    lifter, (_, keypoints) = untaught(kind, joints), people()
    lifter.network.inflation.copy_(torch.tensor([2.0, 3.0, 1.5]))
    lifter.save(tmp_path / "w.safetensors", {"seed": 0})
    back = kind.load(tmp_path / "w.safetensors")
    there, here = (each.lift(keypoints, SURE, EXACT, CAMERA) for each in (back, lifter))
    np.testing.assert_allclose(
        there.joints_m, here.joints_m, atol=0.02 * np.abs(here.joints_m).max()
    )
    assert back.learned_size == SIZE and back.network.inflation.tolist() == [2.0, 3.0, 1.5]


def test_the_size_of_the_shape_is_the_persons():
    """Weights of relative depth have no unit: their poses are of the size given, whatever the
    numbers."""
    lifter, (_, keypoints) = untaught(RelativeLifter), people()
    poses = lifter.lift(keypoints, SURE, EXACT)
    np.testing.assert_allclose(
        np.sqrt((limb_lengths(poses.joints_m) ** 2).sum(-1)), SIZE[0], rtol=1e-5
    )


def test_wrong_shapes_are_named():
    lifter = untaught()
    with pytest.raises(ValueError, match="^keypoints_px: expected"):
        lifter.lift(np.zeros((2, 17, 2)), np.ones((2, 17)))
    with pytest.raises(ValueError, match="^confidence: expected"):
        lifter.lift(np.zeros((2, 14, 2)), np.ones((2, 13)))


def test_lifting_encodes_as_training_does():
    """Points, certainties, pitch and extent of a picture are those that the lifter's own view of
    the same person gives."""
    from lifting_ros.lifting.encoding import encode, encode_views
    from lifting_ros.lifting.observation import Views, into_views, to_rays
    from lifting_ros.research.datasets.pictured import picture

    poses = make_poses(1, seed=3)
    made = picture(poses, seed=4)
    lifted = make_views(poses, 1, seed=0)
    rays = to_rays(
        lifted.keypoints_px,
        np.ones((1, 14)),
        np.tile(4 * np.eye(2), (1, 14, 1, 1)),
        lifted.camera,
        0.015,
        0.5,
    )
    views = Views(*into_views(*rays, lifted.up))
    inside = encode_views(views, True)
    told = np.full((1, 14), np.sqrt(4.25) / lifted.camera.focal_px)
    outside = encode(views.rays, told, views.seen, views.pitch * np.radians(5), True)
    np.testing.assert_allclose(inside[:, :28], outside[:, :28], atol=1e-4)
    np.testing.assert_allclose(inside[:, 28:], outside[:, 28:], atol=0.02)
    assert (
        made.rays.shape == (1, 17, 2)
        and np.isclose(np.sqrt((limb_lengths(made.joints) ** 2).sum(-1)), 1, atol=1e-5).all()
    )


def test_encoded_positions_certainties_pitch_and_extent():
    """A keypoint counts half at a twentieth of the extent, none where it is not seen; without a
    camera the extent says nothing."""
    from lifting_ros.lifting.encoding import HALF_CERTAIN, USUAL_EXTENT, encode

    points = np.zeros((2, 14, 2))
    points[:, :4] = 2 * USUAL_EXTENT * np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    points[:, 4:] = np.nan
    visible = np.arange(14) < 4
    deviation = np.tile(np.where(np.arange(14) == 0, 2 * USUAL_EXTENT * HALF_CERTAIN, 0.0), (2, 1))
    read = encode(
        points + 3.0,
        deviation,
        np.tile(visible, (2, 1)),
        np.array([0.5, -0.5]),
        np.array([[True], [False]]),
    )
    np.testing.assert_allclose(read[0, :8], [1, 0, -1, 0, 0, 1, 0, -1], atol=1e-6)
    np.testing.assert_allclose(
        read[0, 28:], [0.5, 1, 1, 1, *[0] * 10, np.sin(0.5), np.log(2)], rtol=1e-6
    )
    np.testing.assert_allclose(read[1, -2:], [-np.sin(0.5), 0], rtol=1e-6)
    assert (read[:, 8:28] == 0).all()


def test_training_view_equals_the_lifter_view():
    """Shown a picture's own rays, with up where its pitch says, the lifter turns nothing and finds
    the same pitch."""
    from lifting_ros.lifting.observation import PITCH_STEP, Views, into_views, to_rays
    from lifting_ros.research.datasets.pictured import picture

    made = picture(make_poses(60, seed=3), seed=4)
    keypoints = CAMERA.to_pixels(made.rays[:, list(KEYPOINT_TO_JOINT)].astype(float))
    up = np.stack([np.zeros(60), -np.cos(made.pitch), np.sin(made.pitch)], -1).astype(float)
    views = Views(*into_views(*to_rays(keypoints, np.ones((60, 14)), None, CAMERA, 0.015, 0.5), up))
    np.testing.assert_allclose(views.pitch * PITCH_STEP, made.pitch, atol=1e-6)
    np.testing.assert_allclose(
        views.rays, made.rays[:, list(KEYPOINT_TO_JOINT)], atol=1e-3
    )  # but for the pitch's grid
    upwards = made.joints[:, 10] / np.linalg.norm(
        made.joints[:, 10], axis=-1, keepdims=True
    )  # from the pelvis to the top of the head
    assert np.corrcoef(upwards[:, 2], np.sin(made.pitch))[0, 1] > 0.8 and np.ptp(
        made.pitch
    ) > np.radians(20)
