# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a skill was done on the simulated table: the task's own condition, on every step.

The result of a skill and the observations travel on different topics, and the result may come
first. Whoever judges must `wait_for` what the policy has seen.
"""

from __future__ import annotations

from diwa_msgs.action import RunSkill

from diwa.sim.tasks import find_task, task_succeeded
from diwa_ros.driving import Driver
from diwa_ros.observing import Observed


class SceneOracle:
    """Compares every observed step of an episode with its first one.

    Args:
        driver: observes the scene.
        task: what is to be done.
        period_ns: of control [ns].

    Attributes:
        solved: the task was done in a step since `begin`.
    """

    def __init__(self, driver: Driver, task: str, period_ns: int) -> None:
        find_task(task)
        self.solved = False
        self._driver = driver
        self._task = task
        self._period_ns = period_ns
        self._first: Observed | None = None
        self._last_ns = 0
        driver.watch(self._on_step)

    @property
    def steps(self) -> int:
        """Control steps until success, or all that were observed."""
        if self._first is None:
            return 0
        return round((self._last_ns - self._first.stamp_ns) / self._period_ns)

    def begin(self, first: Observed) -> None:
        """A new episode begins with `first`."""
        self.solved = False
        self._first = first
        self._last_ns = first.stamp_ns

    def wait_for(self, result: RunSkill.Result) -> bool:
        """Observe up to the last step that the server did; returns whether the task was done.

        Raises:
            ConfigError: the observations do not come.
        """
        if self._first is None:
            return False
        end_ns = self._first.stamp_ns + (result.steps - 1) * self._period_ns
        self._driver.wait_until(
            lambda: self.solved or self._last_ns >= end_ns, "last observations of the episode"
        )
        return self.solved

    def _on_step(self, seen: Observed) -> None:
        first = self._first
        if first is None or self.solved or seen.epoch != first.epoch:
            return
        if seen.stamp_ns > self._last_ns:
            self._last_ns = seen.stamp_ns
            self.solved = bool(task_succeeded(self._task, first.scene_obs, seen.scene_obs))
