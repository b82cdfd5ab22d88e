# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated table as a robot: actions pass the safety filter, time and epochs only go up.

No ROS in here: the bridge turns what comes out of it into messages.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from diwa.control.filter import SafeAction, SafetyFilter, SafetyLimits
from diwa.data.contract import Contract
from diwa.sim.play_table import PlayTableEnv


class Executed(NamedTuple):
    """One control step as it happened."""

    stamp_ns: int  # of the observation at which the action began
    requested: np.ndarray  # (7,) or whatever was sent
    safe: SafeAction
    held: bool  # nothing was requested


class Table:
    """The environment behind a safety filter.

    Args:
        env: the simulation; reset here for the first time.
        contract: gives the control period, the action's units and the workspace.
        seed: of the first reset, and of later ones without a seed of their own.

    Attributes:
        observation: the environment's latest observation.
        epoch: counts resets; the first episode is 0.
        stamp_ns: time of the latest observation; every step and every reset takes one period [ns].
    """

    def __init__(self, env: PlayTableEnv, contract: Contract, seed: int) -> None:
        self.filter = SafetyFilter(SafetyLimits.from_contract(contract))
        self.steps = 0
        self.epoch = 0
        self.stamp_ns = contract.period_ns
        self._env = env
        self._period_ns = contract.period_ns
        self.observation: dict[str, np.ndarray] = env.reset(seed=seed)[0]
        self._take_gripper()

    @property
    def pose(self) -> np.ndarray:
        """Measured pose of the TCP, (7,) float64."""
        return self._env.tcp_pose

    @property
    def joints(self) -> np.ndarray:
        """Positions of seven arm joints [rad] and two fingers [m], (9,) float64."""
        return self._env.joint_positions

    def reset(self, seed: int | None, options: dict[str, Any]) -> None:
        """Begin a new episode; see `PlayTableEnv.reset`. The old one stays when that fails."""
        self.observation = self._env.reset(seed=seed, options=options)[0]
        self._take_gripper()
        self.epoch += 1
        self.stamp_ns += self._period_ns

    def step(self, action: np.ndarray | None) -> Executed:
        """Advance by one control step with `action`, or holding the pose where there is none."""
        requested = self.filter.hold() if action is None else action
        safe = self.filter.filter(requested, self._env.target_pose, self._env.tcp_pose)
        executed = Executed(self.stamp_ns, requested, safe, held=action is None)
        self.observation = self._env.step(safe.action)[0]
        self.stamp_ns += self._period_ns
        self.steps += 1
        return executed

    def _take_gripper(self) -> None:
        """Holding starts with the gripper command that the scene started with."""
        self.filter.gripper = float(self.observation["robot_obs"][14])
