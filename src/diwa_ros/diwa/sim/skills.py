# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Scripted skills: what a person would show, from observations alone."""

from __future__ import annotations

import numpy as np

from diwa.data.contract import ActionSpec
from diwa.sim.recipes import make_waypoints
from diwa.sim.tasks import find_task
from diwa.sim.waypoints import (
    SkillStyle,
    TargetEstimate,
    WaypointFollower,
    measured_pose,
    pose_from_target,
)

__all__ = ["ScriptedSkill", "SkillStyle"]


class ScriptedSkill:
    """Carries out one skill once, then rests.

    Args:
        task: one of `SKILLS`.
        style: how.
        rng: source of noise and pauses.
        action: units of the actions.
    """

    def __init__(
        self,
        task: str,
        style: SkillStyle,
        rng: np.random.Generator,
        action: ActionSpec | None = None,
    ) -> None:
        find_task(task)
        self.task = task
        self._style = style
        self._rng = rng
        self._spec = action or ActionSpec()
        self._follower: WaypointFollower | None = None
        self._estimate: TargetEstimate | None = None

    def act(
        self, robot_obs: np.ndarray, scene_obs: np.ndarray, target_pose: np.ndarray | None = None
    ) -> np.ndarray:
        """The next action (7,) float32 in [-1, 1], gripper -1 or 1.

        Args:
            robot_obs: (15,) robot state.
            scene_obs: (24,) scene; where handles are is read from it at the first call.
            target_pose: (7,) the robot's desired pose where it is known; None: it is reckoned
                from the actions given so far.
        """
        if self._follower is None:
            waypoints = make_waypoints(self.task, scene_obs, self._style)
            self._follower = WaypointFollower(waypoints, self._style, self._rng, self._spec)
        measured = measured_pose(robot_obs)
        if target_pose is not None:
            return self._follower.act(pose_from_target(target_pose), measured)
        if self._estimate is None:
            self._estimate = TargetEstimate(measured, self._spec)
        target = self._estimate.observe(measured, free=not self.in_contact)
        action = self._follower.act(target, measured)
        self._estimate.apply(action)
        return action

    @property
    def finished(self) -> bool:
        """Through with it, whether it succeeded or not."""
        return self._follower is not None and self._follower.finished

    @property
    def in_contact(self) -> bool:
        """The present motion may touch something."""
        return self._follower is not None and self._follower.in_contact
