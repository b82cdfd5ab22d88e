# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Joints that follow poses: forward kinematics say that they do, limits are kept whatever comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from diwa.control.joint_follower import SPEED_SHARE, JointFollower
from diwa.control.kinematics import franka_chain
from diwa.control.poses import make_pose, rotated
from diwa.control.robots import load_robot

LIMITS = load_robot("fr3")
HOME = np.array(LIMITS.home.joints)
PERIOD_S = 0.01
TOOL = np.array([0.02, -0.01, 0.12])  # of the TCP in the flange's frame
TURN = Rotation.from_euler("xyz", [0.1, -0.2, -0.785])


def tcp_pose(joints):
    """Where the TCP of an arm with that tool is."""
    chain = franka_chain(joints)
    turn = Rotation.from_matrix(chain.rotation) * TURN
    return make_pose(chain.flange + chain.rotation @ TOOL, turn.as_quat())


def follower(joints=HOME):
    it = JointFollower(LIMITS, PERIOD_S)
    it.seed(joints, tcp_pose(joints))
    return it


def test_joints_stay_where_the_pose_is_that_of_the_start():
    target = follower().follow(tcp_pose(HOME))
    np.testing.assert_allclose(target.positions, HOME, atol=1e-9)
    assert not target.velocities.any() or np.abs(target.velocities).max() < 1e-6


def test_joints_follow_a_circle_with_turns():
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


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6), min_size=1, max_size=40))
def test_joints_keep_their_limits_and_speeds_whatever_is_asked(jumps):
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


def test_out_of_reach_the_joints_come_to_rest_and_come_back():
    arm, start = follower(), tcp_pose(HOME)
    away = start + np.array([1.0, 0, 0, 0, 0, 0, 0])
    for _ in range(400):
        target = arm.follow(away)
    assert target.error > 0.1
    assert np.abs(target.velocities).max() < 0.2
    for _ in range(600):
        target = arm.follow(start)
    assert target.error == pytest.approx(0.0, abs=1e-4)
