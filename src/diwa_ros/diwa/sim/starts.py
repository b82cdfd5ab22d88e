# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Random starts for a skill: broad, consistent with the task, and not already solved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diwa.control.poses import make_pose, quaternion_from_euler
from diwa.sim.geometry import DRAWER_RANGE, SLIDE_RANGE, SWITCH_RANGE
from diwa.sim.scene import SCENE_SIZE, sample_blocks
from diwa.sim.tasks import TASKS, task_feasible

NEUTRAL_POSITION = (0.0259, -0.2313, 0.5713)  # TCP at the neutral joints [m]
NEUTRAL_EULER = (3.0905, -0.0291, 1.5001)  # [rad]
POSITION_LOW = (-0.12, -0.08, -0.03)  # around neutral [m]
POSITION_HIGH = (0.12, 0.06, 0.08)
TURN = (0.1, 0.1, 0.4)  # around neutral: roll, pitch, yaw [rad]
AT_END = 0.5  # share of starts with a sliding joint exactly at the end of its range
END_ZONE = 0.05  # [m] from an end, where a joint starts that the task is to move away from it


@dataclass(frozen=True)
class Start:
    """Where an episode begins: TCP pose (7,), gripper and scene (24,)."""

    tcp_pose: np.ndarray
    gripper_open: bool
    scene: np.ndarray


def sample_start(task: str, rng: np.random.Generator, *, with_blocks: bool = True) -> Start:
    """Draw a start for `task`: arm around neutral, other joints and lights anywhere."""
    position = np.array(NEUTRAL_POSITION) + rng.uniform(POSITION_LOW, POSITION_HIGH)
    euler = np.array(NEUTRAL_EULER) + rng.uniform(-1.0, 1.0, 3) * TURN
    scene = np.zeros(SCENE_SIZE)
    scene[0] = _joint(rng, SLIDE_RANGE, task, "move_slider_left", "move_slider_right")
    scene[1] = _joint(rng, DRAWER_RANGE, task, "open_drawer", "close_drawer")
    bulb_on = _light(rng, task, "turn_on_lightbulb", "turn_off_lightbulb")
    scene[3] = SWITCH_RANGE if bulb_on else 0.0
    scene[4] = bulb_on
    scene[5] = _light(rng, task, "turn_on_led", "turn_off_led")
    if with_blocks:
        scene[6:] = sample_blocks(rng)
    assert task in TASKS and task_feasible(task, scene), task
    pose = make_pose(position, quaternion_from_euler(euler))
    return Start(pose, bool(rng.random() < 0.5), scene)


def _joint(
    rng: np.random.Generator, travel: float, task: str, forward: str, backward: str
) -> float:
    """A joint position [m]: near zero for `forward`, near the end for `backward`, else any."""
    exact, far_side, share = rng.random() < AT_END, rng.random() < 0.5, rng.random()
    if task == forward:
        return 0.0 if exact else END_ZONE * share
    if task == backward:
        return travel if exact else travel - END_ZONE * share
    return travel * far_side if exact else travel * share


def _light(rng: np.random.Generator, task: str, turn_on: str, turn_off: str) -> bool:
    drawn = bool(rng.random() < 0.5)
    return drawn if task not in (turn_on, turn_off) else task == turn_off
