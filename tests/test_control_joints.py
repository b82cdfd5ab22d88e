# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Kinematics against PyBullet's Panda; joints keep their margins wherever poses may lead."""

import numpy as np
import pybullet_data
import pytest
from scipy.spatial.transform import Rotation

from diwa.control.joint_guard import JointGuard, damped_inverse, manipulability
from diwa.control.kinematics import franka_chain
from diwa.control.poses import make_pose, rotation_vector
from diwa.control.robots import load_robot
from diwa.control.targets import TargetStream
from diwa.data.contract import Workspace
from diwa.sim.bullet import Bullet

FR3 = load_robot("fr3")
LOW, HIGH = np.array(FR3.arm.joint_minimum), np.array(FR3.arm.joint_maximum)
HOME = np.array(FR3.home.joints)
OPEN = 1.0
HAND_LINK = 8  # of PyBullet's Panda
AT_REST = np.zeros(3)


@pytest.fixture(scope="module")
def panda():
    """PyBullet's Panda, which has the same links."""
    bullet = Bullet()
    body = bullet.loadURDF(
        f"{pybullet_data.getDataPath()}/franka_panda/panda.urdf", useFixedBase=True
    )
    yield bullet, body
    bullet.close()


def tcp_pose(joints):
    """The hand's TCP; its frame is turned by -45 degrees against the flange's, as on a real arm."""
    chain = franka_chain(joints)
    rotation = Rotation.from_matrix(chain.rotation) * Rotation.from_euler("z", -np.pi / 4)
    return make_pose(chain.flange + 0.1034 * chain.rotation[:, 2], rotation.as_quat())


@pytest.mark.parametrize("seed", range(5))
def test_flange_and_jacobian_equal_pybullet(panda, seed):
    bullet, body = panda
    joints = np.random.default_rng(seed).uniform(LOW + 0.2, HIGH - 0.2)
    for index, angle in enumerate(joints):
        bullet.resetJointState(body, index, angle)
    chain = franka_chain(joints)
    link = bullet.getLinkState(body, HAND_LINK, computeForwardKinematics=True)
    np.testing.assert_allclose(chain.flange, link[4], atol=1e-6)
    zeros = [0.0] * 9
    local = bullet.getLinkState(body, HAND_LINK)[2]
    linear, angular = bullet.calculateJacobian(
        body, HAND_LINK, local, [*joints, 0.0, 0.0], zeros, zeros
    )
    centre = np.array(link[0])
    expected = np.concatenate([linear, angular])[:, :7]
    np.testing.assert_allclose(chain.jacobian(centre), expected, atol=1e-5)


def test_hand_is_where_the_maker_says_at_the_usual_start():
    joints = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
    np.testing.assert_allclose(tcp_pose(joints)[:3], [0.3069, 0.0, 0.4869], atol=1e-4)


def test_manipulability_is_low_where_the_arm_is_stretched():
    stretched = HOME.copy()
    stretched[3] = -0.5
    assert manipulability(HOME) > 0.2
    assert manipulability(stretched) < 0.01
    assert manipulability(np.full(7, np.nan)) == 0.0


def test_damped_inverse_is_the_inverse_away_from_singular_poses():
    jacobian = franka_chain(HOME).jacobian(tcp_pose(HOME)[:3])
    inverse = damped_inverse(jacobian, FR3.motion.min_manipulability)
    np.testing.assert_allclose(jacobian @ inverse, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(inverse, np.linalg.pinv(jacobian), atol=1e-9)


def guard_at(joints, desired=None):
    guard = JointGuard(FR3, 1 / 30)
    pose = tcp_pose(joints)
    guard.look(joints, pose, pose if desired is None else desired)
    return guard


def test_joint_at_its_margin_may_go_back_and_not_on():
    joints = HOME.copy()
    joints[5] = HIGH[5] - 0.101
    guard = guard_at(joints)
    chain = franka_chain(joints)
    jacobian = chain.jacobian(tcp_pose(joints)[:3])
    inverse = np.linalg.pinv(jacobian)
    outward = jacobian @ (inverse @ jacobian[:, 5])
    outward = 0.01 * outward / (inverse @ outward)[5]
    assert not guard.allowed(outward[:3], outward[3:])
    assert guard.allowed(-outward[:3], -outward[3:])
    assert guard.allowed(AT_REST, AT_REST)


def test_joint_faster_than_half_its_speed_is_not_allowed():
    guard, turn = guard_at(HOME), np.array([0.0, 0.0, 0.01])
    inverse = np.linalg.pinv(franka_chain(HOME).jacobian(tcp_pose(HOME)[:3]))
    speeds = np.abs(inverse @ np.append(AT_REST, turn)) * 30
    to_limit = 0.5 * (np.array(FR3.arm.joint_velocity) / speeds).min()
    assert not guard.allowed(AT_REST, 1.01 * to_limit * turn)
    assert guard.allowed(AT_REST, 0.99 * to_limit * turn)


def test_arm_that_is_stretched_may_only_be_bent():
    stretched = HOME.copy()
    stretched[[1, 3, 5]] = 0.3, -0.75, 1.6
    assert manipulability(stretched) < FR3.motion.min_manipulability
    pose = tcp_pose(stretched)
    away = (pose[:3] - np.array([0, 0, 0.333])) / np.linalg.norm(pose[:3] - np.array([0, 0, 0.333]))
    guard = guard_at(stretched)
    assert not guard.allowed(0.002 * away, AT_REST)
    assert guard.allowed(-0.002 * away, AT_REST)


@pytest.mark.parametrize("joints", [None, np.zeros(6), np.full(7, np.nan)])
def test_guard_allows_what_it_cannot_judge(joints):
    guard = JointGuard(FR3, 1 / 30)
    guard.look(joints, tcp_pose(HOME), tcp_pose(HOME))
    assert guard.allowed(np.array([0.008, 0, 0]), AT_REST)


def test_guard_does_not_judge_poses_of_another_frame():
    pose = tcp_pose(HOME)
    pose[0] += 1.0
    guard = JointGuard(FR3, 1 / 30)
    guard.look(HOME, pose, pose)
    assert guard.allowed(np.array([1.0, 0, 0]), AT_REST)


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (-1, 0, 0.3), (0.3, 1, 1), (0, 0, -1)])
def test_arm_led_far_in_one_direction_keeps_its_margins(camera_contract, direction):
    space = Workspace(minimum=(-2.0, -2.0, -2.0), maximum=(2.0, 2.0, 2.0))
    contract = camera_contract.model_copy(update={"workspace": space})
    stream, joints = TargetStream(FR3, contract), HOME.copy()
    stream.seed(tcp_pose(joints))
    action = np.array([*direction, 0, 0, 0.2, OPEN], dtype=float)
    limited = 0
    for _ in range(150):
        measured = tcp_pose(joints)
        limited += stream.step(action, measured, joints=joints).workspace_limited
        way = np.append(
            stream.desired[:3] - measured[:3], rotation_vector(measured[3:], stream.desired[3:])
        )
        inverse = damped_inverse(franka_chain(joints).jacobian(measured[:3]), 0.04)
        joints = joints + inverse @ (0.5 * way)
        # It stops early by an estimate: a tenth of the margin is what that may be wrong by.
        assert np.minimum(joints - LOW, HIGH - joints).min() > 0.9 * FR3.motion.joint_margin
        assert manipulability(joints) > 0.75 * FR3.motion.min_manipulability
    assert limited
