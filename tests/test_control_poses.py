# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""SciPy is the oracle of the pose arithmetic."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diwa.control import poses
from diwa.data.contract import ActionSpec

SPEC = ActionSpec()


@pytest.fixture
def quaternions() -> np.ndarray:
    return Rotation.random(500, random_state=0).as_quat()


def test_conversions_equal_scipy(quaternions):
    rotation = Rotation.from_quat(quaternions)
    euler = poses.euler_from_quaternion(quaternions)
    matrix = poses.matrix_from_quaternion(quaternions)
    np.testing.assert_allclose(euler, rotation.as_euler("xyz"), atol=1e-7)
    np.testing.assert_allclose(matrix, rotation.as_matrix(), atol=1e-12)
    back = Rotation.from_quat(poses.quaternion_from_euler(euler))
    assert (rotation.inv() * back).magnitude().max() < 1e-9


def test_rotation_6d_is_the_first_two_columns(quaternions):
    matrix = Rotation.from_quat(quaternions).as_matrix()
    expected = np.concatenate([matrix[:, :, 0], matrix[:, :, 1]], axis=1)
    np.testing.assert_allclose(poses.rotation_6d_from_quaternion(quaternions), expected, atol=1e-12)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_euler_reconstructs_the_rotation_at_gimbal_lock(sign):
    rotation = Rotation.from_quat(
        poses.quaternion_from_euler(np.array([0.7, sign * np.pi / 2, -1.2]))
    )
    euler = poses.euler_from_quaternion(rotation.as_quat())
    back = Rotation.from_quat(poses.quaternion_from_euler(euler))
    assert (rotation.inv() * back).magnitude() < 1e-5


def test_angle_between_equals_scipy_and_ignores_sign(quaternions):
    others = np.roll(quaternions, 1, axis=0)
    expected = (Rotation.from_quat(quaternions).inv() * Rotation.from_quat(others)).magnitude()
    np.testing.assert_allclose(poses.angle_between(quaternions, others), expected, atol=1e-9)
    np.testing.assert_allclose(poses.angle_between(quaternions, -others), expected, atol=1e-9)
    assert poses.angle_between(quaternions, -quaternions).max() < 1e-12


def test_wrap_angle_stays_in_one_turn():
    angles = np.linspace(-20.0, 20.0, 401)
    wrapped = poses.wrap_angle(angles)
    assert ((wrapped >= -np.pi) & (wrapped < np.pi)).all()
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * angles), atol=1e-12)


def test_integrate_action_adds_position_and_euler_angles():
    pose = poses.make_pose((0.1, -0.2, 0.5), poses.quaternion_from_euler((3.1, 0.1, 1.5)))
    action = np.array([1.0, -0.5, 0.25, 0.2, -0.4, 1.0, -1.0])
    after = poses.integrate_action(pose, action, SPEC)
    np.testing.assert_allclose(after[:3], [0.12, -0.21, 0.505], atol=1e-12)
    expected = Rotation.from_euler("xyz", [3.11, 0.08, 1.55])
    assert (expected.inv() * Rotation.from_quat(after[3:])).magnitude() < 1e-9


def test_relative_motion_undoes_integrate_action_across_the_wrap():
    pose = poses.make_pose((0.0, 0.0, 0.5), poses.quaternion_from_euler((3.13, 0.0, -3.13)))
    action = np.array([0.3, -0.2, 0.1, 0.9, 0.4, -0.9, 1.0])
    after = poses.integrate_action(pose, action, SPEC)
    np.testing.assert_allclose(poses.relative_motion(pose, after, SPEC), action[:6], atol=1e-9)


def test_rotation_vector_leads_from_one_to_the_other_as_in_scipy(quaternions):
    for first, second in pairwise(quaternions):
        turn = poses.rotation_vector(first, second)
        expected = Rotation.from_quat(second) * Rotation.from_quat(first).inv()
        np.testing.assert_allclose(turn, expected.as_rotvec(), atol=1e-9)
        assert poses.angle_between(poses.rotated(first, turn), second) < 1e-9


def test_no_rotation_and_tiny_ones_keep_their_precision(quaternions):
    np.testing.assert_allclose(poses.rotation_vector(quaternions[0], quaternions[0]), 0, atol=1e-15)
    identity, tiny = np.array([0.0, 0.0, 0.0, 1.0]), np.array([1e-14, -2e-13, 3e-10])
    turn = poses.rotation_vector(identity, poses.rotated(identity, tiny))
    np.testing.assert_allclose(turn, tiny, atol=1e-20)
