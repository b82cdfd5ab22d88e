# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in, no target is beyond the limits of position, speed, acceleration, tilt, leash.

Angles are checked with SciPy's rotations, which the code under test does not use.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from diwa.control.poses import integrate_action, make_pose, quaternion_from_euler
from diwa.control.robots import load_robot
from diwa.control.targets import TargetStream
from diwa.data.contract import Workspace

SLACK = 2e-6  # [m], [rad]: actions are float32
CENTRE = make_pose((0.0, -0.2, 0.5), quaternion_from_euler((np.pi, 0.0, 1.5)))
OPEN = 1.0

anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
requests = st.one_of(
    st.none(),
    hnp.arrays(np.float64, 7, elements=anything),
    hnp.arrays(np.float64, 7, elements=st.floats(-3.0, 3.0)),
    hnp.arrays(np.float64, 7, elements=st.sampled_from([-1.0, 0.0, 1.0])),
    hnp.arrays(np.float64, st.integers(0, 9), elements=anything),
    st.sampled_from(["left", [], [[0.0] * 7], {}]),
)
tidy_euler = st.tuples(st.floats(2.2, 4.0), st.floats(-0.5, 0.5), st.floats(-3.2, 3.2))
any_euler = hnp.arrays(np.float64, 3, elements=st.floats(-3.2, 3.2))
poses = st.builds(
    lambda position, euler: make_pose(position, quaternion_from_euler(euler)),
    hnp.arrays(np.float64, 3, elements=st.floats(-0.6, 0.9)),
    st.one_of(tidy_euler, any_euler),
)
nonsense = hnp.arrays(np.float64, 7, elements=anything)
follows = st.floats(0.0, 1.0)  # share of its way to the desired pose that the arm goes
scales = st.one_of(st.just(1.0), st.just(0.25), st.floats(0.0, 1.0), anything)
spots = st.one_of(follows, st.sampled_from([0.0, 0.5, 1.0]), poses, nonsense)
# The same many times over: only motion that goes on for long gets anywhere.
steps = st.tuples(st.just("step"), requests, spots, scales, st.sampled_from([1, 1, 2, 5, 30]))
operations = st.one_of(
    steps,
    steps,
    steps,
    st.tuples(st.just("hold")),
    st.tuples(st.just("seed"), st.one_of(poses, nonsense)),
    st.tuples(st.just("sample"), st.one_of(st.floats(0.0, 1.0), anything)),
)


def angle(first, second):
    return (Rotation.from_quat(second[3:]) * Rotation.from_quat(first[3:]).inv()).magnitude()


def turn_between(first, second):
    return (Rotation.from_quat(second[3:]) * Rotation.from_quat(first[3:]).inv()).as_rotvec()


def lean(pose):
    """Pitch and roll of the hand against pointing down."""
    x, y, z = Rotation.from_quat(pose[3:]).inv().apply([0.0, 0.0, -1.0])
    return np.abs([np.arctan2(x, z), np.arctan2(y, z)])


def excess(pose, motion):
    """How far the hand leans beyond its limits; above the horizontal: its angle from down."""
    from_down = np.arccos(-Rotation.from_quat(pose[3:]).as_matrix()[2, 2].clip(-1.0, 1.0))
    if from_down >= np.pi / 2:
        return from_down
    return (lean(pose) - [motion.max_pitch, motion.max_roll]).max()


def distance_to_line(point, end):
    """From `point` to the line from the origin to `end`."""
    shares = np.linspace(0.0, 1.0, 401)[:, None]
    return np.linalg.norm(point - shares * end, axis=1).min()


class Limits(NamedTuple):
    """As the test understands them: from the robot's file and the contract."""

    motion: object
    arm: object
    box: object
    spec: object
    period: float


@pytest.fixture(scope="module", params=["fr3", "panda"])
def robot(request):
    return load_robot(request.param)


@pytest.fixture(scope="module")
def fr3():
    return load_robot("fr3")


@pytest.fixture(scope="module")
def limits(robot, camera_contract):
    period = 1 / camera_contract.rate_hz
    box, spec = camera_contract.workspace, camera_contract.action
    return Limits(robot.motion, robot.arm, box, spec, period)


def check_path(limits, before, after, previous, scale):
    """Speed and acceleration of one period; `previous`: motion (3,) and turn (3,) of the last."""
    motion, period = limits.motion, limits.period
    kinds = (
        (
            after[:3] - before[:3],
            motion.max_speed,
            motion.max_acceleration,
            motion.max_deceleration,
        ),
        (
            turn_between(before, after),
            *(motion.max_turn_rate, motion.max_turn_acceleration, motion.max_turn_deceleration),
        ),
    )
    for (moved, speed, acceleration, deceleration), last in zip(kinds, previous, strict=True):
        assert np.linalg.norm(moved) <= scale * speed * period + SLACK
        assert np.linalg.norm(moved - last) <= deceleration * period**2 + SLACK
        assert distance_to_line(moved, last) <= acceleration * period**2 + SLACK
    assert np.linalg.norm(kinds[0][0] - previous[0]) / period**2 <= (
        limits.arm.translation_acceleration
    )
    assert np.linalg.norm(kinds[1][0] - previous[1]) / period**2 <= limits.arm.rotation_acceleration
    return kinds[0][0], kinds[1][0]


def check_place(limits, before, after, measured):
    """Workspace, tilt and leash: within, or no farther out than before."""
    box, motion = limits.box, limits.motion
    assert (after[:3] >= np.minimum(box.minimum, before[:3]) - SLACK).all()
    assert (after[:3] <= np.maximum(box.maximum, before[:3]) + SLACK).all()
    assert excess(after, motion) <= max(excess(before, motion), 0.0) + SLACK
    if measured is None:
        return
    away = np.linalg.norm(before[:3] - measured[:3])
    assert np.linalg.norm(after[:3] - measured[:3]) <= max(motion.leash_m, away) + SLACK
    turned = angle(before, measured)
    assert angle(after, measured) <= max(motion.leash_rad, turned) + SLACK


def is_pose(value):
    if not np.isfinite(value).all() or np.abs(value[:3]).max() > 100:
        return False
    return 0.5 < np.abs(value[3:]).sum() < 4.0


def measured_from(stream, spot, last):
    """The arm's pose for a step: part of the way to the desired one, or whatever is given."""
    if not isinstance(spot, float):
        return spot
    position = last[:3] + spot * (stream.desired[:3] - last[:3])
    turned = Rotation.from_rotvec(spot * turn_between(last, stream.desired))
    return make_pose(position, (turned * Rotation.from_quat(last[3:])).as_quat())


def check_step(stream, limits, operation, measured, previous):
    """One step with everything that must be true after it; what the next one builds on."""
    request, spot, scale = operation
    before, pose = stream.desired, measured_from(stream, spot, measured)
    safe = stream.step(request, pose, scale)
    assert safe.action.shape == (7,)
    assert safe.action.dtype == np.float32
    assert np.isfinite(safe.action).all()
    assert np.abs(safe.action).max() <= 1.0
    assert safe.action[6] in (-1.0, 1.0)
    told = integrate_action(before, safe.action, limits.spec)
    assert np.linalg.norm(told[:3] - stream.desired[:3]) < 1e-12
    assert angle(told, stream.desired) < 1e-7
    share = 0.0 if np.isnan(scale) else min(max(scale, 0.0), 1.0)
    previous = check_path(limits, before, stream.desired, previous, share)
    valid = is_pose(pose)
    check_place(limits, before, stream.desired, pose if valid else None)
    assert valid or (safe.rejected and not safe.action[:6].any())
    return pose if valid else measured, previous


@settings(max_examples=150, deadline=None)
@given(poses, st.lists(operations, max_size=12))
def test_no_sequence_of_inputs_leads_beyond_the_limits(
    robot, limits, camera_contract, start, sequence
):
    stream, rest = TargetStream(robot, camera_contract), (np.zeros(3), np.zeros(3))
    assert stream.seed(start)
    measured, previous = start, rest
    for kind, *values in sequence:
        if kind == "step":
            for _ in range(values[3]):
                measured, previous = check_step(stream, limits, values[:3], measured, previous)
        elif kind == "hold":
            stream.hold()
            previous = rest
        elif kind == "seed" and stream.seed(values[0]):
            previous, measured = rest, values[0]
            np.testing.assert_array_equal(stream.desired[:3], measured[:3])
        elif kind == "sample":
            target = stream.sample(values[0])
            assert np.isfinite(target.pose).all()
            assert np.linalg.norm(target.twist[:3]) <= limits.motion.max_speed + 1e-4
            assert np.linalg.norm(target.twist[3:]) <= limits.motion.max_turn_rate + 1e-4


def walk(rng, steps):
    """Restless requests: directions that last, turns, reversals, stops; and where the arm is."""
    request, spot, scale = np.zeros(7), 1.0, 1.0
    for _ in range(steps):
        kind = rng.integers(15)
        if kind == 0:
            request = rng.uniform(-2.0, 2.0, 7)
        elif kind == 1:
            request = rng.integers(-1, 2, 7).astype(float)
        elif kind == 2:
            request = request + rng.normal(0.0, 0.3, 7)
        elif kind == 3:
            request = -request
        elif kind == 4:
            spot = float(rng.choice([0.0, 0.1, 0.5, 1.0]))
            scale = float(rng.choice([0.25, 1.0, 1.0]))
        hostile = rng.integers(40)
        sent = (None, np.full(7, np.nan), np.zeros(3))[hostile] if hostile < 3 else request
        yield sent, (np.full(7, np.nan) if hostile == 3 else spot), scale


@pytest.mark.parametrize("seed", [0, 1])
def test_long_restless_motion_stays_within_the_limits(fr3, camera_contract, seed):
    box = Workspace(minimum=(-0.05, -0.25, 0.45), maximum=(0.05, -0.15, 0.55))
    contract = camera_contract.model_copy(update={"workspace": box})
    limits = Limits(fr3.motion, fr3.arm, box, contract.action, 1 / contract.rate_hz)
    rng, rest = np.random.default_rng(seed), (np.zeros(3), np.zeros(3))
    stream = TargetStream(fr3, contract)
    stream.seed(CENTRE)
    measured, previous, travelled = CENTRE, rest, 0.0
    for operation in walk(rng, 700):
        measured, previous = check_step(stream, limits, operation, measured, previous)
        travelled += np.linalg.norm(previous[0])
        if rng.random() < 0.02:  # the arm is pushed, up to twice its leash
            measured = make_pose(measured[:3] + rng.uniform(-0.06, 0.06, 3), measured[3:])
        if rng.random() < 0.03:
            stream.sample(rng.random())
            stream.hold()
            previous = rest
    counts = stream.counts
    assert travelled > 1.0  # [m] the limits were not kept by standing still
    assert min(counts.clipped, counts.workspace_limited, counts.leashed, counts.rejected) > 10


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(requests, follows, scales, st.booleans()), max_size=30))
def test_targets_sent_at_100_hz_stay_in_the_box_and_below_the_speed(fr3, camera_contract, sequence):
    contract = camera_contract.model_copy(update={"rate_hz": 25.0})
    stream, rate = TargetStream(fr3, contract), 100.0
    stream.seed(CENTRE)
    sent, measured = [CENTRE], CENTRE
    for request, follow, scale, interrupted in sequence:
        stream.step(request, measured, scale)
        for tick in (1, 2) if interrupted else (1, 2, 3, 4):
            sent.append(stream.sample(tick / 4).pose)
        measured = measured_from(stream, follow, measured)
        if interrupted:  # in the middle of a period
            stream.hold()
            sent.append(stream.sample(1.0).pose)
            np.testing.assert_array_equal(sent[-1], sent[-2])
    path = np.array(sent)
    speeds = np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1) * rate
    turns = np.array([angle(a, b) for a, b in pairwise(path)]) * rate
    assert speeds.max(initial=0.0) <= fr3.motion.max_speed + 1e-3
    assert turns.max(initial=0.0) <= fr3.motion.max_turn_rate + 1e-3
    assert (path[:, :3] >= np.array(contract.workspace.minimum) - SLACK).all()
    assert (path[:, :3] <= np.array(contract.workspace.maximum) + SLACK).all()
    tilts = np.array([lean(pose) for pose in path])
    assert (tilts <= np.array([fr3.motion.max_pitch, fr3.motion.max_roll]) + 1e-4).all()
    assert (np.abs((path[1:, 3:] * path[:-1, 3:]).sum(axis=1) - 1) < 0.01).all()  # no sign flips


@settings(max_examples=50, deadline=None)
@given(st.lists(hnp.arrays(np.float64, 7, elements=st.floats(-2.0, 2.0)), min_size=1, max_size=40))
def test_arm_that_does_not_move_at_all_is_never_pulled_beyond_the_leash(
    fr3, camera_contract, requests
):
    stream = TargetStream(fr3, camera_contract)
    stream.seed(CENTRE)
    for request in requests:
        stream.step(request, CENTRE)
        assert stream.stretch(CENTRE) <= 1.0 + 1e-3
        stream.sample(1.0)
        assert stream.stretch(CENTRE) <= 1.0 + 1e-3


@pytest.fixture
def stream(fr3, camera_contract):
    stream = TargetStream(fr3, camera_contract)
    assert not stream.seeded
    stream.seed(CENTRE)
    assert stream.seeded
    return stream


def run(stream, action, count, scale=1.0):
    """The same action `count` times, the arm following at once."""
    return [stream.step(np.array(action), stream.desired, scale) for _ in range(count)]


def test_speeds_up_gradually_to_the_limit_and_stops_at_once(stream, fr3):
    speeds = []
    for _ in range(8):
        stream.step(np.array([1.0, 0, 0, 0, 0, 0, OPEN]), stream.desired)
        speeds.append(stream.sample(0.5).twist[0])
    expected = np.minimum(np.arange(1, 9) * 1.5 / 30, fr3.motion.max_speed)
    np.testing.assert_allclose(speeds, expected, atol=1e-5)
    stop = stream.step(np.array([0.0] * 6 + [OPEN]), stream.desired)
    assert not stop.action[:6].any()
    np.testing.assert_allclose(stream.sample(0.5).twist, 0.0, atol=1e-12)


def test_slow_actions_pass_as_they_are(stream):
    action = np.array([0.05, -0.04, 0.03, 0.02, 0.02, -0.05, -1.0])
    safe = stream.step(action, stream.desired)
    np.testing.assert_allclose(safe.action, action, atol=1e-6)
    assert not (safe.clipped or safe.leashed or safe.workspace_limited or safe.rejected)
    assert stream.counts.actions == 1
    assert stream.counts.clipped == 0


def test_scaled_path_has_the_shape_of_the_full_one_at_part_of_the_speed(fr3, camera_contract):
    rng = np.random.default_rng(3)
    actions = np.concatenate([rng.uniform(-0.04, 0.04, (30, 6)), np.ones((30, 1))], axis=1)
    ends = {}
    for scale in (1.0, 0.25):
        stream = TargetStream(fr3, camera_contract)
        stream.seed(CENTRE)
        path = []
        for action in actions:
            stream.step(action, stream.desired, scale)
            path.append(stream.desired[:3] - CENTRE[:3])
        ends[scale] = np.array(path)
    np.testing.assert_allclose(ends[0.25], 0.25 * ends[1.0], atol=1e-7)


def test_fast_actions_at_a_quarter_of_the_speed_stay_below_a_quarter_of_the_limit(stream, fr3):
    run(stream, [1.0, 0, 0, 0, 0, 0, OPEN], 10, scale=0.25)
    assert stream.sample(0.5).twist[0] == pytest.approx(0.25 * fr3.motion.max_speed, abs=1e-5)


def test_targets_go_straight_and_turn_evenly_with_the_twist_of_the_motion(stream):
    run(stream, [0.1, 0.2, 0, 0.1, -0.1, 0.2, OPEN], 5)
    before = stream.desired
    stream.step(np.array([0.1, 0.2, 0, 0.1, -0.1, 0.2, OPEN]), before)
    after = stream.desired
    for share in (0.0, 0.25, 0.5, 1.0):
        target = stream.sample(share)
        line = before[:3] + share * (after[:3] - before[:3])
        np.testing.assert_allclose(target.pose[:3], line, atol=1e-12)
        expected = Rotation.from_rotvec(share * turn_between(before, after))
        arc = make_pose(line, (expected * Rotation.from_quat(before[3:])).as_quat())
        assert angle(arc, target.pose) < 1e-9
        np.testing.assert_allclose(target.twist[:3], (after[:3] - before[:3]) * 30, atol=1e-9)
        np.testing.assert_allclose(target.twist[3:], turn_between(before, after) * 30, atol=1e-9)


def test_late_step_leaves_the_arm_at_the_end_of_the_period_and_fades_the_twist(stream):
    run(stream, [0.1, 0, 0, 0, 0, 0, OPEN], 5)
    end = stream.sample(1.0)
    late = [stream.sample(share) for share in (1.25, 1.5, 2.0, 9.0, float("inf"))]
    for target in late:
        np.testing.assert_array_equal(target.pose, end.pose)
    fade = [target.twist[0] / end.twist[0] for target in late]
    np.testing.assert_allclose(fade, [0.75, 0.5, 0.0, 0.0, 0.0], atol=1e-9)


def test_one_period_ends_where_the_next_begins(stream):
    run(stream, [0.5, -0.3, 0.2, 0.1, 0, 0.5, OPEN], 3)
    for _ in range(5):
        end = stream.sample(1.0).pose
        np.testing.assert_array_equal(end, stream.desired)
        run(stream, [-0.5, 0.3, 0.2, 0.1, 0, 0.5, OPEN], 1)
        np.testing.assert_allclose(stream.sample(0.0).pose, end, atol=1e-12)


def test_hold_stays_at_the_last_target(stream):
    run(stream, [1.0, 0, 0, 0, 0, 0, OPEN], 6)
    middle = stream.sample(0.5).pose
    stream.hold()
    np.testing.assert_array_equal(stream.desired, middle)
    np.testing.assert_array_equal(stream.sample(1.0).pose, middle)
    assert not stream.sample(1.0).twist.any()
    safe = stream.step(None, stream.desired)
    assert not safe.action[:6].any()


def test_stays_without_an_action_and_keeps_the_gripper(stream):
    stream.step(np.array([0.0] * 6 + [-1.0]), stream.desired)
    safe = stream.step(None, stream.desired)
    np.testing.assert_array_equal(safe.action, [0, 0, 0, 0, 0, 0, -1])
    assert not safe.rejected


def test_seed_refuses_what_is_no_pose_and_keeps_the_old(stream):
    run(stream, [0.1, 0, 0, 0, 0, 0, OPEN], 2)
    before = stream.desired
    for value in (np.full(7, np.nan), np.zeros(7), np.zeros(6), None):
        assert not stream.seed(value)
    np.testing.assert_array_equal(stream.desired, before)


def test_seed_begins_at_rest_with_the_gripper_given(stream):
    run(stream, [1.0, 0, 0, 0, 0, 0, OPEN], 6)
    assert stream.seed(CENTRE, gripper=-1.0)
    assert not stream.sample(0.5).twist.any()
    assert stream.step(None, CENTRE).action[6] == -1.0
    safe = stream.step(np.array([1.0, 0, 0, 0, 0, 0, -1.0]), CENTRE)
    assert safe.action[0] == pytest.approx(1.5 / 900 / 0.02, rel=1e-4)


def test_tilted_hand_can_still_yaw_and_come_back(stream):
    run(stream, [0, 0, 0, 0, 1.0, 0, OPEN], 60)
    assert lean(stream.desired)[0] <= 0.524 + 1e-5 or lean(stream.desired)[1] <= 1.047 + 1e-5
    at_limit = stream.desired
    run(stream, [0, 0, 0, 0, 1.0, 0.3, OPEN], 5)
    assert angle(at_limit, stream.desired) > 0.02  # yaw goes on
    np.testing.assert_allclose(lean(stream.desired), lean(at_limit), atol=1e-3)
    run(stream, [0, 0, 0, 0, -1.0, 0, OPEN], 20)
    assert lean(stream.desired).max() < lean(at_limit).max() - 0.1


def test_turn_about_the_fingers_axis_may_go_less_far_than_across(fr3, camera_contract):
    reached = []
    for axis in (3, 4):
        stream = TargetStream(fr3, camera_contract)
        stream.seed(make_pose(CENTRE[:3], quaternion_from_euler((np.pi, 0.0, 0.0))))
        action = np.zeros(7)
        action[axis] = 1.0
        run(stream, action, 120)
        reached.append(lean(stream.desired).max())
    np.testing.assert_allclose(reached, [fr3.motion.max_roll, fr3.motion.max_pitch], atol=1e-3)


def test_arm_that_started_outside_may_only_come_back(fr3, camera_contract):
    stream = TargetStream(fr3, camera_contract)
    high = camera_contract.workspace.maximum
    start = make_pose((high[0] + 0.05, -0.2, 0.5), CENTRE[3:])
    stream.seed(start)
    assert run(stream, [0.5, 0, 0, 0, 0, 0, OPEN], 1)[0].workspace_limited
    assert stream.desired[0] == pytest.approx(start[0], abs=1e-9)
    run(stream, [-0.5, 0, 0, 0, 0, 0, OPEN], 20)
    assert stream.desired[0] < high[0]


def test_stretch_tells_when_the_arm_does_not_follow(stream):
    pushed = CENTRE.copy()
    pushed[1] += 0.10
    assert stream.stretch(CENTRE) == 0.0
    assert stream.stretch(pushed) == pytest.approx(2.0)
    assert stream.stretch(np.full(7, np.nan)) == float("inf")


def test_high_control_rate_lowers_the_speed_so_that_one_period_suffices_to_stop(
    fr3, camera_contract
):
    contract = camera_contract.model_copy(update={"rate_hz": 100.0})
    stream = TargetStream(fr3, contract)
    stream.seed(CENTRE)
    run(stream, [1.0, 0, 0, 0, 0, 0, OPEN], 30)
    assert stream.sample(0.5).twist[0] == pytest.approx(fr3.motion.max_deceleration / 100, rel=1e-3)
