# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One run of a skill, with a countable agent: when it plans, and what it forgets."""

from __future__ import annotations

import numpy as np
import pytest

from diwa.data.frames import Frame
from diwa.errors import ConfigError
from diwa_ros.skill import HELD_FRAMES, Latencies, SkillRun, warm_up

PERIOD = 33_333_333


class CountingAgent:
    """Plans chunks that carry the number of frames observed since the reset."""

    def __init__(self, contract, length=4):
        self.contract = contract
        self.length = length
        self.seeds = []
        self.seen = 0
        self.output = 0.0

    def reset(self, seed=None):
        self.seeds.append(seed)
        self.seen = 0

    def observe(self, observation, previous_action):
        self.seen += 1

    def plan(self):
        return np.full((self.length, 7), self.seen + self.output)

    def success_probability(self):
        return self.seen / 100


def frame(index, *, first=False, epoch=1):
    return Frame(index * PERIOD, {}, np.zeros(7, dtype=np.float32), first, epoch)


@pytest.fixture
def agent(lowdim_contract):
    return CountingAgent(lowdim_contract)


@pytest.fixture
def run(agent):
    return SkillRun(agent, seed=5)


def drive(run, indices, held=()):
    """Frames at which the run plans; every action but the `held` ones is executed."""
    plans = []
    for index in indices:
        if index != indices[0] and index - 1 not in held:
            run.executed((index - 1) * PERIOD)
        run.observe(frame(index, first=index == indices[0]))
        if run.needs_plan:
            run.plan()
            plans.append(index)
    return plans


def test_run_plans_where_a_chunk_has_been_executed(run):
    assert drive(run, range(1, 14)) == [1, 5, 9, 13]
    assert (run.frames, run.chunks, run.actions) == (13, 4, 12)


def test_held_steps_do_not_count_as_executed(run):
    assert drive(run, range(1, 14), held=(1, 2, 6)) == [1, 8, 12]


def test_actions_that_arrive_before_their_frame_do_not_count_yet(run):
    run.observe(frame(1, first=True))
    run.plan()
    for index in range(1, 5):
        run.executed(index * PERIOD)  # the whole chunk, ahead of the frames
    plans = []
    for index in range(2, 6):
        run.observe(frame(index))
        if run.needs_plan:
            plans.append(index)
    assert plans == [5]


def test_run_plans_again_when_nothing_is_executed_for_long(run):
    run.observe(frame(1, first=True))
    run.plan()
    needed = []
    for index in range(2, HELD_FRAMES + 3):
        run.observe(frame(index))
        needed.append(run.needs_plan)
    assert needed == [False] * (HELD_FRAMES - 1) + [True] * 2


def test_break_in_the_frames_restarts_the_filter_with_the_same_seed(run, agent):
    drive(run, range(1, 4))
    run.observe(frame(9, first=True))
    assert agent.seen == 1
    assert agent.seeds == [5, 5]
    assert run.frames == 4


def test_restart_forgets_everything(run, agent):
    drive(run, range(1, 4))
    run.restart()
    assert (run.frames, run.chunks, run.actions, run.first_ns) == (0, 0, 0, None)
    assert run.elapsed_s == 0.0
    assert run.needs_plan


def test_elapsed_time_is_observation_time(run):
    drive(run, range(10, 41))
    assert run.elapsed_s == pytest.approx(1.0)
    assert run.probability == pytest.approx(0.31)


def test_output_that_is_not_finite_is_an_error(run, agent):
    run.observe(frame(1, first=True))
    agent.output = np.nan
    with pytest.raises(FloatingPointError):
        run.plan()


@pytest.mark.parametrize("name", ["lowdim_contract", "camera_contract"])
def test_warm_up_uses_every_part_and_leaves_a_fresh_agent(request, name):
    agent = CountingAgent(request.getfixturevalue(name))
    warm_up(agent)
    assert agent.seen == 0


def test_planning_ahead_begins_while_actions_are_left(agent):
    run = SkillRun(agent, plan_ahead=2)
    assert drive(run, range(1, 9)) == [1, 3, 5, 7]
    more = SkillRun(agent, plan_ahead=50)  # never more often than once a frame
    assert drive(more, range(1, 6)) == [1, 2, 3, 4, 5]


def test_dry_run_goes_on_as_if_actions_were_executed(agent):
    run = SkillRun(agent, dry=True)
    plans = []
    for index in range(1, 11):
        run.observe(frame(index, first=index == 1))
        if run.needs_plan:
            run.plan()
            plans.append(index)
    assert plans == [1, 5, 9]
    assert run.actions == 0


def test_actions_of_robots_with_stamps_of_their_own_belong_to_the_nearest_frame(run):
    run.observe(frame(1, first=True))
    run.plan()
    for index in range(1, 5):
        run.executed(index * PERIOD + 10_000_000)
    run.observe(frame(5))
    assert run.needs_plan and run.actions == 4


def test_warm_up_refuses_models_that_are_not_deterministic(agent):
    plan = agent.plan
    outputs = iter((0.0, 1e-6))

    def unsteady():
        return plan() + next(outputs)

    agent.plan = unsteady
    with pytest.raises(ConfigError, match="not deterministic"):
        warm_up(agent)


def test_warm_up_refuses_models_that_give_no_finite_numbers(agent):
    agent.output = np.inf
    with pytest.raises(ConfigError, match="not finite"):
        warm_up(agent)


def test_percentiles_of_latencies():
    latencies = Latencies()
    assert latencies.percentiles() == (0.0, 0.0, 0.0)
    for value in range(101):
        latencies.add(value / 1000)
    assert latencies.percentiles() == pytest.approx((0.05, 0.095, 0.099))
    assert latencies.last == 0.1
