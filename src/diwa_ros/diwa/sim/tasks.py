# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The eight skills: when one has succeeded, and when one can be done at all.

A scene is (..., 24) as in CALVIN's `scene_obs`: 0 slide, 1 drawer, 2 button, 3 switch [m],
4 bulb, 5 LED (0 or 1), then red, blue and pink block (xyz [m], Euler [rad]). All functions take
any leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diwa.errors import ConfigError
from diwa.sim.geometry import DRAWER_RANGE, SLIDE_RANGE

SLIDE, DRAWER_JOINT, BUTTON, SWITCH, BULB, LED = range(6)  # indices into a scene
LIGHTS = (BULB, LED)
FEASIBLE_MARGIN = 0.02  # [m] of travel beyond the success threshold that must be left


@dataclass(frozen=True)
class Task:
    """One joint or light and the change of it that counts as success."""

    index: int  # into the scene
    change: float  # [m] for a joint; +-1 for a light
    travel: float  # range of the joint [m]; 1 for a light


TASKS: dict[str, Task] = {
    "open_drawer": Task(DRAWER_JOINT, 0.12, DRAWER_RANGE),
    "close_drawer": Task(DRAWER_JOINT, -0.12, DRAWER_RANGE),
    "move_slider_left": Task(SLIDE, 0.15, SLIDE_RANGE),
    "move_slider_right": Task(SLIDE, -0.15, SLIDE_RANGE),
    "turn_on_lightbulb": Task(BULB, 1.0, 1.0),
    "turn_off_lightbulb": Task(BULB, -1.0, 1.0),
    "turn_on_led": Task(LED, 1.0, 1.0),
    "turn_off_led": Task(LED, -1.0, 1.0),
}
SKILLS: tuple[str, ...] = tuple(TASKS)


def find_task(name: str) -> Task:
    """The task of that name; any other name is a `ConfigError`."""
    if name not in TASKS:
        raise ConfigError("task", got=name, expected=", ".join(SKILLS))
    return TASKS[name]


def task_succeeded(task: str, start_scene: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Whether `task` was done between two scenes (..., 24); bool (...)."""
    spec = find_task(task)
    before = np.asarray(start_scene)[..., spec.index]
    now = np.asarray(scene)[..., spec.index]
    if spec.index in LIGHTS:
        wanted = spec.change > 0
        return ((now > 0.5) == wanted) & ((before > 0.5) != wanted)
    return (now - before) * np.sign(spec.change) > abs(spec.change)


def task_feasible(task: str, scene: np.ndarray) -> np.ndarray:
    """Whether `task` can still be done from `scene` (..., 24), with some travel to spare; (...)."""
    spec = find_task(task)
    now = np.asarray(scene)[..., spec.index]
    if spec.index in LIGHTS:
        return (now > 0.5) != (spec.change > 0)
    room = spec.travel - now if spec.change > 0 else now
    return room > abs(spec.change) + FEASIBLE_MARGIN
