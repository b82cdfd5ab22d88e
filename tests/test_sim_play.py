# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Play goes on and on, does many different things, and needs no reset."""

from collections import Counter

import numpy as np
import pytest

from diwa.control.filter import SafetyFilter, SafetyLimits
from diwa.sim.play import PlayGenerator
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv
from diwa.sim.tasks import SKILLS, task_succeeded


@pytest.fixture(scope="module")
def env():
    env = PlayTableEnv()
    yield env
    env.close()


def test_play_accomplishes_many_skills_in_3000_steps_without_a_reset(env, camera_contract):
    safety = SafetyFilter(SafetyLimits.from_contract(camera_contract))
    play = PlayGenerator(np.random.default_rng(0))
    observation, _ = env.reset(seed=0)
    before, label = observation["scene_obs"], ""
    tried, done = Counter(), Counter()
    moves = []
    for _ in range(3000):
        action = play.act(observation["robot_obs"], observation["scene_obs"])
        if play.label != label:
            if label:
                tried[label] += 1
                done[label] += bool(task_succeeded(label, before, observation["scene_obs"]))
            before, label = observation["scene_obs"], play.label
        safe = safety.filter(action, env.target_pose, env.tcp_pose)
        moves.append(np.abs(safe.action[:6]).max())
        observation, *_ = env.step(safe.action)
    print(f"tried {dict(tried)}, done {dict(done)}, {safety.counts}")
    assert len([skill for skill, count in done.items() if count]) >= 6
    assert sum(done.values()) >= 0.9 * sum(tried.values())
    still = np.array(moves) == 0
    assert 0.03 < still.mean() < 0.4  # rests now and then
    counts = safety.counts
    assert counts.clipped + counts.workspace_limited + counts.leashed < 0.05 * counts.actions


def test_play_brings_a_joint_back_from_the_middle_of_its_range():
    env = PlayTableEnv(PlayTableConfig(blocks=False))
    scene = np.zeros(24)
    scene[0] = 0.14
    skills = ("move_slider_left", "move_slider_right")
    play = PlayGenerator(np.random.default_rng(1), skills, wander=0.0, rest=0.0)
    observation, _ = env.reset(seed=0, options={"scene_obs": scene})
    for _ in range(400):
        assert play.label in ("", *SKILLS)
        observation, *_ = env.step(play.act(observation["robot_obs"], observation["scene_obs"]))
        if min(observation["scene_obs"][0], 0.28 - observation["scene_obs"][0]) < 0.03:
            break
    else:
        pytest.fail(f"slide still at {observation['scene_obs'][0]}")
    env.close()


def test_same_seed_plays_the_same_and_reset_forgets(env):
    observation, _ = env.reset(seed=0)
    robot, scene = observation["robot_obs"], observation["scene_obs"]

    def first(play):
        return np.stack([play.act(robot, scene) for _ in range(30)])

    play = PlayGenerator(np.random.default_rng(5))
    same = PlayGenerator(np.random.default_rng(5))
    np.testing.assert_array_equal(first(play), first(same))
    play.reset()
    assert play.label == ""


def _at_the_drawer(seed, steps=1500, **options):
    """What is seen while somebody plays with the drawer alone."""
    skills = ("open_drawer", "close_drawer")
    play = PlayGenerator(np.random.default_rng(seed), skills, wander=0.0, **options)
    env = PlayTableEnv(PlayTableConfig(blocks=False))
    observation, _ = env.reset(seed=0)
    for _ in range(steps):
        assert options.get("clumsy") != 1.0 or play.label == ""
        observation, *_ = env.step(play.act(observation["robot_obs"], observation["scene_obs"]))
        yield observation
    env.close()


def test_clumsy_play_often_misses():
    changes = {}
    for clumsy in (0.0, 1.0):
        switches, side = 0, False
        for observation in _at_the_drawer(2, clumsy=clumsy):
            drawer = observation["scene_obs"][1]
            if drawer > 0.17 or drawer < 0.05:
                switches += side != bool(drawer > 0.17)
                side = bool(drawer > 0.17)
        changes[clumsy] = switches
    assert 0 < changes[1.0] < changes[0.0], changes


def test_poking_goes_where_skills_never_go():
    below = {}
    for poke in (0.0, 0.9):
        heights = [seen["robot_obs"][2] for seen in _at_the_drawer(3, poke=poke)]
        below[poke] = float(np.mean(np.array(heights) < 0.345))
    assert below[0.9] > max(0.03, 3 * below[0.0]), below


def test_shaking_is_of_the_hand_and_changes_no_other_play():
    def turned(**options):
        """Mean change of rotation from step to step [rad]."""
        angles = [seen["robot_obs"][3:6] for seen in _at_the_drawer(4, steps=600, **options)]
        change = np.diff(np.array(angles), axis=0)
        return float(np.abs((change + np.pi) % (2 * np.pi) - np.pi).mean())

    plain = turned()
    assert turned(shaky=0.0) == plain
    assert turned(shaky=1.0) > 2 * plain
