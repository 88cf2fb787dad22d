# SPDX-License-Identifier: Apache-2.0
"""Tracking: the filter against its equations, honest covariances, and ids through crossings,
occlusions, bag loops and jumps in time."""

from collections import deque
from dataclasses import fields, replace

import numpy as np
import pytest
from walkers import Errors, crossing, frames_of, lift, straight, walk

from lifting_ros.skeleton import LIMBS, limb_lengths
from lifting_ros.tracking import kalman
from lifting_ros.tracking.association import assign, cost_at, costs
from lifting_ros.tracking.kalman import Motion
from lifting_ros.tracking.tracking import (
    ACCELERATION_LASTS_S,
    LATE_IN_A_ROW,
    LONGEST_S,
    UNSEEN_S,
    Tracker,
    TrackerConfig,
    smooth,
)
from lifting_ros.types import JointStatus

FPS = 30.0


def stamp(frame: int, fps: float = FPS) -> int:
    return round(frame * 1e9 / fps)


def track(frames, config=None, fps=FPS):
    """Published persons of each frame, whatever the lag."""
    tracker = Tracker(config)
    done = [
        out for k, persons in enumerate(frames) for out in tracker.update(stamp(k, fps), persons)
    ] + tracker.flush()
    assert [out.stamp_ns for out in done] == [stamp(k, fps) for k in range(len(frames))]
    return [out.persons for out in done]


def ids_of(frames) -> list[list[int]]:
    return [[person.id for person in persons] for persons in frames]


def matrices(seconds, size=3):
    """F and Q of the equations."""
    one = np.eye(size)
    return (
        np.block([[one, seconds * one], [0 * one, one]]),
        np.block(
            [[seconds**3 / 3 * one, seconds**2 / 2 * one], [seconds**2 / 2 * one, seconds * one]]
        ),
    )


def random_states(rng, count, size=3):
    root = rng.standard_normal((count, 2 * size, 2 * size))
    return Motion(
        rng.standard_normal((count, 2 * size)),
        root @ root.swapaxes(-1, -2) + 0.1 * np.eye(2 * size),
    )


def random_noise(rng, *shape, size=3):
    root = rng.standard_normal((*shape, size, size))
    return root @ root.swapaxes(-1, -2) + 0.1 * np.eye(size)


@pytest.mark.parametrize("size", [2, 3])
def test_filter_is_that_of_the_equations(size):
    rng = np.random.default_rng(0)
    state, measured, noise = (
        random_states(rng, 5, size),
        rng.standard_normal((5, size)),
        random_noise(rng, 5, size=size),
    )
    density, (f, q), h = rng.uniform(0.5, 2, 5), matrices(0.1, size), np.eye(2 * size)[:size]
    ahead = kalman.predict(state, 0.1, density)
    after, share = kalman.update(ahead, measured, noise, np.ones(5))
    for n in range(5):
        m, p = f @ state.mean[n], f @ state.covariance[n] @ f.T + density[n] * q
        np.testing.assert_allclose(ahead.mean[n], m, atol=1e-12)
        np.testing.assert_allclose(ahead.covariance[n], p, atol=1e-12)
        gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + noise[n])
        np.testing.assert_allclose(after.mean[n], m + gain @ (measured[n] - h @ m), atol=1e-10)
        np.testing.assert_allclose(
            after.covariance[n], (np.eye(2 * size) - gain @ h) @ p, atol=1e-10
        )
        assert share[n] == pytest.approx(np.trace(h @ gain) / size)


def test_filter_starts_with_the_first_measurement():
    rng = np.random.default_rng(1)
    state, noise = random_states(rng, 3), random_noise(rng, 3)
    state.mean[1:], state.covariance[1:] = np.nan, np.nan
    measured = np.array([[np.nan, 0, 0], [1, 2, 3], [np.nan] * 3])
    after, share = kalman.update(state, measured, noise, np.full(3, 2.0))
    np.testing.assert_array_equal(after.mean[0], state.mean[0])
    np.testing.assert_array_equal(after.mean[1], [1, 2, 3, 0, 0, 0])
    np.testing.assert_array_equal(
        after.covariance[1],
        np.block([[noise[1], np.zeros((3, 3))], [np.zeros((3, 3)), 4 * np.eye(3)]]),
    )
    assert np.isnan(after.mean[2]).all() and share.tolist() == [0, 1, 0]


def test_two_steps_of_prediction_are_one_long_one():
    state = random_states(np.random.default_rng(2), 4)
    twice, once = (
        kalman.predict(kalman.predict(state, 0.03, np.ones(4)), 0.07, np.ones(4)),
        kalman.predict(state, 0.1, np.ones(4)),
    )
    np.testing.assert_allclose(twice.mean, once.mean, atol=1e-12)
    np.testing.assert_allclose(twice.covariance, once.covariance, atol=1e-12)


def test_smoother_is_least_squares_over_all_frames():
    rng, frames, speed = np.random.default_rng(3), 7, 1.5
    seconds, density = rng.uniform(0.02, 0.2, frames - 1), np.array([0.7])
    measured, noise = rng.standard_normal((frames, 1, 3)), random_noise(rng, frames, 1)
    states = [kalman.update(kalman.unknown((1,), 3), measured[0], noise[0], np.array([speed]))[0]]
    for k in range(1, frames):
        states.append(
            kalman.update(
                kalman.predict(states[-1], seconds[k - 1], density),
                measured[k],
                noise[k],
                np.array([speed]),
            )[0]
        )
    for k in range(frames - 2, -1, -1):
        states[k] = kalman.smooth(states[k], states[k + 1], seconds[k], density)[0]
    information, vector, h = np.zeros((6 * frames, 6 * frames)), np.zeros(6 * frames), np.eye(6)[:3]
    information[3:6, 3:6] += np.eye(3) / speed**2
    for k in range(frames):
        here, weight = slice(6 * k, 6 * k + 6), np.linalg.inv(noise[k, 0])
        information[here, here] += h.T @ weight @ h
        vector[here] += h.T @ weight @ measured[k, 0]
        if k:
            f, q = matrices(seconds[k - 1])
            residual = np.zeros((6, 6 * frames))
            residual[:, 6 * k - 6 : 6 * k], residual[:, here] = -f, np.eye(6)
            information += residual.T @ np.linalg.inv(density[0] * q) @ residual
    covariance = np.linalg.inv(information)
    np.testing.assert_allclose(
        np.concatenate([s.mean[0] for s in states]), covariance @ vector, atol=1e-6
    )
    for k in range(frames):
        here = slice(6 * k, 6 * k + 6)
        np.testing.assert_allclose(states[k].covariance[0], covariance[here, here], atol=1e-6)


def test_distances_equal_those_of_absolute_joints():
    rng, points = np.random.default_rng(4), 4
    place, measured = rng.standard_normal((2, 1, points, 3))
    noise, nothing = random_noise(rng, 1, points), np.zeros((1, points, 3, 3))
    to_absolute = np.eye(3 * points)
    to_absolute[3:, :3] = np.tile(np.eye(3), (points - 1, 1))
    block = np.zeros((3 * points, 3 * points))
    for p in range(points):
        block[3 * p : 3 * p + 3, 3 * p : 3 * p + 3] = noise[0, p]
    apart = to_absolute @ (measured - place).ravel()
    expected = apart @ np.linalg.solve(to_absolute @ block @ to_absolute.T, apart)
    single = [
        costs(place[:, [p]], nothing[:, [p]], measured[:, [p]], noise[:, [p]], np.ones(1))[0, 0]
        for p in range(points)
    ]
    squares = [4 * np.expm1(cost / 3.5) for cost in single]  # FREEDOM = 4, three dimensions
    assert sum(squares) == pytest.approx(expected)


def test_assignment_never_trades_a_good_pair_for_two_bad_ones():
    gate = cost_at(5.0)
    assert assign(np.array([[gate + 1, np.nan], [0.1, gate + 1]]), gate).tolist() == [1, -1]
    assert assign(np.array([[0.1, gate - 0.5], [gate - 0.5, 2 * gate]]), gate).tolist() == [0, -1]
    assert (
        assign(np.zeros((0, 3)), gate).tolist() == [-1] * 3
        and assign(np.zeros((3, 0)), gate).tolist() == []
    )


@pytest.mark.parametrize(("count", "metric"), [(2, True), (3, True), (2, False)])
def test_ids_stay_through_crossings_with_misses_and_false_alarms(count, metric):
    switches = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        frames, names = frames_of(crossing(rng, count, seconds=3.0, fps=15.0), rng, metric=metric)
        last, changed = {}, 0
        for ids, who in zip(ids_of(track(frames, fps=15.0)), names):
            assert len(set(ids)) == len(ids) and min(ids, default=1) > 0
            for number, name in zip(ids, who):
                changed += name >= 0 and last.get(name, number) != number
                last[name] = number
        switches.append(changed)
    assert sum(switches) <= 1, switches


USUAL = Errors()


def walker(seed=0, seconds=2.0, errors=USUAL, start=(-1.0, 4.0), end=(1.5, 4.5), metric=True):
    """The true joints and the lifted persons of one walker."""
    joints = walk(straight(start, end, seconds, FPS), FPS, phase=seed)
    return joints, lift(joints, np.random.default_rng(seed), errors, metric)


def test_hidden_person_keeps_its_id_until_the_retention_ends():
    _, lifted = walker(seconds=4.0)
    frames = [[] if 30 <= k < 45 else [p] for k, p in enumerate(lifted)]
    assert {i for ids in ids_of(track(frames)) for i in ids} == {1}
    frames = [[] if 30 <= k < 65 else [p] for k, p in enumerate(lifted)]
    ids = ids_of(track(frames, TrackerConfig(retention_s=1.0)))
    assert ids[29] == [1] and ids[65] == [2]


@pytest.mark.parametrize("fps", [2.0, 3.0])
def test_a_slow_camera_keeps_ids_too(fps):
    """Each frame comes later than a new track is kept for when it is not seen."""
    _, lifted = walker(seconds=8.0)
    slow = [[person] for person in lifted[:: round(FPS / fps)]]
    assert {i for ids in ids_of(track(slow, fps=fps)) for i in ids} == {1}


def test_a_false_alarm_of_a_slow_camera_is_forgotten():
    _, lifted = walker(seconds=8.0)
    slow = lifted[::8]
    frames = [[slow[0]], [], *[[person] for person in slow[2:]]]
    assert ids_of(track(frames, fps=FPS / 8))[2] == [2]


def test_somebody_else_elsewhere_gets_another_id():
    _, one = walker(seed=1)
    _, other = walker(seed=2, start=(-2.0, 7.0), end=(-1.0, 7.0))
    assert ids_of(track([[one[k]] if k < 30 else [other[k]] for k in range(60)]))[28:32] == [
        [1],
        [1],
        [2],
        [2],
    ]


def test_ids_count_on_after_a_bag_loops():
    _, lifted = walker()
    tracker = Tracker(TrackerConfig(lag_s=0.1))
    first = [out for k in range(10) for out in tracker.update(stamp(k), [lifted[k]])]
    again = tracker.update(stamp(0), [lifted[0]])
    assert [f.stamp_ns for f in first + again] == [stamp(k) for k in range(10)]
    rest = [
        out for k in range(1, 10) for out in tracker.update(stamp(k), [lifted[k]])
    ] + tracker.flush()
    assert {p.id for f in first + again for p in f.persons} == {1} and {
        p.id for f in rest for p in f.persons
    } == {2}
    assert rest[0].stamp_ns == 0 and rest[0].persons[0].age_s == 0.0


def in_order_of_arrival(tracker: Tracker, stamps: list[int], lifted) -> list[list[int] | None]:
    """The ids of each frame; None for one that is dropped."""
    ids = []
    for stamp_ns, one in zip(stamps, lifted):
        if tracker.drop_if_late(stamp_ns):
            ids.append(None)
        else:
            ids.append([p.id for p in tracker.update(stamp_ns, [one])[0].persons])
    return ids


@pytest.mark.parametrize(
    ("order", "dropped"), [([0, 1, 2, 4, 3, 5, 6], [4]), ([0, 1, 2, 2, 3, 4], [3])]
)
def test_late_and_repeated_frames_are_dropped_and_nobody_is_new(order, dropped):
    lifted = walker()[1][::2]
    stamps = [10**18 + stamp(k, 15.0) for k in order]
    tracker = Tracker()
    ids = in_order_of_arrival(tracker, stamps, [lifted[k] for k in order])
    assert ids == [None if place in dropped else [1] for place in range(len(order))]

    velocities = Tracker()
    kept = [k for place, k in enumerate(order) if place not in dropped]
    for k in kept:
        expected = velocities.update(10**18 + stamp(k, 15.0), [lifted[k]])[0].persons[0]
    after = max(order) + 1
    last = 10**18 + stamp(after, 15.0)
    (found,) = tracker.update(last, [lifted[after]])[0].persons
    (expected,) = velocities.update(last, [lifted[after]])[0].persons
    np.testing.assert_array_equal(found.velocity_mps, expected.velocity_mps)
    assert np.isfinite(found.velocity_mps).all()


def test_a_jump_back_begins_anew():
    _, lifted = walker()
    seconds = [10.0, 10.1, 8.0, 8.1]
    stamps = [round(at * 1e9) for at in seconds]
    assert in_order_of_arrival(Tracker(), stamps, lifted) == [[1], [1], [2], [2]]


def test_a_loop_shorter_than_the_retention_begins_anew():
    _, lifted = walker()
    stamps = [10**9 + stamp(k) for k in range(20)]
    ids = in_order_of_arrival(Tracker(), stamps * 2, lifted[:20] * 2)
    dropped = LATE_IN_A_ROW - 1
    assert ids == [[1]] * 20 + [None] * dropped + [[2]] * (20 - dropped)


def test_a_clock_that_stands_still_drops_and_zero_is_no_time():
    _, lifted = walker()
    assert in_order_of_arrival(Tracker(), [5] * 15, lifted) == [[1]] + [None] * 14
    assert in_order_of_arrival(Tracker(), [0] * 3, lifted) == [[1], [2], [3]]
    untracked = Tracker(TrackerConfig(enabled=False))
    assert in_order_of_arrival(untracked, [5, 5, 4], lifted) == [[0]] * 3


def test_a_jump_forward_drops_the_tracks():
    _, lifted = walker()
    tracker = Tracker()
    ids = [
        tracker.update(10**18 + t, [p])[0].persons[0].id
        for t, p in zip((0, 33_000_000, 60 * 10**9), lifted)
    ]
    assert ids == [1, 1, 2]


def test_empty_frames_and_persons_of_whom_nothing_is_known():
    _, lifted = walker()
    flat, pose = lifted[1].skeleton_2d, lifted[1].skeleton_3d
    blank = replace(
        lifted[1],
        skeleton_2d=replace(flat, keypoints_px=np.full((14, 2), np.nan), confidence=np.zeros(14)),
        skeleton_3d=replace(
            pose,
            joints_m=np.full((17, 3), np.nan),
            root_m=np.full(3, np.nan),
            covariance_m2=np.full((17, 3, 3), np.nan),
            root_covariance_m2=np.full((3, 3), np.nan),
            status=np.zeros(17, np.uint8),
            metric=False,
        ),
    )
    out = track([[], [blank], [lifted[2]], [], [lifted[4], blank]])
    assert ids_of(out) == [[], [0], [1], [], [1, 0]] and out[1][0] is blank


def test_invalid_lift_becomes_the_prediction_of_the_track():
    joints, lifted = walker()
    pose = lifted[20].skeleton_3d
    nan = {
        name: np.full_like(getattr(pose, name), np.nan)
        for name in ("joints_m", "root_m", "covariance_m2", "root_covariance_m2")
    }
    lifted[20] = replace(
        lifted[20], skeleton_3d=replace(pose, **nan, status=np.zeros(17, np.uint8), metric=False)
    )
    out = track([[p] for p in lifted])[20][0]
    assert (
        out.id == 1
        and out.skeleton_3d.metric
        and (out.skeleton_3d.status == JointStatus.INFERRED).all()
    )
    assert (
        np.linalg.norm(
            out.skeleton_3d.joints_m - out.skeleton_3d.root_m - joints[20] + joints[20, 0], axis=-1
        ).max()
        < 0.3
    )


def test_unmeasured_joint_is_predicted_with_growing_covariance():
    _, lifted = walker()
    for k in range(20, 26):
        pose = lifted[k].skeleton_3d
        hidden = {
            name: getattr(pose, name).copy() for name in ("joints_m", "covariance_m2", "status")
        }
        hidden["joints_m"][3], hidden["covariance_m2"][3], hidden["status"][3] = (
            np.nan,
            np.nan,
            JointStatus.INVALID,
        )
        lifted[k] = replace(lifted[k], skeleton_3d=replace(pose, **hidden))
    out = [persons[0].skeleton_3d for persons in track([[p] for p in lifted])]
    size = [np.trace(pose.covariance_m2[3]) for pose in out]
    assert all(a < b for a, b in zip(size[19:25], size[20:26])) and size[26] < size[25]
    assert [pose.status[3] for pose in out[19:27]] == [JointStatus.OBSERVED] + [
        JointStatus.INFERRED
    ] * 6 + [JointStatus.OBSERVED]


def test_coasting_persons_are_published_when_asked_for():
    _, lifted = walker()
    frames = [[p] if k < 20 else [] for k, p in enumerate(lifted[:40])]
    assert [len(persons) for persons in track(frames)] == [1] * 20 + [0] * 20
    out = track(frames, TrackerConfig(coast_s=0.2))
    assert [len(persons) for persons in out] == [1] * 26 + [0] * 14
    person = out[24][0]
    assert person.coasting and person.id == 1 and not out[19][0].coasting
    assert (
        np.isfinite(person.skeleton_3d.joints_m).all()
        and (person.skeleton_2d.confidence == 0).all()
    )
    assert np.trace(person.skeleton_3d.root_covariance_m2) > np.trace(
        out[20][0].skeleton_3d.root_covariance_m2
    )


@pytest.mark.parametrize("config", [TrackerConfig(), TrackerConfig(coast_s=0.5, lag_s=0.2)])
def test_unseen_persons_are_predicted_for_a_second(config):
    _, lifted = walker()
    tracker = Tracker(config)
    lost = 25
    count = 60
    done = []
    for k, p in enumerate(lifted[:count]):
        done += tracker.update(stamp(k), [p] if k < lost else [])
    done += tracker.flush()

    # There are predictions until UNSEEN_S after the last sight, which is in frame 24
    last = round(UNSEEN_S * FPS) + lost - 1
    counts = [len(frame.unseen) for frame in done]
    assert counts == [0] * lost + [1] * (last + 1 - lost) + [0] * (count - 1 - last)
    errors = []
    for k in range(lost, last + 1):
        (skeleton,) = done[k].unseen
        true = lifted[k].skeleton_2d
        assert np.array_equal(skeleton.confidence, lifted[lost - 1].skeleton_2d.confidence)
        errors.append(np.linalg.norm(skeleton.keypoints_px - true.keypoints_px, axis=1).mean())

    # Near at first, and less and less certain
    side = np.ptp(lifted[lost].skeleton_2d.keypoints_px, axis=0).max()
    assert errors[0] < 0.05 * side
    spread = [np.trace(done[k].unseen[0].covariance_px2[0]) for k in range(lost, last + 1)]
    assert (np.diff(spread) > 0).all()


def test_who_is_hidden_before_its_id_is_sure_coasts_as_well():
    _, lifted = walker()
    frames = [[] if k == 1 else [p] for k, p in enumerate(lifted[:9])]
    out = track(frames, TrackerConfig(min_hits=4, lag_s=0.1, coast_s=0.5))
    assert ids_of(out) == [[0]] + [[1]] * 8 and out[1][0].coasting


def test_keypoints_without_covariances_tell_people_apart():
    rng = np.random.default_rng(12)
    frames, names = frames_of(
        crossing(rng, 2, seconds=1.0), rng, missed=0.0, alarms=0.0, metric=False
    )
    unsure = [
        [
            replace(
                p, skeleton_2d=replace(p.skeleton_2d, covariance_px2=np.full((14, 2, 2), np.nan))
            )
            for p in f
        ]
        for f in frames
    ]
    assert {(i, n) for ids, who in zip(ids_of(track(unsure)), names) for i, n in zip(ids, who)} in (
        {(1, 0), (2, 1)},
        {(1, 1), (2, 0)},
    )


def test_a_track_shows_its_id_after_so_many_frames():
    _, lifted = walker()
    frames = [[p] for p in lifted[:6]]
    assert ids_of(track(frames, TrackerConfig(min_hits=3))) == [[0], [0], [1], [1], [1], [1]]


def test_first_frame_and_disabled_tracking_change_nothing():
    _, lifted = walker()
    person = track([[lifted[0]]])[0][0]
    for name in ("joints_m", "root_m", "covariance_m2", "root_covariance_m2"):
        np.testing.assert_allclose(
            getattr(person.skeleton_3d, name), getattr(lifted[0].skeleton_3d, name), atol=1e-12
        )
    assert np.isnan(person.velocity_mps).all() and person.age_s == 0
    assert Tracker(TrackerConfig(enabled=False)).update(5, lifted[:2])[0].persons == tuple(
        lifted[:2]
    )
    out = track([[p] for p in lifted[:9]], TrackerConfig(smooth=False))
    assert (
        out[8][0].skeleton_3d is lifted[8].skeleton_3d and np.isfinite(out[8][0].velocity_mps).all()
    )


@pytest.mark.parametrize("metric", [True, False])
def test_velocities_are_recovered(metric):
    quiet = Errors(
        root_range_new_m=0.01, root_across_m=0.005, joint_range_m=0.01, joint_across_m=0.01
    )
    joints, lifted = walker(seed=5, seconds=3.0, errors=quiet, metric=metric)
    true = np.gradient(joints if metric else joints - joints[:, :1], axis=0) * FPS
    out = track([[p] for p in lifted], TrackerConfig(lag_s=0.3))
    error = np.stack([persons[0].velocity_mps for persons in out[10:-10]]) - true[10:-10]
    assert np.sqrt((error**2).sum(-1).mean()) < 0.25 < np.sqrt((true**2).sum(-1).mean())
    deviation = np.sqrt(
        [
            np.trace(persons[0].velocity_covariance_m2ps2, axis1=1, axis2=2)
            for persons in out[10:-10]
        ]
    )
    assert (deviation[:, 1:] > 0).all() and np.isfinite(deviation).all()


@pytest.mark.parametrize("lag_s", [0.0, 0.2])
def test_covariances_are_honest_about_what_stays(lag_s):
    """People who move as the model says, seen with errors that stay and errors that are new:
    squared distances are those of chi squared."""
    config = TrackerConfig(
        lag_s=lag_s,
        root_acceleration_mps2=2.0,
        joint_acceleration_mps2=4.0,
        root_new_share=0.1,
        new_share=0.1,
    )
    squares, frames, rng = [], 20, np.random.default_rng(6)
    same = Errors(0.25 * 0.9**0.5, 0.25 * 0.1**0.5, 0.05)
    for seed in range(40):
        motion, step = np.zeros((17, 6)), np.linalg.cholesky(matrices(1 / FPS)[1])
        motion[:, 3:] = rng.standard_normal((17, 3)) * np.where(
            np.arange(17)[:, None] == 0, 0.5, 1.0
        )
        points = []
        for _ in range(frames):
            points.append(motion[:, :3].copy())
            strength = np.where(np.arange(17) == 0, 2.0, 4.0)[:, None] * ACCELERATION_LASTS_S**0.5
            motion = motion @ matrices(1 / FPS)[0].T + strength * (
                rng.standard_normal((17, 6)) @ step.T
            )
        points = np.array(points)
        joints = walk(straight((0, 4), (0.01, 4), frames / FPS, FPS), FPS)
        joints = joints[:1] + points[:, :1] + np.where(np.arange(17)[:, None] == 0, 0.0, points)
        out = track([[p] for p in lift(joints, np.random.default_rng(seed), same)], config)
        pose = out[12][0].skeleton_3d
        off = pose.joints_m - pose.root_m - joints[12] + joints[12, 0]
        squares += [o @ np.linalg.solve(c, o) for o, c in zip(off[1:], pose.covariance_m2[1:])]
        ray = joints[12, 0] / np.linalg.norm(
            joints[12, 0]
        )  # across the ray nothing stays: there the covariance is too careful
        variance = ray @ pose.root_covariance_m2 @ ray
        assert variance > 0.9 * 0.25**2 * 0.9
    squares = np.array(squares)
    assert 0.85 < (squares < 6.251).mean() < 0.95  # chi squared of three dimensions: 90 %
    assert 0.85 < squares.mean() / 3 < 1.15


def test_bias_is_not_averaged_over_frames():
    joints = walk(straight((0, 4), (0.01, 4), 5.0, FPS), FPS)
    lifted = lift(joints, np.random.default_rng(7))

    def worse(person):
        pose = person.skeleton_3d
        return replace(person, skeleton_3d=replace(pose, covariance_m2=9 * pose.covariance_m2))

    out = track(
        [[worse(p) if 100 <= k < 103 else p] for k, p in enumerate(lifted)],
        TrackerConfig(lag_s=0.5),
    )
    share = [
        np.trace(o[0].skeleton_3d.covariance_m2[5]) / np.trace(p.skeleton_3d.covariance_m2[5])
        for o, p in zip(out, lifted)
    ]
    assert 0.9 <= min(share) and share[60] < 1.0 and share[101] < 4


def test_limb_lengths_are_means_over_the_track_with_their_bias():
    joints, lifted = walker(seed=8, seconds=3.0)
    out = track([[p] for p in lifted])
    true = limb_lengths(joints[0])
    first, last = out[0][0], out[-1][0]
    np.testing.assert_allclose(
        first.bone_lengths_m, limb_lengths(lifted[0].skeleton_3d.joints_m), atol=1e-12
    )
    assert first.bone_lengths_m.shape == first.bone_lengths_std_m.shape == (len(LIMBS),)
    assert (last.bone_lengths_std_m < first.bone_lengths_std_m.max()).all() and (
        last.bone_lengths_std_m > 0.015
    ).all()
    assert (np.abs(last.bone_lengths_m - true) < 3 * last.bone_lengths_std_m).all()
    assert np.isnan(lifted[0].bone_lengths_m).all()


def same(one, other) -> bool:
    """Whether two persons are the same to the last bit."""
    for part in (lambda p: p, lambda p: p.skeleton_2d, lambda p: p.skeleton_3d):
        for field in fields(part(one)):
            a, b = getattr(part(one), field.name), getattr(part(other), field.name)
            if (
                not field.name.startswith("skeleton")
                and np.asarray(a).tobytes() != np.asarray(b).tobytes()
            ):
                return False
    return True


def test_same_frames_give_same_bytes_in_any_order_of_persons():
    rng = np.random.default_rng(9)
    frames, _ = frames_of(crossing(rng, 3, seconds=1.5), rng)
    one, two = track(frames), track(frames)
    assert all(same(p, q) for a, b in zip(one, two) for p, q in zip(a, b))
    turned = track([frames[0], *(persons[::-1] for persons in frames[1:])])
    assert ids_of(turned)[1:] == [ids[::-1] for ids in ids_of(one)][1:]
    for a, b in zip(one[1:], turned[1:]):
        for p, q in zip(a, b[::-1]):
            np.testing.assert_allclose(p.skeleton_3d.joints_m, q.skeleton_3d.joints_m, atol=1e-9)


def test_lag_equals_offline_smoothing_of_the_frames_so_far():
    joints, lifted = walker(seed=10, seconds=1.5)
    frames, lag = [(stamp(k), [p]) for k, p in enumerate(lifted)], 0.2
    tracker = Tracker(TrackerConfig(lag_s=lag))
    done = 0
    for k, (at, persons) in enumerate(frames):
        for out in tracker.update(at, persons):
            assert at - out.stamp_ns >= lag * 1e9 and out.stamp_ns == stamp(done)
            if done % 6 == 0:
                pose, offline = (
                    out.persons[0].skeleton_3d,
                    smooth(frames[: k + 1])[done].persons[0].skeleton_3d,
                )
                np.testing.assert_allclose(pose.joints_m, offline.joints_m, atol=1e-9)
                np.testing.assert_allclose(pose.covariance_m2, offline.covariance_m2, atol=1e-9)
            done += 1
    assert done + len(tracker.flush()) == len(frames)

    def jerk(run):
        joints = [frame[0].skeleton_3d.joints_m for frame in run]
        return np.abs(np.diff(joints, n=2, axis=0)).mean()

    raw, filtered, smoothed = (
        ([[p] for p in lifted]),
        track([[p] for p in lifted]),
        [f.persons for f in smooth(frames)],
    )
    assert jerk(smoothed) < 0.5 * jerk(filtered) and jerk(filtered) < 0.7 * jerk(raw)


def test_uncalibrated_person_is_tracked_in_pixels():
    _, metric = walker(seed=11)
    _, flat = walker(seed=11, metric=False)
    out = track([[(metric if k < 20 else flat)[k]] for k in range(40)])
    assert {i for ids in ids_of(out) for i in ids} == {1}
    assert (out[30][0].skeleton_3d.root_m == 0).all() and not out[30][0].skeleton_3d.metric


def test_waiting_frames_are_not_searched_at_every_frame():
    class Counted(deque):
        looked_at = 0

        def __iter__(self):
            for step in super().__iter__():
                Counted.looked_at += 1
                yield step

    tracker = Tracker(TrackerConfig(lag_s=LONGEST_S))
    tracker._waiting = Counted()
    assert not any(tracker.update(stamp(k), ()) for k in range(100)) and Counted.looked_at == 100
    assert [frame.stamp_ns for frame in tracker.flush()] == [stamp(k) for k in range(100)]


def test_expected_skeletons_are_where_people_will_be():
    """Nearer than where they were, at twice the frames' period too; scores and confidences stay."""
    lifted = lift(walk(straight((-1.5, 3), (1.5, 3), 2.0, FPS), FPS), np.random.default_rng(0))
    tracker = Tracker()
    for k in range(30):
        tracker.update(stamp(k), [lifted[k]])

    for ahead in (1, 2, 4):
        (expected,) = tracker.expected(stamp(29 + ahead))
        true = lifted[29 + ahead].skeleton_2d
        last = lifted[29].skeleton_2d
        assert np.abs(expected.box_px - true.box_px).max() < np.abs(last.box_px - true.box_px).max()
        assert expected.score == last.score
        np.testing.assert_array_equal(expected.confidence, last.confidence)


def test_expectations_do_not_change_the_tracks():
    rng = np.random.default_rng(2)
    frames, _ = frames_of(crossing(rng, 3), rng)
    asked, plain = Tracker(TrackerConfig(lag_s=0.1)), Tracker(TrackerConfig(lag_s=0.1))
    for k, persons in enumerate(frames):
        asked.expected(stamp(k))
        asked.misses_somebody(stamp(k))
        for one, other in zip(asked.update(stamp(k), persons), plain.update(stamp(k), persons)):
            assert ids_of([one.persons]) == ids_of([other.persons])
            for mine, theirs in zip(one.persons, other.persons, strict=True):
                np.testing.assert_array_equal(
                    mine.skeleton_3d.joints_m, theirs.skeleton_3d.joints_m
                )
                np.testing.assert_array_equal(mine.velocity_mps, theirs.velocity_mps)


def test_lost_persons_are_missed_for_the_retention_time():
    """For two seconds at most; also those who were seen twice only, and have no id any more."""
    lifted = lift(walk(straight((-1, 3), (1, 3), 4.0, FPS), FPS), np.random.default_rng(0))
    for seen, retention_s, frames in (
        (60, 1.5, 43),
        (60, 0.5, 13),
        (60, 3.0, 58),
        (2, 1.5, 43),
        (2, 3.0, 58),
    ):
        tracker = Tracker(TrackerConfig(retention_s=retention_s))
        assert not tracker.misses_somebody(stamp(0)) and tracker.expected(stamp(0)) == []
        for k in range(seen):
            tracker.update(stamp(k), [lifted[k]])
        assert not tracker.misses_somebody(stamp(seen))
        assert len(tracker.expected(stamp(seen))) == 1

        missed = []
        for k in range(seen, seen + 70):
            tracker.update(stamp(k), [])
            assert tracker.expected(stamp(k + 1)) == []
            missed.append(tracker.misses_somebody(stamp(k + 1)))
        assert missed == [True] * frames + [False] * (70 - frames)


def test_who_is_found_again_is_not_missed():
    lifted = lift(walk(straight((-1, 3), (1, 3), 4.0, FPS), FPS), np.random.default_rng(0))
    tracker = Tracker()
    for k in range(40):
        tracker.update(stamp(k), [] if 30 <= k < 36 else [lifted[k]])
    assert not tracker.misses_somebody(stamp(40))


def test_who_is_found_under_another_id_is_not_missed():
    """One person stands, and another one of the same place is five metres farther away."""
    rng = np.random.default_rng(0)
    near = lift(walk(straight((-1, 3), (1, 3), 4.0, FPS), FPS), rng)
    far = lift(walk(straight((2, 9), (4, 9), 4.0, FPS), FPS), rng)
    tracker = Tracker()
    for k in range(20):
        (frame,) = tracker.update(stamp(k), [near[k] if k < 10 else far[k]])
    assert frame.persons[0].id == 2
    assert not tracker.misses_somebody(stamp(20))

    tracker.update(stamp(20), [near[20], far[20]])
    tracker.update(stamp(21), [near[21], far[21]])
    tracker.update(stamp(22), [far[22]])
    assert tracker.misses_somebody(stamp(23))


def test_who_is_seen_in_one_frame_alone_is_not_missed():
    """A false alarm that blinks does not keep the detector busy."""
    rng = np.random.default_rng(0)
    near = lift(walk(straight((-1, 3), (1, 3), 4.0, FPS), FPS), rng)
    far = lift(walk(straight((2, 9), (4, 9), 4.0, FPS), FPS), rng)
    tracker = Tracker()
    for k in range(20):
        tracker.update(stamp(k), [near[k], far[k]] if k == 15 else [near[k]])
        assert not tracker.misses_somebody(stamp(k + 1))


def test_nobody_is_expected_at_an_earlier_stamp_or_untracked():
    lifted = lift(walk(straight((-1, 3), (1, 3), 1.0, FPS), FPS), np.random.default_rng(0))
    tracker, untracked = Tracker(), Tracker(TrackerConfig(enabled=False))
    for one in (tracker, untracked):
        one.update(stamp(5), [lifted[5]])
    assert tracker.expected(stamp(5)) == tracker.expected(stamp(4)) == []
    assert len(tracker.expected(stamp(6))) == 1 and untracked.expected(stamp(6)) == []
    assert tracker.expected(stamp(6) + 10**10) == []
    tracker.reset()
    assert tracker.expected(stamp(6)) == []
