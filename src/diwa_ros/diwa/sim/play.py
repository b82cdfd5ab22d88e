# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Endless scripted play: random feasible skills, poking, wandering and rests, never a reset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diwa.data.contract import ActionSpec
from diwa.sim.arm import BASE_POSITION
from diwa.sim.geometry import BUTTON_CENTRE, DRAWER_HANDLE, SLIDE_HANDLE, SWITCH_HANDLE
from diwa.sim.recipes import DOWN, TILTED, make_waypoints
from diwa.sim.tasks import BULB, DRAWER_JOINT, SKILLS, SLIDE, TASKS, find_task, task_feasible
from diwa.sim.waypoints import (
    CLOSED,
    OPEN,
    SkillStyle,
    TargetEstimate,
    Waypoint,
    WaypointFollower,
    measured_pose,
    pose_from_target,
)

WANDER_LOW, WANDER_HIGH = (-0.25, -0.42, 0.49), (0.32, -0.10, 0.68)  # [m]
WANDER_TURN = (0.15, 0.15, 0.5)  # about pointing down: roll, pitch, yaw [rad]
REACH = (0.36, 0.72)  # [m] horizontal distance from the arm's base while wandering
OVER_TABLE = -0.13  # [m] beyond this y the arm first backs off, clear of the slider's handle
RETREAT_Y, RETREAT_Z = -0.16, 0.60  # [m]
MISS = (0.04, 0.04, 0.02)  # [m] spread of how far a clumsy attempt is off: x, y, z
SHAKE = (0.25, 0.3), (0.7, 1.0)  # least and most: noise on actions, share of it on rotation
POKE_LOW, POKE_HIGH = (-0.08, -0.20, -0.06), (0.08, 0.05, 0.08)  # [m] about a handle
TO_EDGE = 0.05  # [m] that this box is moved from the drawer's bar towards the table's edge
ABOVE_Z = 0.58  # [m] from where something is poked at, and where to afterwards
JOINTS = {SLIDE, DRAWER_JOINT}  # indices into a scene


class PlayGenerator:
    """What somebody playing with the table would do, from observations alone.

    Args:
        rng: source of everything random.
        skills: to choose from.
        wander: share of wandering among what is done.
        clumsy: share of skills that are tried a few centimetres off, and often miss. Policies miss
            too, and a world model knows only what play has shown it.
        poke: share of moving about near a handle or button for no purpose: in front of it, below
            it, past it. Policies get there, scripted skills do not.
        shaky: share of things that are done with a shaking hand. Policies that have learned little
            shake, and a world model that has never seen it does not know where it leads.
        rest: probability to stand still for a while between two things, in free space.
        style: how every skill is done; None: a random style for each.
        action: units of the actions.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        skills: Sequence[str] = SKILLS,
        wander: float = 0.2,
        clumsy: float = 0.25,
        rest: float = 0.15,
        style: SkillStyle | None = None,
        action: ActionSpec | None = None,
        poke: float = 0.0,
        shaky: float = 0.0,
    ) -> None:
        for skill in skills:
            find_task(skill)
        self._rng = rng
        self._skills = tuple(skills)
        self._wander = wander
        self._clumsy = clumsy
        self._poke = poke
        self._shaky = shaky
        self._rest = rest
        self._style = style
        self._spec = action or ActionSpec()
        self.reset()

    def reset(self) -> None:
        """Forget what was going on, as after a reset of the scene."""
        self.label = ""  # the skill that is being done, or nothing
        self._way: WaypointFollower | None = None
        self._estimate: TargetEstimate | None = None
        self._rest_steps = 0
        self._gripper = OPEN

    def act(
        self, robot_obs: np.ndarray, scene_obs: np.ndarray, target_pose: np.ndarray | None = None
    ) -> np.ndarray:
        """The next action (7,) float32; arguments as in `ScriptedSkill.act`."""
        measured = measured_pose(robot_obs)
        if self._estimate is None:
            self._estimate = TargetEstimate(measured, self._spec)
        target = self._estimate.observe(
            measured, free=self._way is None or not self._way.in_contact
        )
        if target_pose is not None:
            target = pose_from_target(target_pose)
        if self._way is not None and self._way.finished:
            self._way, self.label = None, ""
            if self._rng.random() < self._rest:
                self._rest_steps = int(self._rng.integers(5, 40))
        if self._way is None and self._rest_steps == 0:
            self._way = self._choose(target, scene_obs)
        action = self._rest_action() if self._way is None else self._way.act(target, measured)
        self._gripper = float(action[6])
        self._estimate.apply(action)
        return action

    def _rest_action(self) -> np.ndarray:
        self._rest_steps -= 1
        return np.array([0.0] * 6 + [self._gripper], dtype=np.float32)

    def _choose(self, target: np.ndarray, scene: np.ndarray) -> WaypointFollower:
        """Begin something new, from the desired pose `target` (6,)."""
        style = self._style or SkillStyle.sample(self._rng)
        if self._shaky > 0 and self._rng.random() < self._shaky:
            noise, turn = self._rng.uniform(*SHAKE)
            style = replace(style, noise=float(noise), turn_noise=float(turn))
        if target[1] > OVER_TABLE:
            pose = np.array([target[0], RETREAT_Y, max(target[2], RETREAT_Z), *DOWN])
            waypoints = [Waypoint(pose, self._gripper)]
        elif self._poke > 0 and self._rng.random() < self._poke:
            waypoints = self._poke_waypoints(scene)
        elif self._rng.random() < self._wander or not (choices := self._choices(scene)):
            waypoints = self._wander_waypoints()
        else:
            skill, self.label = choices[int(self._rng.integers(len(choices)))]
            if not self.label:
                style = replace(style, effort=1.0)
            waypoints = make_waypoints(skill, scene, style)
            if self.label and self._rng.random() < self._clumsy:
                self.label = ""
                off = np.array([*self._rng.normal(0.0, MISS), 0.0, 0.0, 0.0])
                waypoints = [replace(point, pose=point.pose + off) for point in waypoints]
        return WaypointFollower(waypoints, style, self._rng, self._spec)

    def _choices(self, scene: np.ndarray) -> list[tuple[str, str]]:
        """Skills that can be done now, each with its label.

        A joint that was left where neither of its two skills has room enough is brought to an end
        of its range by either, without a label.
        """
        feasible = [skill for skill in self._skills if task_feasible(skill, scene)]
        moved = {TASKS[skill].index for skill in feasible}
        stuck = [skill for skill in self._skills if TASKS[skill].index in JOINTS - moved]
        return [(skill, skill) for skill in feasible] + [(skill, "") for skill in stuck]

    def _wander_waypoints(self) -> list[Waypoint]:
        gripper = OPEN if self._rng.random() < 0.5 else CLOSED
        waypoints: list[Waypoint] = []
        count = int(self._rng.integers(1, 4))
        while len(waypoints) < count:
            position = self._rng.uniform(WANDER_LOW, WANDER_HIGH)
            reach = np.hypot(*(position[:2] - BASE_POSITION[:2]))
            if REACH[0] < reach < REACH[1]:
                euler = np.array(DOWN) + self._rng.uniform(-1.0, 1.0, 3) * WANDER_TURN
                waypoints.append(Waypoint(np.concatenate([position, euler]), gripper))
        return waypoints

    def _poke_waypoints(self, scene: np.ndarray) -> list[Waypoint]:
        """From above to a few points about one of the things that play is about, and up again."""
        skill = self._skills[int(self._rng.integers(len(self._skills)))]
        centre, tilted = _handle(TASKS[skill].index, scene)
        gripper = OPEN if self._rng.random() < 0.3 else CLOSED
        turn = self._rng.uniform(-1.0, 1.0, 3) * WANDER_TURN
        euler = np.array(TILTED if tilted else DOWN) + turn * 0.5
        points = centre + self._rng.uniform(POKE_LOW, POKE_HIGH, (int(self._rng.integers(2, 6)), 3))
        above = [(*points[end, :2], max(ABOVE_Z, points[end, 2])) for end in (0, -1)]
        before, after = (np.array([x, min(y, OVER_TABLE), z]) for x, y, z in above)
        poses = [before, *points, after]
        return [
            Waypoint(np.concatenate([position, euler]), gripper, contact=index > 0)
            for index, position in enumerate(poses)
        ]


def _handle(entry: int, scene: np.ndarray) -> tuple[np.ndarray, bool]:
    """Where the thing behind a scene entry is touched now [m]; whether with a tilted gripper."""
    if entry == DRAWER_JOINT:
        return np.array(DRAWER_HANDLE) - (0.0, scene[DRAWER_JOINT] - TO_EDGE, 0.0), False
    if entry == SLIDE:
        return np.array(SLIDE_HANDLE) - (scene[SLIDE], 0.0, 0.0), False
    if entry == BULB:
        return np.array(SWITCH_HANDLE), True
    return np.array([*BUTTON_CENTRE, 0.47]), False
