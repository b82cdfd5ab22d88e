# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Every scripted skill does its task from random starts, behind the safety filter."""

import numpy as np
import pytest

from diwa.control.filter import SafetyFilter, SafetyLimits
from diwa.control.poses import euler_from_quaternion
from diwa.data.contract import ActionSpec
from diwa.errors import ConfigError
from diwa.sim.play_table import PlayTableEnv
from diwa.sim.skills import ScriptedSkill, SkillStyle
from diwa.sim.tasks import SKILLS
from diwa.sim.waypoints import TargetEstimate

SEEDS = range(10)
LONGEST = 300  # steps


@pytest.fixture(scope="module")
def env():
    env = PlayTableEnv()
    yield env
    env.close()


def perform(env, task: str, seed: int, safety: SafetyFilter) -> int | None:
    """Steps until success, or None; the skill sees observations only."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed, options={"task": task})
    skill = ScriptedSkill(task, SkillStyle.sample(rng, noise=0.2), rng)
    for step in range(LONGEST):
        action = skill.act(observation["robot_obs"], observation["scene_obs"])
        safe = safety.filter(action, env.target_pose, env.tcp_pose)
        observation, _, succeeded, _, _ = env.step(safe.action)
        if succeeded:
            return step + 1
        if skill.finished:
            return None
    return None


@pytest.mark.parametrize("task", SKILLS)
def test_skill_succeeds_behind_the_safety_filter(env, task, camera_contract):
    safety = SafetyFilter(SafetyLimits.from_contract(camera_contract))
    steps = [perform(env, task, seed, safety) for seed in SEEDS]
    done = [count for count in steps if count is not None]
    counts = safety.counts
    print(f"{task}: {len(done)} of {len(steps)}, steps {done}, {counts}")
    assert len(done) >= len(steps) - 1
    assert counts.rejected == 0
    assert counts.clipped + counts.workspace_limited + counts.leashed < 0.05 * counts.actions


def test_styles_vary(env):
    observation, _ = env.reset(seed=0, options={"task": "open_drawer"})
    actions = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        skill = ScriptedSkill("open_drawer", SkillStyle.sample(rng), rng)
        actions.append(skill.act(observation["robot_obs"], observation["scene_obs"]))
    actions = np.stack(actions)
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= 1.0
    assert actions[:, :3].std(axis=0).max() > 0.05


def test_same_seed_gives_the_same_actions(env):
    observation, _ = env.reset(seed=0, options={"task": "turn_on_led"})

    def actions():
        rng = np.random.default_rng(3)
        skill = ScriptedSkill("turn_on_led", SkillStyle.sample(rng), rng)
        args = observation["robot_obs"], observation["scene_obs"]
        return np.stack([skill.act(*args, env.target_pose) for _ in range(20)])

    np.testing.assert_array_equal(actions(), actions())


def test_unknown_skill_is_refused():
    with pytest.raises(ConfigError):
        ScriptedSkill("fly_away", SkillStyle(), np.random.default_rng(0))


def test_target_estimate_recovers_from_lost_actions(env):
    observation, _ = env.reset(seed=0)
    estimate = TargetEstimate(observation["robot_obs"][:6].astype(float), ActionSpec())
    rng = np.random.default_rng(0)

    def error() -> float:
        return float(np.linalg.norm(estimate.pose[:3] - env.target_pose[:3]))

    worst = 0.0
    for step in range(90):
        estimate.observe(observation["robot_obs"][:6].astype(float), free=True)
        action = np.append(rng.uniform(-0.3, 0.3, 6), 1.0)
        estimate.apply(action)
        lost = 10 <= step < 14
        if lost:
            action[:3] = (0.7, -0.6, 0.0)  # something else reached the robot
        observation, *_ = env.step(action)
        worst = max(worst, error())
    assert worst > 0.04
    assert error() < 0.008
    turn = estimate.pose[3:] - euler_from_quaternion(env.target_pose[3:])
    assert np.abs(np.sin(turn)).max() < 0.03
