# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Which chunks an arm takes, and from whom. No ROS in here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diwa.control.schedule import ChunkSchedule
from diwa.data.contract import Contract
from diwa_ros.arm_rules import Rules, Streak


class Chunk(NamedTuple):
    """Actions, and what they were computed from."""

    actions: np.ndarray  # (Ta, 7); their values are the safety filter's affair; no rows: hold
    stamp_ns: int  # of the observation, ROS time
    epoch: int  # of that observation
    sequence: int  # the sender's count
    source: str  # checkpoint that made it; empty: a person or a script


class ChunkIntake:
    """Lets chunks of this time and this epoch into a schedule.

    Args:
        schedule: that takes them.
        contract: of the robot.
        rules: see there.

    Attributes:
        epoch: of the chunks that are taken.
        source: of the latest chunk.
        discarded: chunks that were not taken.
        misfits: chunks in a row that do not fit the contract.
    """

    def __init__(self, schedule: ChunkSchedule, contract: Contract, rules: Rules) -> None:
        self.epoch = 0
        self.source = ""
        self.discarded = 0
        self.misfits = Streak(rules.most_bad)
        self._schedule = schedule
        self._period_ns = contract.period_ns
        self._size = contract.action.size
        self._oldest_ns = int(rules.chunk_age_s * 1e9)
        self._since_ns = 0  # observations before this are of another time

    def begin(self, epoch: int, stamp_ns: int) -> None:
        """Take chunks of an epoch that begins at `stamp_ns`."""
        self.epoch, self._since_ns = epoch, stamp_ns
        self.misfits.end()
        self._schedule.set_epoch(epoch)

    def fits(self, chunk: Chunk) -> bool:
        """Whether it holds actions of this robot at all."""
        return chunk.actions.ndim == 2 and chunk.actions.shape[1] == self._size

    def in_time(self, chunk: Chunk, now_ns: int) -> bool:
        """Whether it is for here and now."""
        age = now_ns - chunk.stamp_ns
        return (
            chunk.epoch == self.epoch
            and chunk.stamp_ns >= self._since_ns
            and -self._period_ns <= age <= self._oldest_ns
        )

    def push(self, chunk: Chunk, desired: np.ndarray) -> bool:
        """Hand it on; false where the schedule does not take it, which see."""
        stamp_ns, sequence = chunk.stamp_ns, chunk.sequence
        if not self._schedule.push(chunk.actions, stamp_ns, self.epoch, sequence, desired):
            return False
        self.misfits.end()
        self.source = chunk.source
        return True
