# SPDX-License-Identifier: Apache-2.0
"""Bodies that generated poses are built on, and the figure that such a pose is assembled in.

A body has limb lengths and an upper body of one recorded frame, so that spine, thorax, nose and
head top lie where the motion capture has them. While a pose is assembled the figure faces +z, its
left is +x, up is +y, and the floor is y = 0; metres throughout. Sides are ordered left, right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.geometry.rotations import unit
from lifting_ros.research.labels.joint_limits import angles_deg, excess_deg
from lifting_ros.skeleton import JOINT_COUNT, JOINT_FLIP, LIMBS, limb_lengths

PELVIS = 0
SPINE = 7
THORAX = 8
NOSE = 9
HEAD_TOP = 10
HIPS = (4, 1)
KNEES = (5, 2)
ANKLES = (6, 3)
SHOULDERS = (11, 14)
ELBOWS = (12, 15)
WRISTS = (13, 16)
OUTWARD = (1.0, -1.0)
"""Direction along x that leads away from the body, of the left and the right side."""

MEAN_SIZE_M = 1.09
"""Size (root of the sum of squared limb lengths) of the body to which the metres of families
refer."""

ANKLE_M = 0.075
"""Height of the ankle above the floor that its foot stands on. This and the next ones are in metres
of a body of MEAN_SIZE_M."""

KNEE_M = 0.06
"""Height of the knee above the floor that it kneels on."""

WRIST_M = 0.045
"""Height of the wrist above what its hand lies on."""

SEAT_M = 0.085
"""Height of the hips above the seat."""

HEEL_M = 0.05
"""Distance of the heel behind the ankle."""

BALL_M = 0.14
"""Distance of the ball of the foot ahead of the ankle."""

SIZE_SPREAD = 0.06
"""Relative std of the size of bodies about the recorded ones."""

LIMB_SPREAD = 0.04
"""Relative std of single limb lengths about the recorded ones, left and right alike."""

LONGEST_REACH = 0.9999
"""Largest distance of a limb's ends, divided by the sum of its two lengths."""

DONOR_LIMITS_DEG = {"spine fold": 35.0, "head fold": 40.0, "twist": 25.0}
"""Largest angles of recorded frames whose upper bodies are borrowed."""

DONOR_LEAN_DEG = 30.0
"""Largest angle of their trunk from the vertical."""

HIP_TILT = 0.5
"""Largest share of the recorded tilt of the hips that is kept: walking tilts them, standing and
sitting do not."""

HIP_LIMITS_DEG = {
    "flexion": (-30.0, 140.0),
    "abduction": (-32.0, 70.0),
    "rotation": (-45.0, 80.0),
}
"""Range of the hip joint: the thigh forwards and outwards of the trunk, and outward rotation. The
flexion includes that of the trunk."""

SHOULDER_LIMITS_DEG = {"backward": 65.0, "across": 55.0}
"""Largest angles of the upper arm behind the chest and across it."""

_SEGMENT_MASSES = (
    ((NOSE, HEAD_TOP), 0.081, 0.4),
    ((PELVIS, THORAX), 0.497, 0.5),
    *(((SHOULDERS[s], ELBOWS[s]), 0.028, 0.436) for s in (0, 1)),
    *(((ELBOWS[s], WRISTS[s]), 0.022, 0.682) for s in (0, 1)),
    *(((HIPS[s], KNEES[s]), 0.100, 0.433) for s in (0, 1)),
    *(((KNEES[s], ANKLES[s]), 0.061, 0.606) for s in (0, 1)),
)
"""Ends, share of the body's mass and place of the centre along each segment (Winter, Biomechanics
and Motor Control of Human Movement)."""


class Bodies(NamedTuple):
    """N bodies. Vectors are in the frame of the trunk: x across the hips, y towards the thorax."""

    hips: np.ndarray
    """(N, 2, 3) from the pelvis."""
    spine: np.ndarray
    """(N, 3) from the pelvis."""
    thorax: np.ndarray
    """(N, 3) from the spine."""
    nose: np.ndarray
    """(N, 3) from the thorax."""
    head_top: np.ndarray
    """(N, 3) from the nose."""
    shoulders: np.ndarray
    """(N, 2, 3) from the thorax."""
    elbows: np.ndarray
    """(N, 2, 3) from the shoulders."""
    wrists: np.ndarray
    """(N, 2, 3) from the elbows."""
    legs_m: np.ndarray
    """(N, 2, 2) lengths of thigh and shank by side."""
    donor: np.ndarray
    """(N,) recorded row that lent the upper body."""

    @property
    def size_m(self) -> np.ndarray:
        """(N,) root of the sum of squared limb lengths."""
        squares = (self.legs_m**2).sum((1, 2))
        for vectors in self[:8]:
            axes = tuple(range(1, vectors.ndim))
            squares = squares + (vectors**2).sum(axes)
        return np.sqrt(squares)

    @property
    def limbs_m(self) -> np.ndarray:
        """(N, 16) limb lengths in the order of `skeleton.LIMBS`."""
        lengths = np.zeros((len(self.donor), JOINT_COUNT))
        lengths[:, list(HIPS)] = _norm(self.hips)
        lengths[:, list(KNEES)] = self.legs_m[:, :, 0]
        lengths[:, list(ANKLES)] = self.legs_m[:, :, 1]
        lengths[:, SPINE] = _norm(self.spine)
        lengths[:, THORAX] = _norm(self.thorax)
        lengths[:, NOSE] = _norm(self.nose)
        lengths[:, HEAD_TOP] = _norm(self.head_top)
        lengths[:, list(SHOULDERS)] = _norm(self.shoulders)
        lengths[:, list(ELBOWS)] = _norm(self.elbows)
        lengths[:, list(WRISTS)] = _norm(self.wrists)

        children = [child for _, child in LIMBS]
        return lengths[:, children]

    def select(self, rows: np.ndarray) -> Bodies:
        """The bodies of a boolean or integer index."""
        return Bodies(*(value[rows] for value in self))


def donor_rows(positions_m: np.ndarray) -> np.ndarray:
    """Boolean (N,): recorded poses (N, 17, 3) whose upper body may be borrowed: upright, not
    strongly bent, and within the limits of the joints."""
    trunk = positions_m[:, THORAX] - positions_m[:, PELVIS]
    upright = unit(trunk)[:, 1] > np.cos(np.radians(DONOR_LEAN_DEG))
    with np.errstate(invalid="ignore"):
        angles = angles_deg(positions_m)
        usable = upright & (excess_deg(positions_m) == 0)

    for name, limit in DONOR_LIMITS_DEG.items():
        usable &= angles[name] <= limit
    return usable


def draw_bodies(
    positions_m: np.ndarray,
    rows: np.ndarray,
    rng: np.random.Generator,
) -> Bodies:
    """Bodies with the upper bodies and limb lengths of recorded `rows` (n,) of positions
    (N, 17, 3), with small random changes of size and proportions."""
    poses = positions_m[rows]
    trunk = trunk_frames(poses)
    count = len(rows)

    def vector(
        joint: int,
        parent: int,
    ) -> np.ndarray:
        return into(trunk, poses[:, joint] - poses[:, parent])

    # Factors of size and of limb lengths
    size = np.exp(SIZE_SPREAD * rng.standard_normal(count))
    limb = np.exp(LIMB_SPREAD * rng.standard_normal((count, 7))) * size[:, None]
    hip, thigh, shank, torso, shoulder, upper_arm, forearm = limb.T

    def sides(
        joints: tuple,
        parents: tuple,
        factor: np.ndarray,
    ) -> np.ndarray:
        both = [vector(joint, parent) for joint, parent in zip(joints, parents, strict=True)]
        return np.stack(both, 1) * factor[:, None, None]

    # Hips with less tilt, as wide as before
    hips = sides(HIPS, (PELVIS, PELVIS), hip)
    level = hips.copy()
    level[..., 1] *= rng.uniform(0, HIP_TILT, count)[:, None]
    level *= (_norm(hips) / _norm(level))[..., None]

    # Legs that differ by millimetres would keep one knee from being straight
    lengths = limb_lengths(poses)
    both = 0.5 * (lengths[:, [4, 5]] + lengths[:, [1, 2]])
    factors = np.stack([thigh, shank], -1)
    legs = np.stack([both, both], 1) * factors[:, None]

    centre = torso[:, None]
    return Bodies(
        hips=level,
        spine=vector(SPINE, PELVIS) * centre,
        thorax=vector(THORAX, SPINE) * centre,
        nose=vector(NOSE, THORAX) * centre,
        head_top=vector(HEAD_TOP, NOSE) * centre,
        shoulders=sides(SHOULDERS, (THORAX, THORAX), shoulder),
        elbows=sides(ELBOWS, SHOULDERS, upper_arm),
        wrists=sides(WRISTS, ELBOWS, forearm),
        legs_m=legs,
        donor=rows,
    )


class Figure:
    """N figures being posed, all facing +z."""

    def __init__(self, bodies: Bodies):
        self.bodies = bodies
        self.count = len(bodies.donor)
        self.scale = bodies.size_m / MEAN_SIZE_M
        """(N,) size divided by that of a mean body."""
        self.joints = np.zeros((self.count, JOINT_COUNT, 3))
        """(N, 17, 3)."""

        self.trunk = np.tile(np.eye(3), (self.count, 1, 1))
        """(N, 3, 3) frame of the trunk."""
        self.chest = self.trunk
        """(N, 3, 3) frame of the chest."""

        self.rest = np.full((self.count, JOINT_COUNT), np.nan)
        """(N, 17) height at which a joint rests; NaN where it touches nothing."""
        self.support = np.full((self.count, 2, 2, 2), np.nan)
        """(N, 2, 2, 2) x and z of both ends of what each side stands on; NaN where on nothing."""
        self.fits = np.ones(self.count, bool)
        """(N,) whether everything that was asked for was reached."""

    def hold_trunk(  # noqa: PLR0913 - the degrees of freedom of a trunk
        self,
        lean_deg: np.ndarray,
        side_deg: np.ndarray | float = 0.0,
        curve_deg: np.ndarray | float = 0.0,
        twist_deg: np.ndarray | float = 0.0,
        bow_deg: np.ndarray | float = 0.0,
        nod_deg: np.ndarray | float = 0.0,
        look_deg: np.ndarray | float = 0.0,
        turn: np.ndarray | None = None,
    ) -> None:
        """Place pelvis, trunk, head and the borrowed arms, the pelvis at the origin.

        lean: of the line from pelvis to thorax, forwards; side: the same to the left; curve: how
        far the chest is bent forwards of that line; twist: of the chest to the left; bow: of the
        chest sideways; nod and look: of the head, down and to the left. turn: (N, 3, 3) instead of
        lean and side.
        """
        count = self.count
        curve = np.broadcast_to(curve_deg, count)
        bow = np.broadcast_to(bow_deg, count)
        twist = np.broadcast_to(twist_deg, count)

        # Frames, from the pelvis upwards
        leaned = about(0, lean_deg, count) if turn is None else turn
        self.trunk = about(2, -np.asarray(side_deg), count) @ leaned
        lower = self.trunk @ about(0, -0.35 * curve, count) @ about(2, 0.35 * bow, count)
        bowed = about(2, -0.65 * bow, count)
        curved = about(0, 0.65 * curve, count)
        upper = self.trunk @ about(1, 0.5 * twist, count) @ bowed @ curved
        self.chest = self.trunk @ about(1, twist, count) @ bowed @ curved
        head = self.chest @ about(1, look_deg, count) @ about(0, nod_deg, count)

        # Trunk and head
        body = self.bodies
        at = self.joints
        at[:, PELVIS] = 0.0
        at[:, SPINE] = out_of(lower, body.spine)
        at[:, THORAX] = at[:, SPINE] + out_of(upper, body.thorax)
        at[:, NOSE] = at[:, THORAX] + out_of(head, body.nose)
        at[:, HEAD_TOP] = at[:, NOSE] + out_of(head, body.head_top)

        # Hips and arms
        for side in (0, 1):
            at[:, HIPS[side]] = out_of(self.trunk, body.hips[:, side])
            shoulder = at[:, THORAX] + out_of(self.chest, body.shoulders[:, side])
            elbow = shoulder + out_of(self.chest, body.elbows[:, side])
            wrist = elbow + out_of(self.chest, body.wrists[:, side])
            at[:, SHOULDERS[side]] = shoulder
            at[:, ELBOWS[side]] = elbow
            at[:, WRISTS[side]] = wrist

    def move(self, shift: np.ndarray) -> None:
        """Move all joints by (N, 3)."""
        self.joints += shift[:, None]

    def move_upper(self, shift: np.ndarray) -> None:
        """Move all but knees and ankles by (N, 3)."""
        fixed = [*KNEES, *ANKLES]
        rest = [joint for joint in range(JOINT_COUNT) if joint not in fixed]
        self.joints[:, rest] += shift[:, None]

    def stand_leg(
        self,
        side: int,
        ankle: np.ndarray,
        pole: np.ndarray,
    ) -> None:
        """Bend a leg so that it ends at `ankle` (N, 3), the knee towards `pole` (N, 3)."""
        lengths = self.bodies.legs_m[:, side].T
        hip = self.joints[:, HIPS[side]]
        knee, end = two_bones(hip, ankle, *lengths, pole)
        self.joints[:, KNEES[side]] = knee
        self.joints[:, ANKLES[side]] = end

    def point_leg(
        self,
        side: int,
        thigh: np.ndarray,
        shank: np.ndarray,
    ) -> None:
        """Place a leg by the directions (N, 3) of its thigh and shank."""
        lengths = self.bodies.legs_m[:, side]
        hip = self.joints[:, HIPS[side]]
        knee = hip + lengths[:, :1] * unit(thigh)
        ankle = knee + lengths[:, 1:] * unit(shank)
        self.joints[:, KNEES[side]] = knee
        self.joints[:, ANKLES[side]] = ankle

    def reach_with(
        self,
        side: int,
        wrist: np.ndarray,
        pole: np.ndarray,
        rows: np.ndarray,
        least_fold: float,
    ) -> np.ndarray:
        """Bend the arms of `rows` (N,) so that they end at `wrist` (N, 3), the elbow towards `pole`
        (N, 3); returns how far each is missed (N,), 0 for other rows."""
        upper = _norm(self.bodies.elbows[:, side])
        fore = _norm(self.bodies.wrists[:, side])
        shoulder = self.joints[:, SHOULDERS[side]]
        elbow, end = two_bones(shoulder, wrist, upper, fore, pole, least_fold)

        self.joints[rows, ELBOWS[side]] = elbow[rows]
        self.joints[rows, WRISTS[side]] = end[rows]
        return np.where(rows, _norm(end - wrist), 0.0)

    def leg_m(self) -> np.ndarray:
        """(N,) mean length of the legs."""
        return self.bodies.legs_m.sum(2).mean(1)


def two_bones(
    start: np.ndarray,
    end: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    pole: np.ndarray,
    least_deg: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Middle joint and end (N, 3) of limbs of lengths `first` and `second` (N,) from `start`
    towards `end` (N, 3), bent towards `pole` (N, 3), as near to `end` as they can be.

    least_deg: smallest angle between the two limbs, 0 when folded flat.
    """
    line = end - start
    distance = _norm(line)
    along = unit(line)

    # Distance of the ends, between folded and stretched
    cosine = np.cos(np.radians(least_deg))
    folded = np.sqrt(first**2 + second**2 - 2 * first * second * cosine)
    nearest = np.maximum(folded, np.abs(first - second) + 1e-4)
    farthest = LONGEST_REACH * (first + second)
    reach = np.clip(distance, nearest, farthest)

    # The middle joint: its foot on the line, and its distance from the line
    ahead = (first**2 - second**2 + reach**2) / (2 * reach)
    off = np.sqrt(np.maximum(first**2 - ahead**2, 0.0))
    across = pole - (pole * along).sum(-1, keepdims=True) * along
    aside = unit(across)
    middle = start + ahead[:, None] * along + off[:, None] * aside

    return middle, start + reach[:, None] * along


def centre_of_mass(joints: np.ndarray) -> np.ndarray:
    """(N, 3) of poses (N, 17, 3), in their unit, from the mean masses of the segments."""
    total = sum(mass for _, mass, _ in _SEGMENT_MASSES)
    centre = np.zeros((len(joints), 3))
    for (first, second), mass, place in _SEGMENT_MASSES:
        start = joints[:, first]
        line = joints[:, second] - start
        centre += mass / total * (start + place * line)

    return centre


def hip_angles_deg(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Flexion, abduction and outward rotation (N, 2) of left and right hip of poses (N, 17, 3), in
    degrees; rotation is 0 where the knee is too straight to show it."""
    trunk = trunk_frames(joints)
    flexion = []
    abduction = []
    rotation = []

    for side, outward in enumerate(OUTWARD):
        hip = joints[:, HIPS[side]]
        knee = joints[:, KNEES[side]]
        ankle = joints[:, ANKLES[side]]
        thigh = into(trunk, unit(knee - hip))
        shank = into(trunk, unit(ankle - knee))

        flexion.append(np.degrees(np.arctan2(thigh[:, 2], -thigh[:, 1])))
        abduction.append(_angle_deg(outward * thigh[:, 0]))

        # Rotation of the knee's hinge about the thigh, from across the trunk
        hinge = np.cross(thigh, shank)
        bent = _norm(hinge) > np.sin(np.radians(25.0))
        across = np.array([1.0, 0.0, 0.0]) - thigh[:, :1] * thigh
        turned = (np.cross(across, hinge) * -thigh).sum(-1)
        aligned = (across * hinge).sum(-1)
        angle = np.degrees(np.arctan2(outward * turned, aligned))
        rotation.append(np.where(bent, angle, 0.0))

    return {
        "flexion": np.stack(flexion, 1),
        "abduction": np.stack(abduction, 1),
        "rotation": np.stack(rotation, 1),
    }


def within_limits(joints: np.ndarray) -> np.ndarray:
    """Boolean (N,): poses (N, 17, 3) whose joints all keep their range."""
    kept = excess_deg(joints) == 0
    for name, values in hip_angles_deg(joints).items():
        lowest, highest = HIP_LIMITS_DEG[name]
        inside = (values >= lowest) & (values <= highest)
        kept &= inside.all(1)
    return kept


def shoulders_within_limits(
    joints: np.ndarray,
    chest: np.ndarray,
) -> np.ndarray:
    """Boolean (N,): poses (N, 17, 3) whose upper arms are neither far behind the chest nor far
    across it. chest: (N, 3, 3) its frames."""
    kept = np.ones(len(joints), bool)
    for side, outward in enumerate(OUTWARD):
        line = joints[:, ELBOWS[side]] - joints[:, SHOULDERS[side]]
        arm = into(chest, unit(line))
        backward = _angle_deg(-arm[:, 2])
        across = _angle_deg(-outward * arm[:, 0])
        raised_behind = (arm[:, 1] > 0.3) & (arm[:, 2] < -0.35)

        kept &= backward <= SHOULDER_LIMITS_DEG["backward"]
        kept &= across <= SHOULDER_LIMITS_DEG["across"]
        kept &= ~raised_behind

    return kept


def _angle_deg(sine: np.ndarray) -> np.ndarray:
    return np.degrees(np.arcsin(np.clip(sine, -1, 1)))


def clearances(
    joints: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Boolean (N,): poses (N, 17, 3) whose limbs do not pass through each other, nor through trunk
    or head. scale: (N,) of the bodies."""

    def apart(
        first: tuple[int, int],
        second: tuple[int, int],
        least_m: float,
    ) -> np.ndarray:
        ends = [joints[:, joint] for joint in (*first, *second)]
        return segment_distance(*ends) > least_m * scale

    thighs = [(HIPS[s], KNEES[s]) for s in (0, 1)]
    shanks = [(KNEES[s], ANKLES[s]) for s in (0, 1)]
    free = apart(thighs[0], thighs[1], 0.075) & apart(shanks[0], shanks[1], 0.07)

    for side in (0, 1):
        other = 1 - side
        forearm = (ELBOWS[side], WRISTS[side])
        upper_arm = (SHOULDERS[side], ELBOWS[side])
        free &= apart(thighs[side], shanks[other], 0.075)
        free &= apart(forearm, (PELVIS, SPINE), 0.10)
        free &= apart(forearm, (SPINE, THORAX), 0.09)
        free &= apart(forearm, (NOSE, HEAD_TOP), 0.08)
        free &= apart(upper_arm, (PELVIS, SPINE), 0.08)
        free &= apart(upper_arm, (NOSE, HEAD_TOP), 0.08)

        for leg in (*thighs, *shanks):
            free &= apart(forearm, leg, 0.055)
            free &= apart(upper_arm, leg, 0.06)
            free &= apart(leg, (NOSE, HEAD_TOP), 0.10)

        for shank in shanks:
            free &= apart(shank, (SPINE, THORAX), 0.12)

    forearms = [(ELBOWS[s], WRISTS[s]) for s in (0, 1)]
    return free & apart(forearms[0], forearms[1], 0.045)


def segment_distance(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
) -> np.ndarray:
    """Smallest distance (N,) between the segments from a to b and from c to d (N, 3)."""
    u = b - a
    v = d - c
    w = a - c
    uu = (u * u).sum(-1)
    vv = (v * v).sum(-1)
    uv = (u * v).sum(-1)
    uw = (u * w).sum(-1)
    vw = (v * w).sum(-1)

    # Nearest points of the two lines, as shares of the segments, clipped one after the other
    across = uu * vv - uv**2
    s = np.clip((uv * vw - vv * uw) / np.maximum(across, 1e-12), 0, 1)
    t = np.clip((uv * s + vw) / np.maximum(vv, 1e-12), 0, 1)
    s = np.clip((uv * t - uw) / np.maximum(uu, 1e-12), 0, 1)

    gap = w + s[:, None] * u - t[:, None] * v
    return _norm(gap)


def trunk_frames(joints: np.ndarray) -> np.ndarray:
    """(N, 3, 3) of poses (N, 17, 3): columns across the hips to the left, up the trunk, ahead."""
    up = unit(joints[:, THORAX] - joints[:, PELVIS])
    across = joints[:, HIPS[0]] - joints[:, HIPS[1]]
    level = across - (across * up).sum(-1, keepdims=True) * up
    left = unit(level)
    ahead = np.cross(left, up)
    return np.stack([left, up, ahead], -1)


def across_hips_and_shoulders(joints: np.ndarray) -> np.ndarray:
    """(N, 3) of poses (N, 17, 3): the sum of the lines from the right to the left hip and
    shoulder."""
    across = joints[:, HIPS[0]] - joints[:, HIPS[1]]
    return across + joints[:, SHOULDERS[0]] - joints[:, SHOULDERS[1]]


def mirrored_rows(
    values: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """Poses (N, 17, 3), those of `rows` (N,) as a mirror shows them."""
    flipped = values[:, list(JOINT_FLIP)] * [-1.0, 1.0, 1.0]
    return np.where(rows[:, None, None], flipped, values)


def about(
    axis: int,
    angle_deg: np.ndarray | float,
    count: int,
) -> np.ndarray:
    """(count, 3, 3) rotations about x, y or z by angles in degrees."""
    angle = np.radians(np.broadcast_to(angle_deg, count))
    cosine = np.cos(angle)
    sine = np.sin(angle)
    first = (axis + 1) % 3
    second = (axis + 2) % 3

    out = np.zeros((count, 3, 3))
    out[:, axis, axis] = 1.0
    out[:, first, first] = cosine
    out[:, second, second] = cosine
    out[:, first, second] = -sine
    out[:, second, first] = sine

    return out


def out_of(
    frames: np.ndarray,
    vectors: np.ndarray,
) -> np.ndarray:
    """Vectors (N, 3) of frames (N, 3, 3) in the world."""
    return np.einsum("nij,nj->ni", frames, vectors)


def into(
    frames: np.ndarray,
    vectors: np.ndarray,
) -> np.ndarray:
    """Vectors (N, 3) of the world in frames (N, 3, 3)."""
    return np.einsum("nji,nj->ni", frames, vectors)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt((vectors**2).sum(-1))
