# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Joints that follow poses: forward kinematics say that they do, limits are kept whatever comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from diwa.control.joint_follower import SPEED_SHARE, JointFollower
from diwa.control.joint_guard import manipulability
from diwa.control.joint_solution import NEAR, load_solution
from diwa.control.kinematics import franka_chain
from diwa.control.poses import make_pose, rotated
from diwa.control.robots import load_robot

LIMITS = load_robot("fr3")
HOME = np.array(LIMITS.home.joints)
PERIOD_S = 0.01
MAKERS = [HealthCheck.function_scoped_fixture]  # the fixture only makes followers
TOOL = np.array([0.02, -0.01, 0.12])  # of the TCP in the flange's frame
TURN = Rotation.from_euler("xyz", [0.1, -0.2, -0.785])


def tcp_pose(joints):
    """Where the TCP of an arm with that tool is."""
    chain = franka_chain(joints)
    turn = Rotation.from_matrix(chain.rotation) * TURN
    return make_pose(chain.flange + chain.rotation @ TOOL, turn.as_quat())


@pytest.fixture(params=["steps", "closed form"])
def follower(request):
    """Makes followers of one kind."""
    solution = None
    if request.param == "closed form":
        pytest.importorskip("frankik")
        solution = load_solution(LIMITS)

    def make():
        it = JointFollower(LIMITS, PERIOD_S, solution)
        it.seed(HOME, tcp_pose(HOME))
        return it

    return make


def test_joints_stay_where_the_pose_is_that_of_the_start(follower):
    target = follower().follow(tcp_pose(HOME))
    np.testing.assert_allclose(target.positions, HOME, atol=1e-9)
    assert not target.velocities.any() or np.abs(target.velocities).max() < 1e-6


def test_joints_follow_a_circle_with_turns(follower):
    arm, start = follower(), tcp_pose(HOME)
    before = HOME
    for step in range(600):
        angle = 2 * np.pi * step / 300
        pose = start.copy()
        pose[:3] += [0.05 * np.sin(angle), 0.05 * (1 - np.cos(angle)), 0.03 * np.sin(2 * angle)]
        pose[3:] = rotated(start[3:], 0.2 * np.sin(angle) * np.array([0.3, 0.5, 0.8]))
        target = arm.follow(pose)
        reached = tcp_pose(target.positions)
        np.testing.assert_allclose(reached[:3], pose[:3], atol=1e-5)
        assert abs(abs(reached[3:] @ pose[3:]) - 1) < 1e-9
        np.testing.assert_allclose(target.velocities, (target.positions - before) / PERIOD_S)
        before = target.positions
    np.testing.assert_allclose(before, HOME, atol=0.05)  # the elbow has not drifted away


@settings(max_examples=30, deadline=None, suppress_health_check=MAKERS)
@given(st.lists(st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6), min_size=1, max_size=40))
def test_joints_keep_their_limits_and_speeds_whatever_is_asked(follower, jumps):
    arm, before = follower(), HOME
    margin = LIMITS.motion.joint_margin
    for jump in jumps:
        pose = tcp_pose(HOME)
        pose[:3] += jump[:3]
        pose[3:] = rotated(pose[3:], 3 * np.array(jump[3:]))
        target = arm.follow(pose)
        assert np.isfinite(target.positions).all()
        assert (target.positions >= np.array(LIMITS.arm.joint_minimum) + margin - 1e-12).all()
        assert (target.positions <= np.array(LIMITS.arm.joint_maximum) - margin + 1e-12).all()
        fastest = SPEED_SHARE * np.array(LIMITS.arm.joint_velocity)
        assert (np.abs(target.velocities) <= fastest + 1e-9).all()
        np.testing.assert_allclose(target.velocities, (target.positions - before) / PERIOD_S)
        before = target.positions


def test_out_of_reach_the_joints_come_to_rest_and_come_back(follower):
    arm, start = follower(), tcp_pose(HOME)
    away = start + np.array([1.0, 0, 0, 0, 0, 0, 0])
    for _ in range(400):
        target = arm.follow(away)
    assert target.error > 0.1
    assert np.abs(target.velocities).max() < 0.2
    for _ in range(600):
        target = arm.follow(start)
    assert target.error == pytest.approx(0.0, abs=1e-4)


ROBOTS = [load_robot("fr3"), load_robot("panda")]


def frame(rotation, position):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def random_joints(limits, library, rng):
    """Inside the limits of ours and of the library, which has narrower ones for the FR3."""
    low, high = (
        [getattr(library, f"q_{end}_{limits.name}"), getattr(limits.arm, f"joint_{end}imum")]
        for end in ("min", "max")
    )
    return rng.uniform(np.max(low, axis=0) + 0.15, np.min(high, axis=0) - 0.15)


@pytest.mark.parametrize("limits", ROBOTS, ids=lambda limits: limits.name)
def test_forward_kinematics_equal_frankik(limits):
    library = pytest.importorskip("frankik")
    rng = np.random.default_rng(0)
    hand = frame(Rotation.from_euler("z", -np.pi / 4).as_matrix(), [0, 0, 0.1034])
    for _ in range(100):
        joints = random_joints(limits, library, rng)
        chain = franka_chain(joints)
        expected = frame(chain.rotation, chain.flange) @ hand
        np.testing.assert_allclose(library.fk(joints), expected, atol=1e-9)


@pytest.mark.parametrize("closed_form", [False, True])
@pytest.mark.parametrize("limits", ROBOTS, ids=lambda limits: limits.name)
def test_what_the_follower_finds_is_one_of_frankik_s_solutions(limits, closed_form):
    library = pytest.importorskip("frankik")
    rng, compared = np.random.default_rng(1), 0
    for _ in range(100):
        start = random_joints(limits, library, rng)
        if manipulability(start) < 0.1:
            continue
        arm = JointFollower(limits, PERIOD_S, load_solution(limits) if closed_form else None)
        arm.seed(start, tcp_pose(start))
        pose = tcp_pose(start)
        pose[:3] += rng.uniform(-0.0005, 0.0005, 3)
        pose[3:] = rotated(pose[3:], rng.uniform(-0.001, 0.001, 3))
        found = arm.follow(pose)
        assert found.error < 1e-6
        reached = franka_chain(found.positions)
        oracle = library.ik_full(
            frame(reached.rotation, reached.flange),
            found.positions,
            found.positions[6],
            limits.name == "fr3",
        )
        if not np.isnan(oracle).all():  # the library does not find every solution
            compared += 1
            assert np.nanmin(np.abs(oracle - found.positions).max(axis=1)) < 1e-6
    assert compared > 30


@pytest.mark.parametrize("limits", ROBOTS, ids=lambda limits: limits.name)
def test_closed_form_takes_the_expected_branch_or_none(limits):
    library = pytest.importorskip("frankik")
    solution, rng, found = load_solution(limits), np.random.default_rng(2), 0
    for _ in range(100):
        joints = random_joints(limits, library, rng)
        chain = franka_chain(joints)
        near = joints + np.append(rng.uniform(-1e-5, 1e-5, 6), 0.0)
        exact = solution.solve(chain.flange, chain.rotation, near)
        if exact is not None:
            found += 1
            np.testing.assert_allclose(exact, joints, atol=1e-6)
        other = joints + np.append(np.full(6, 10 * NEAR), 0.0)
        assert solution.solve(chain.flange, chain.rotation, other) is None
    assert found > 80


@pytest.mark.parametrize("seed", range(4))
def test_closed_form_moves_as_smoothly_as_the_steps_do(seed):
    """It hands over to the steps and back where it has no answer; nothing must show."""
    pytest.importorskip("frankik")
    rng = np.random.default_rng(seed)
    start, phase = HOME + rng.uniform(-0.2, 0.2, 7), rng.uniform(0, 2 * np.pi, 6)
    paths = []
    for solution in (None, load_solution(LIMITS)):
        arm, home = JointFollower(LIMITS, PERIOD_S, solution), tcp_pose(start)
        arm.seed(start, home)
        path = []
        for step in range(250):
            way = min(1.0, step / 100) ** 2 * (np.sin(0.012 * step + phase) - np.sin(phase))
            pose = home.copy()
            pose[:3] += 0.06 * way[:3]
            pose[3:] = rotated(home[3:], 0.2 * way[3:])
            path.append(arm.follow(pose).positions)
        paths.append(np.array(path))
    np.testing.assert_allclose(paths[1], paths[0], atol=2e-2)
    rates = [np.abs(np.diff(path, axis=0)).max() for path in paths]
    jumps = [np.abs(np.diff(path, n=2, axis=0)).max() for path in paths]
    assert rates[1] < 1.1 * rates[0]
    assert jumps[1] < 1.1 * jumps[0] + 2 * NEAR
