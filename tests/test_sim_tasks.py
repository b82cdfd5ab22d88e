# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Task conditions against a plain oracle, and the lights' logic."""

import numpy as np
import pytest

from diwa.errors import ConfigError
from diwa.sim.lights import Lights
from diwa.sim.starts import sample_start
from diwa.sim.tasks import SKILLS, task_feasible, task_succeeded


def oracle(task: str, before: np.ndarray, now: np.ndarray) -> bool:
    """CALVIN's conditions, one by one."""
    if task == "open_drawer":
        return now[1] - before[1] > 0.12
    if task == "close_drawer":
        return now[1] - before[1] < -0.12
    if task == "move_slider_left":
        return now[0] - before[0] > 0.15
    if task == "move_slider_right":
        return now[0] - before[0] < -0.15
    light = 4 if "lightbulb" in task else 5
    if "turn_on" in task:
        return before[light] == 0 and now[light] == 1
    return before[light] == 1 and now[light] == 0


def random_scenes(rng, count: int) -> np.ndarray:
    scenes = np.zeros((count, 24))
    scenes[:, :4] = rng.uniform(0.0, (0.28, 0.22, 0.02, 0.088), (count, 4))
    scenes[:, 4:6] = rng.integers(0, 2, (count, 2))
    return scenes


@pytest.mark.parametrize("task", SKILLS)
def test_success_equals_the_oracle_one_by_one_and_vectorised(task):
    rng = np.random.default_rng(0)
    before, now = random_scenes(rng, 400), random_scenes(rng, 400)
    expected = [oracle(task, a, b) for a, b in zip(before, now, strict=True)]
    assert 20 < sum(expected) < 380
    np.testing.assert_array_equal(task_succeeded(task, before, now), expected)
    grid = task_succeeded(task, before.reshape(20, 20, 24), now.reshape(20, 20, 24))
    assert grid.shape == (20, 20)
    assert bool(task_succeeded(task, before[0], now[0])) == expected[0]


@pytest.mark.parametrize("task", SKILLS)
def test_nothing_succeeds_where_nothing_changed(task):
    scenes = random_scenes(np.random.default_rng(1), 50)
    assert not task_succeeded(task, scenes, scenes).any()


@pytest.mark.parametrize("task", SKILLS)
def test_feasible_means_that_the_range_allows_success(task):
    rng = np.random.default_rng(2)
    scenes = random_scenes(rng, 300)
    best = scenes.copy()
    best[:, :2] = (0.28, 0.22) if task in ("open_drawer", "move_slider_left") else (0.0, 0.0)
    best[:, 4:6] = 1.0 if "turn_on" in task else 0.0
    feasible = task_feasible(task, scenes)
    assert feasible.any()
    assert not feasible.all()
    assert task_succeeded(task, scenes[feasible], best[feasible]).all()


def test_unknown_task_is_refused_by_name():
    with pytest.raises(ConfigError, match="fly_away"):
        task_succeeded("fly_away", np.zeros(24), np.zeros(24))


@pytest.mark.parametrize("task", SKILLS)
def test_starts_are_broad_feasible_and_consistent(task):
    starts = [sample_start(task, np.random.default_rng(seed)) for seed in range(60)]
    scenes = np.stack([start.scene for start in starts])
    poses = np.stack([start.tcp_pose for start in starts])
    assert task_feasible(task, scenes).all()
    assert (scenes[:, :4] >= 0).all()
    assert (scenes[:, :4] <= (0.28, 0.22, 0.02, 0.088)).all()
    np.testing.assert_array_equal(scenes[:, 4] == 1, scenes[:, 3] > 0.044)
    low = np.array((0.0259 - 0.12, -0.2313 - 0.08, 0.5713 - 0.03))
    high = np.array((0.0259 + 0.12, -0.2313 + 0.06, 0.5713 + 0.08))
    assert ((poses[:, :3] >= low) & (poses[:, :3] <= high)).all()
    assert np.ptp(poses[:, 0]) > 0.15
    assert {start.gripper_open for start in starts} == {True, False}
    blocks = scenes[:, 6:].reshape(-1, 3, 6)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.linalg.norm(blocks[:, a, :2] - blocks[:, b, :2], axis=-1).min() > 0.08


def test_bulb_is_on_exactly_while_the_switch_is_past_the_middle():
    lights = Lights()
    lights.reset(switch=0.0, button=0.0, led=False)
    for switch, expected in ((0.043, False), (0.045, True), (0.088, True), (0.03, False)):
        lights.update(switch=switch, button=0.0)
        assert lights.bulb is expected


def test_led_toggles_once_for_each_press():
    lights = Lights()
    lights.reset(switch=0.0, button=0.0, led=False)
    positions = [0.0, 0.012, 0.02, 0.018, 0.011, 0.002, 0.02, 0.0]
    seen = []
    for button in positions:
        lights.update(switch=0.0, button=button)
        seen.append(lights.led)
    assert seen == [False, True, True, True, True, True, False, False]


def test_lights_say_when_something_changed():
    lights = Lights()
    lights.reset(switch=0.088, button=0.02, led=True)
    assert lights.bulb
    assert not lights.update(switch=0.088, button=0.02)  # held down from the start: no press
    assert not lights.update(switch=0.088, button=0.0)
    assert lights.update(switch=0.088, button=0.02)
    assert not lights.led
    assert lights.update(switch=0.0, button=0.02)
