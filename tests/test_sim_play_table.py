# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The environment's interface, and that an episode depends on nothing but its start."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from diwa.control.poses import integrate_action
from diwa.errors import ConfigError
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv
from diwa.sim.tasks import SKILLS


@pytest.fixture(scope="module")
def env():
    env = PlayTableEnv()
    yield env
    env.close()


def rough_episode(env, seed: int, steps: int = 60) -> str:
    """Random motions that press the gripper into table and blocks; a hash of everything seen."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed, options={"task": SKILLS[seed % len(SKILLS)]})
    digest = hashlib.sha256()
    bias = np.array([rng.uniform(-0.3, 0.6), 0.4, -0.6, 0, 0, 0, 0])
    for _ in range(steps):
        for key in sorted(observation):
            digest.update(observation[key].tobytes())
        digest.update(env.tcp_pose.tobytes() + env.joint_positions.tobytes())
        observation, *_ = env.step(rng.uniform(-1.0, 1.0, 7) + bias)
    return digest.hexdigest()


@pytest.mark.parametrize("cameras", [False, True])
def test_gymnasium_accepts_the_environment(cameras):
    config = PlayTableConfig(cameras=cameras, static_size=(16, 16), gripper_size=(16, 16))
    env = PlayTableEnv(config)
    check_env(env, skip_render_check=True)  # needs a registered environment
    env.close()


def test_episode_is_bitwise_the_same_after_any_history(env):
    seeds = range(6)
    first = [rough_episode(env, seed) for seed in seeds]
    backwards = [rough_episode(env, seed) for seed in reversed(seeds)]
    assert first == backwards[::-1]
    other = PlayTableEnv()
    assert [rough_episode(other, seed) for seed in (3, 0)] == [first[3], first[0]]
    other.close()


def test_episode_is_bitwise_the_same_in_a_fresh_process_and_stdout_stays_clean():
    config = PlayTableConfig(cameras=True, static_size=(32, 32), gripper_size=(32, 32))
    env = PlayTableEnv(config)
    rough_episode(env, 5)
    here = rough_episode(env, 1)
    env.close()
    program = (
        "import test_sim_play_table as t\n"
        "from diwa.sim.play_table import *\n"
        "c = PlayTableConfig(cameras=True, static_size=(32, 32), gripper_size=(32, 32))\n"
        "print(t.rough_episode(PlayTableEnv(c), 1))\n"
    )
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests), str(tests.parent / "src/diwa_ros")])
    there = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert there.stdout == here + "\n"
    assert "pybullet" not in there.stderr


def test_two_worlds_in_one_process_do_not_touch_each_other(env):
    alone = rough_episode(env, 2, steps=15)
    other = PlayTableEnv()
    other.reset(seed=9)
    rng = np.random.default_rng(2)
    env.reset(seed=2, options={"task": SKILLS[2]})
    for _ in range(15):
        env.step(rng.uniform(-1.0, 1.0, 7))
        other.step(rng.uniform(-1.0, 1.0, 7))
    assert rough_episode(env, 2, steps=15) == alone
    other.close()


def test_actions_are_clipped_and_integrate_a_desired_pose(env):
    env.reset(seed=0)
    action = np.array([3.0, -0.5, 0.25, 0.4, -0.2, 0.1, 1.0])
    before = env.target_pose
    env.step(action)
    expected = integrate_action(before, np.clip(action, -1, 1), env.config.action)
    np.testing.assert_array_equal(env.target_pose, expected)
    for _ in range(25):
        env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert np.abs(env.tcp_pose - env.target_pose)[:3].max() < 4e-3


def test_gripper_opens_at_zero_and_above_and_closes_below(env):
    env.reset(seed=0)
    for command, recorded, width in ((-0.01, -1.0, 0.0), (0.0, 1.0, 0.08), (-1.0, -1.0, 0.0)):
        for _ in range(25):
            observation, *_ = env.step(np.array([0, 0, 0, 0, 0, 0, command]))
        assert observation["robot_obs"][14] == recorded
        assert observation["robot_obs"][6] == pytest.approx(width, abs=2e-3)


def test_reset_restores_a_given_state(env):
    env.reset(seed=4, options={"task": "close_drawer"})
    for _ in range(12):
        seen, *_ = env.step(np.array([0.5, 0.2, -0.2, 0.1, 0.0, 0.3, -1.0]))
    options = {"robot_obs": seen["robot_obs"], "scene_obs": seen["scene_obs"]}
    restored, info = env.reset(options=options)
    np.testing.assert_allclose(restored["robot_obs"], seen["robot_obs"], atol=1e-5)
    np.testing.assert_allclose(restored["scene_obs"], seen["scene_obs"], atol=1e-5)
    np.testing.assert_array_equal(info["start_scene"], restored["scene_obs"])


def test_bulb_follows_the_switch_at_a_reset_and_the_led_is_remembered(env):
    scene = np.zeros(24)
    scene[3], scene[5] = 0.088, 1.0
    seen, _ = env.reset(options={"scene_obs": scene})
    np.testing.assert_array_equal(seen["scene_obs"][4:6], [1.0, 1.0])


def test_success_is_rewarded_once_and_ends_the_episode():
    env = PlayTableEnv(PlayTableConfig(blocks=False))
    scene = np.zeros(24)
    env.reset(seed=0, options={"task": "turn_on_lightbulb", "scene_obs": scene})
    hold = np.array([0, 0, 0, 0, 0, 0, 1.0])
    assert env.step(hold)[1:4] == (0.0, False, False)
    switch = env._scene._joints[3]
    env._bullet.resetJointState(env._scene.table, switch, 0.08)
    _, reward, terminated, _, info = env.step(hold)
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    _, reward, terminated, _, _ = env.step(hold)
    assert (reward, terminated) == (0.0, True)
    env.close()


def test_episode_is_truncated_and_steps_are_counted_across_resets():
    env = PlayTableEnv(PlayTableConfig(blocks=False, max_episode_steps=3))
    hold = np.array([0, 0, 0, 0, 0, 0, 1.0])
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(hold)[3] for _ in range(3)] == [False, False, True]
        assert env.episode_steps == 3
    assert env.step_count == 6
    env.close()


@pytest.mark.parametrize(
    "options",
    [{"task": "fly"}, {"robot_obs": np.zeros(3)}, {"scene_obs": np.full(24, np.nan)}, {"sed": 1}],
)
def test_unusable_reset_options_are_refused(env, options):
    with pytest.raises(ConfigError):
        env.reset(options=options)


@pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan)])
def test_unusable_action_is_refused(env, action):
    env.reset(seed=0)
    with pytest.raises(ConfigError):
        env.step(action)


def test_model_files_are_removed_at_close(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    env = PlayTableEnv(PlayTableConfig(blocks=False))
    assert list(tmp_path.iterdir())
    env.close()
    env.close()
    assert not list(tmp_path.iterdir())
