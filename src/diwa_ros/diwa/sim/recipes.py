# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The way through each of the eight skills, as waypoints made from scene and style.

The gripper points straight down, except at the switch: there it is tilted by 50 degrees, because
a vertical gripper cannot reach that far. Distances to handles follow from the sizes in
`geometry`: closed fingers are 0.018 m wide along y and 0.014 m along x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from diwa.sim.geometry import (
    BUTTON_CENTRE,
    DRAWER_HANDLE,
    DRAWER_RANGE,
    OUT_OF_SLOPE,
    SLIDE_HANDLE,
    SLIDE_RANGE,
    SWITCH_HANDLE,
    UP_SLOPE,
)
from diwa.sim.tasks import DRAWER_JOINT, SLIDE, SWITCH, find_task
from diwa.sim.waypoints import CLOSED, OPEN, SkillStyle, Waypoint

DOWN = (math.pi, 0.0, math.pi / 2)
TILTED = (math.pi - math.radians(50.0), 0.0, math.pi / 2)
ENOUGH = 0.03  # [m] beyond a task's threshold that a joint is moved at least
SPARE = 0.004  # [m] beyond contact that the desired pose goes at the end of a joint's range
U, N = np.array(UP_SLOPE), np.array(OUT_OF_SLOPE)

Euler = tuple[float, float, float]
Recipe = Callable[[np.ndarray, SkillStyle], list[Waypoint]]


def make_waypoints(task: str, scene: np.ndarray, style: SkillStyle) -> list[Waypoint]:
    """Waypoints of `task` from `scene` (24,)."""
    find_task(task)
    return RECIPES[task](np.asarray(scene, dtype=np.float64), style)


def _at(
    position: Sequence[float] | np.ndarray, style: SkillStyle, euler: Euler = DOWN
) -> np.ndarray:
    return np.array([*position, euler[0], euler[1], euler[2] + style.yaw])


def _joint_goal(task: str, now: float, style: SkillStyle) -> float:
    """Where the joint is to end [m]: between just enough and the end of its range."""
    spec = find_task(task)
    end = spec.travel if spec.change > 0 else 0.0
    enough = now + spec.change + math.copysign(ENOUGH, spec.change)
    if (end - enough) * spec.change <= 0:
        return end
    return enough + style.effort * (end - enough)


def _open_drawer(scene: np.ndarray, style: SkillStyle) -> list[Waypoint]:
    joint = min(max(scene[DRAWER_JOINT], 0.0), DRAWER_RANGE)
    x, y, z = DRAWER_HANDLE
    x, y = x + 0.05 * style.lateral, y - joint
    behind, deep = y + 0.04, z + 0.012
    travel = _joint_goal("open_drawer", joint, style) - joint
    pulled = behind - 0.021 - travel - SPARE
    dx, dy, dz = style.approach
    return [
        Waypoint(_at((x + dx, behind + dy / 2, 0.50 + dz), style), CLOSED),
        Waypoint(_at((x, behind, deep), style), CLOSED, contact=True),
        Waypoint(_at((x, pulled, deep), style), CLOSED, contact=True),
        Waypoint(_at((x, pulled + 0.01, 0.50 + dz), style), CLOSED, contact=True),
    ]


def _close_drawer(scene: np.ndarray, style: SkillStyle) -> list[Waypoint]:
    joint = min(max(scene[DRAWER_JOINT], 0.0), DRAWER_RANGE)
    x, y, z = DRAWER_HANDLE
    x, y = x + 0.08 * style.lateral, y - joint
    before, deep = y - 0.05, z + 0.01
    travel = joint - _joint_goal("close_drawer", joint, style)
    pushed = before + 0.031 + travel + SPARE
    dx, dy, dz = style.approach
    return [
        Waypoint(_at((x + dx, before + min(dy, 0.0), 0.50 + dz), style), CLOSED),
        Waypoint(_at((x, before, deep), style), CLOSED, contact=True),
        Waypoint(_at((x, pushed, deep), style), CLOSED, contact=True),
        Waypoint(_at((x, pushed - 0.04, deep + 0.02), style), CLOSED, contact=True),
        Waypoint(_at((x, pushed - 0.08, 0.50 + dz), style), CLOSED),
    ]


def _move_slider(task: str, scene: np.ndarray, style: SkillStyle) -> list[Waypoint]:
    joint = min(max(scene[SLIDE], 0.0), SLIDE_RANGE)
    x, y, z = SLIDE_HANDLE
    travel = -(_joint_goal(task, joint, style) - joint)  # left is -x
    direction = math.copysign(1.0, travel)
    x, y, z = x - joint, y - 0.007, z - 0.01
    dx, dy, dz = style.approach
    if style.push:
        x -= direction * 0.05
        travel += direction * (0.05 - 0.027 + SPARE)
        gripper, dwell = CLOSED, 0
    else:
        x += 0.004 * style.lateral
        travel += direction * SPARE
        gripper, dwell = OPEN, 8
    above = 0.72 + dz / 2
    style = replace(style, yaw=0.3 * style.yaw)
    return [
        Waypoint(_at((x + dx / 2, -0.14 + dy, above), style), gripper),
        Waypoint(_at((x, y, above), style), gripper),
        Waypoint(_at((x, y, z), style), gripper, dwell=0, contact=True),
        Waypoint(_at((x, y, z), style), CLOSED, dwell=dwell, contact=True),
        Waypoint(_at((x + travel, y, z), style), CLOSED, contact=True),
        Waypoint(_at((x + travel, y, z), style), gripper, dwell=dwell, contact=True),
        Waypoint(_at((x + travel, y - 0.055, above), style), gripper, contact=True),
        Waypoint(_at((x + travel + dx, -0.15 + dy, above), style), gripper),
    ]


def _press_button(scene: np.ndarray, style: SkillStyle) -> list[Waypoint]:
    x, y = BUTTON_CENTRE
    x, y = x + 0.012 * style.lateral, y + 0.3 * style.approach[1]
    dx, dy, dz = style.approach
    return [
        Waypoint(_at((x + dx, y + dy, 0.55 + dz), style), CLOSED),
        Waypoint(_at((x, y, 0.455), style), CLOSED, contact=True),
        Waypoint(_at((x + dx / 2, y, 0.55 + dz), style), CLOSED, contact=True),
    ]


def _flip_switch(task: str, scene: np.ndarray, style: SkillStyle) -> list[Waypoint]:
    handle = np.array(SWITCH_HANDLE) + scene[SWITCH] * U
    handle[0] += 0.02 * style.lateral
    up = task == "turn_on_lightbulb"
    sign = 1.0 if up else -1.0
    hover, after = (0.56, 0.62) if up else (0.62, 0.60)
    dx, dy, dz = style.approach
    steady = replace(style, yaw=0.3 * style.yaw)
    front = np.array([handle[0] + min(dx, 0.0), -0.14 + min(dy, 0.0), hover + dz / 2])
    start = handle - sign * 0.05 * U - 0.004 * N
    end = start + sign * 0.135 * U
    return [
        Waypoint(_at(front, steady), CLOSED),
        Waypoint(_at(start + 0.085 * N, steady, TILTED), CLOSED),
        Waypoint(_at(start, steady, TILTED), CLOSED, contact=True),
        Waypoint(_at(end, steady, TILTED), CLOSED, contact=True),
        Waypoint(_at(end - sign * 0.015 * U + 0.1 * N, steady, TILTED), CLOSED, contact=True),
        Waypoint(_at((front[0], front[1], after + dz / 2), steady), CLOSED),
    ]


def _slider(task: str) -> Recipe:
    return lambda scene, style: _move_slider(task, scene, style)


def _switch(task: str) -> Recipe:
    return lambda scene, style: _flip_switch(task, scene, style)


RECIPES: dict[str, Recipe] = {
    "open_drawer": _open_drawer,
    "close_drawer": _close_drawer,
    "move_slider_left": _slider("move_slider_left"),
    "move_slider_right": _slider("move_slider_right"),
    "turn_on_lightbulb": _switch("turn_on_lightbulb"),
    "turn_off_lightbulb": _switch("turn_off_lightbulb"),
    "turn_on_led": _press_button,
    "turn_off_led": _press_button,
}
