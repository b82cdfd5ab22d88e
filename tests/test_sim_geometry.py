# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The scene has scene D's measures: joints, ranges, handles, robot."""

import math

import numpy as np
import pytest

from diwa.sim import geometry
from diwa.sim.arm import FINGER_BOXES, TCP_OFFSET
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv

FINGER_ORIGIN = 0.0584  # [m], from the hand, in pybullet_data's Panda


@pytest.fixture(scope="module")
def env():
    env = PlayTableEnv(PlayTableConfig(blocks=False))
    env.reset(seed=0)
    yield env
    env.close()


def link_index(env, name: str) -> int:
    bullet, table = env._bullet, env._scene.table
    names = [bullet.getJointInfo(table, i)[12].decode() for i in range(bullet.getNumJoints(table))]
    return names.index(name)


def handle_centre(env, link, part: int) -> np.ndarray:
    """World position of one part of a link, by forward kinematics of the loaded model."""
    bullet = env._bullet
    state = bullet.getLinkState(env._scene.table, link_index(env, link.name), 0, True)
    position, _ = bullet.multiplyTransforms(
        state[4], state[5], link.parts[part].centre, (0, 0, 0, 1)
    )
    return np.array(position)


SCENES = {
    "slide": (0, geometry.SLIDE, 1, (0.04, 0.0144, 0.5703), (-1, 0, 0), 0.28),
    "drawer": (1, geometry.DRAWER_LINK, 1, (0.18, -0.25, 0.36), (0, -1, 0), 0.22),
    "button": (2, geometry.BUTTON_LINK, 0, (-0.12, -0.12, 0.472), (0, 0, -1), 0.02),
    "switch": (3, geometry.SWITCH_LINK, 0, (0.3, 0.0181, 0.5288), (0, 0.5, 0.866), 0.088),
}


@pytest.mark.parametrize("name", SCENES)
def test_joint_moves_its_handle_along_its_axis(env, name):
    index, link, part, at_zero, axis, travel = SCENES[name]
    scene = np.zeros(24)
    for value in (0.0, travel / 2, travel):
        scene[index] = value
        observation, _ = env.reset(options={"scene_obs": scene})
        assert observation["scene_obs"][index] == pytest.approx(value, abs=1e-6)
        expected = np.array(at_zero) + value * np.array(axis)
        np.testing.assert_allclose(handle_centre(env, link, part), expected, atol=2e-4)


@pytest.mark.parametrize("name", SCENES)
def test_joint_has_its_range_in_the_loaded_model(env, name):
    _, link, _, _, _, travel = SCENES[name]
    info = env._bullet.getJointInfo(env._scene.table, link_index(env, link.name))
    assert info[1].decode() == link.joint
    assert info[2] == env._bullet.JOINT_PRISMATIC
    assert info[8:10] == pytest.approx((0.0, travel))


def test_slope_directions_are_orthonormal_and_tilted_by_30_degrees():
    up, out = np.array(geometry.UP_SLOPE), np.array(geometry.OUT_OF_SLOPE)
    assert up @ up == pytest.approx(1.0)
    assert up @ out == pytest.approx(0.0)
    assert math.degrees(math.acos(up[2])) == pytest.approx(30.0)


def test_neutral_start_is_the_documented_one(env):
    observation, _ = env.reset(seed=0)
    robot = observation["robot_obs"]
    np.testing.assert_allclose(robot[:3], (0.0259, -0.2313, 0.5713), atol=2e-4)
    np.testing.assert_allclose(robot[3:6], (3.0905, -0.0291, 1.5001), atol=2e-4)
    assert robot[6] == pytest.approx(0.08)
    assert robot[14] == 1.0
    np.testing.assert_array_equal(observation["scene_obs"], np.zeros(24, np.float32))


def test_fingers_reach_15_mm_beyond_the_tcp_and_close_on_its_axis(env):
    ends = [centre[2] + size[2] / 2 for size, centre in FINGER_BOXES]
    assert FINGER_ORIGIN + max(ends) - TCP_OFFSET == pytest.approx(0.0148)
    env.reset(seed=0)
    bullet, arm = env._bullet, env._arm.body
    origins = [np.array(bullet.getLinkState(arm, link, 0, True)[4]) for link in (9, 10)]
    hand = np.array(bullet.getLinkState(arm, 8, 0, True)[4])
    middle = (origins[0] + origins[1]) / 2
    assert np.linalg.norm(origins[0] - origins[1]) == pytest.approx(0.08, abs=1e-4)
    assert np.linalg.norm(middle - hand) == pytest.approx(FINGER_ORIGIN, abs=1e-4)
    assert np.linalg.norm(env.tcp_pose[:3] - hand) == pytest.approx(TCP_OFFSET, abs=1e-4)


def test_nothing_moves_when_nothing_is_asked(env):
    first, _ = env.reset(seed=0)
    for _ in range(30):
        last, *_ = env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    np.testing.assert_allclose(last["scene_obs"], first["scene_obs"], atol=1e-4)
    np.testing.assert_allclose(last["robot_obs"][:3], first["robot_obs"][:3], atol=3e-3)
