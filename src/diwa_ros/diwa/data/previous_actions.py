# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The action that led to a frame: the one executed, or one told from where the end effector went.

A derived action is the difference between two frames' poses in the contract's units, clipped to
[-1, 1]. The gripper opens or closes as the fingers move; where they stand still it keeps its
command, and at a segment's start their width decides (`open_width_m`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from diwa.config import Config
from diwa.control.poses import relative_motion
from diwa.data.alignment import MISSING, Sample
from diwa.data.contract import Contract

STILL_M_PER_S = 0.015  # fingers that move less stand still; a Panda's move at up to 0.1 m/s
ROUNDING = 1e-3  # beyond the range by less than this is no clipping


class ActionCounts(Config):
    """What became of the actions of a recording.

    Attributes:
        derived: they were told from poses.
        received: messages; 0 where they are derived.
        late: stamps that did not rise; thrown away.
        used: frames that know the action before them.
        clipped: those that lay outside [-1, 1] or above the per-step limit before clipping.
        missing: segments that ended because an action was lost.
        largest: largest component before clipping; only where they are derived.
    """

    derived: bool
    received: int = 0
    late: int = 0
    used: int = 0
    clipped: int = 0
    missing: int = 0
    largest: float = 0.0


class ExecutedActions:
    """Actions that the robot has published, until their frame has come."""

    def __init__(self, contract: Contract) -> None:
        self.newest_ns: int | None = None
        self._neutral = np.array(contract.action.neutral, dtype=np.float32)
        self._period = contract.period_ns
        self._queue: deque[Sample] = deque()
        self._clipped_ns: set[int] = set()
        self._epoch: int | None = None  # of the latest action that was used or passed over
        self._counts = dict.fromkeys(("received", "late", "used", "clipped", "missing"), 0)

    def clear(self) -> None:
        """Forget all actions, not the counts."""
        self._queue.clear()
        self._clipped_ns.clear()
        self._epoch = None
        self.newest_ns = None

    def add(self, sample: Sample) -> None:
        """Add an action whose stamp is higher than those before."""
        self._counts["received"] += 1
        self.newest_ns = sample.stamp_ns
        self._queue.append(sample)

    def refuse(self) -> None:
        """Count an action whose stamp did not rise."""
        self._counts["received"] += 1
        self._counts["late"] += 1

    def mark_clipped(self, stamp_ns: int) -> None:
        """Note that the action of that stamp was executed shortened."""
        self._clipped_ns.add(stamp_ns)

    def oldest_waiting(self) -> int | None:
        """Stamp of the first action that waits for its frame [ns]."""
        return self._queue[0].stamp_ns if self._queue else None

    def drop_before(self, stamp_ns: int) -> None:
        """Remove what can lead to no frame at or after `stamp_ns`."""
        self._pop_before(stamp_ns - self._period)

    def pick(self, moment: int, first: bool, samples: Mapping[str, Sample]) -> Sample | None:
        """The action that began one period before `moment` (to half a period).

        Args:
            moment: time of the frame [ns].
            first: it starts a segment, so nothing led to it.
            samples: observations of the frame.

        Returns:
            `MISSING` where it was lost, None while it may still come.
        """
        begin, end = moment - 3 * self._period // 2, moment - self._period // 2
        self._pop_before(end if first else begin)
        if first:
            nearest = self._queue[0].epoch if self._queue else None
            return Sample(moment, self._neutral, nearest if self._epoch is None else self._epoch)
        if not self._queue:
            return None
        action = self._queue[0]
        if action.stamp_ns >= end:
            self._counts["missing"] += 1
            return MISSING
        self._counts["used"] += 1
        self._counts["clipped"] += action.stamp_ns in self._clipped_ns
        return action

    def _pop_before(self, stamp_ns: int) -> None:
        while self._queue and self._queue[0].stamp_ns < stamp_ns:
            passed = self._queue.popleft()
            self._epoch = passed.epoch
            self._clipped_ns.discard(passed.stamp_ns)

    @property
    def counts(self) -> ActionCounts:
        """What became of the actions so far."""
        return ActionCounts(derived=False, **self._counts)


class DerivedActions:
    """Actions told from two frames' poses; nothing arrives, and nothing is waited for."""

    newest_ns: int | None = None

    def __init__(self, contract: Contract) -> None:
        by_kind = {stream.kind: key for key, stream in contract.observations.items()}
        self._neutral = np.array(contract.action.neutral, dtype=np.float32)
        self._spec = contract.action
        self._still = STILL_M_PER_S / contract.rate_hz
        self._pose_key = by_kind["pose"]
        self._joints_key = by_kind.get("joints")
        self._pose = np.eye(7)[6]
        self._width = 0.0
        self._gripper = 1.0
        self._used = self._clipped = 0
        self._largest = 0.0

    def clear(self) -> None:
        """Forget nothing: a segment's first frame replaces all."""

    def add(self, sample: Sample) -> None:
        """Refuse an action: the contract says that there are none."""
        raise AssertionError(f"an action at {sample.stamp_ns}, but the contract has no topic of it")

    def refuse(self) -> None:
        """See `add`."""

    def mark_clipped(self, stamp_ns: int) -> None:
        """See `add`."""

    def oldest_waiting(self) -> int | None:
        """Nothing waits."""
        return None

    def drop_before(self, stamp_ns: int) -> None:
        """Nothing waits."""

    def pick(self, moment: int, first: bool, samples: Mapping[str, Sample]) -> Sample | None:
        """The action that led from the frame before to `samples`; see `ExecutedActions.pick`."""
        pose, width = samples[self._pose_key].value, self._finger_width(samples)
        if first:
            self._gripper = 1.0 if width >= self._spec.open_width_m else -1.0
            value = self._neutral
        else:
            moved = width - self._width
            if abs(moved) > self._still:
                self._gripper = 1.0 if moved > 0 else -1.0
            motion = relative_motion(self._pose, pose, self._spec)
            self._count(float(np.abs(motion).max()))
            value = np.append(np.clip(motion, -1, 1), self._gripper).astype(np.float32)
        self._pose, self._width = pose, width
        return Sample(moment, value, None)

    def _finger_width(self, samples: Mapping[str, Sample]) -> float:
        """Distance of the fingers [m]; as if open where no joints are observed."""
        if self._joints_key is None:
            return self._spec.open_width_m
        return float(samples[self._joints_key].value[7:].sum())

    def _count(self, largest: float) -> None:
        self._used += 1
        self._clipped += largest > 1 + ROUNDING
        self._largest = max(self._largest, largest)

    @property
    def counts(self) -> ActionCounts:
        """What the actions were so far."""
        return ActionCounts(
            derived=True, used=self._used, clipped=self._clipped, largest=self._largest
        )
