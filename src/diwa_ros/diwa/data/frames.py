# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Samples to frames at the control rate: the one piece of code for live and recorded messages.

A segment starts at the first moment when every observation key has a sample; its frames lie on a
grid of the control period from there. For a grid point ``g`` every observation key gives

1. its first sample within a tenth of a period of ``g``, or else
2. its last sample before that, once a later one shows that nothing closer will come, provided it
   is not older than the stream's tolerance.

The previous action is the one that began one period before ``g`` (to half a period). A segment
ends, and the next one starts with ``is_first``, where an observation is missing for longer than
its tolerance, where the previous action is missing, and where a sample's epoch changes (a reset;
nothing from before it is used after it). So a pair of neighbouring frames is always one period
and one known action apart.

Each choice uses only what can no longer change, so frames are a function of the samples of every
key, whatever the order between keys, and a frame comes out with the last sample that it needs.
Within a key, stamps must rise: duplicates and late samples are dropped. Two exceptions, so that
nothing grows or hangs for ever: when a key lags by more than `patience_s`, what waits for it is
given up and a segment starts from the newest sample; and a stamp that jumps back by more than that
(a simulation started again) resets.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from diwa.data.contract import Contract
from diwa.data.decode import decode, decode_action, epoch_of, stamp_ns
from diwa.data.observations import compose_observation, compose_proprio

__all__ = ["ACTION", "Frame", "FrameBuilder", "compose_observation", "compose_proprio"]

ACTION = "action"


@dataclass(frozen=True, slots=True)
class Frame:
    """What the robot saw at one control step, and how it came there.

    Attributes:
        stamp_ns: time of the observation [ns].
        observation: see `compose_observation`.
        previous_action: (7,) float32 in [-1, 1]; neutral in the first frame.
        is_first: this frame starts a segment: nothing is known of the time before.
        epoch: episode epoch of the observation, None where no stream carries one.
    """

    stamp_ns: int
    observation: dict[str, np.ndarray]
    previous_action: np.ndarray
    is_first: bool
    epoch: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    stamp_ns: int
    value: np.ndarray
    epoch: int | None


_MISSING = _Sample(-1, np.empty(0), None)  # no sample fits, and none will


class FrameBuilder:
    """Collects samples per key and emits frames; see the module's text for the rules."""

    def __init__(self, contract: Contract, patience_s: float = 2.0) -> None:
        self.contract = contract
        self.dropped = 0  # duplicates and late samples
        self._patience = round(patience_s * 1e9)
        self._period = contract.period_ns
        self._slack = self._period // 10
        self._tolerance = {
            key: round(stream.tolerance_s * 1e9) for key, stream in contract.observations.items()
        }
        self._neutral = np.array(contract.action.neutral, dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of a segment."""
        self._queues: dict[str, deque[_Sample]] = {
            key: deque() for key in (*self.contract.observations, ACTION)
        }
        self._newest: dict[str, int] = {}
        self._ready: list[Frame] = []
        self._origin: int | None = None
        self._index = 0
        self._epochs: dict[str, int | None] = {}

    def push_message(self, key: str, message: Any) -> None:
        """Decode a message of `key` and push it with its stamp and epoch."""
        if key == ACTION:
            value = decode_action(message)
        else:
            value = decode(message, self.contract.observations[key])
        self.push(key, stamp_ns(message), value, epoch_of(message))

    def push(self, key: str, stamp_ns: int, value: np.ndarray, epoch: int | None = None) -> None:
        """Add a sample.

        Args:
            key: an observation key of the contract, or "action" for executed actions.
            stamp_ns: header stamp [ns]; for an action, of the frame at which it began.
            value: as `diwa.data.decode.decode` returns it; must not be changed afterwards.
            epoch: episode epoch if the message carries one. Without it a reset is only seen where
                observations or actions are missing.
        """
        newest = self._newest.get(key)
        if newest is not None and stamp_ns <= newest:
            if newest - stamp_ns <= self._patience:
                self.dropped += 1
                return
            ready = self._ready
            self.reset()
            self._ready = ready
        self._newest[key] = stamp_ns
        self._queues[key].append(_Sample(stamp_ns, value, epoch))
        self._advance()
        oldest = min(queue[0].stamp_ns for queue in self._queues.values() if queue)
        if oldest < stamp_ns - self._patience:
            self._restart(stamp_ns)
            self._advance()

    def pop(self) -> list[Frame]:
        """Frames completed since the last call, oldest first."""
        ready, self._ready = self._ready, []
        return ready

    def _advance(self) -> None:
        """Emit frames and start segments until more samples are needed."""
        while True:
            if self._origin is None and not self._find_origin():
                return
            moment = self._moment()
            picks = {key: self._pick(key, moment) for key in self._tolerance}
            if None in picks.values():
                return
            samples = {key: sample for key, sample in picks.items() if sample is not None}
            if _MISSING in samples.values():
                self._restart(moment - self._slack)
                continue
            changed = self._epoch_change(samples)
            if changed is not None:
                self._restart(changed)
                continue
            action = self._pick_action(moment)
            if action is None:
                return
            if action is _MISSING:
                self._restart(moment - self._slack)
                continue
            self._emit(moment, samples, action)

    def _find_origin(self) -> bool:
        queues = [self._queues[key] for key in self._tolerance]
        if not all(queues):
            return False
        self._origin = max(queue[0].stamp_ns for queue in queues)
        self._index = 0
        return True

    def _moment(self) -> int:
        """Time of the next frame on the grid [ns]."""
        assert self._origin is not None
        return self._origin + round(self._index * 1e9 / self.contract.rate_hz)

    def _pick(self, key: str, moment: int) -> _Sample | None:
        """Sample of `key` for `moment`; None while a fitting one may still come."""
        queue = self._queues[key]
        while len(queue) > 1 and queue[1].stamp_ns < moment - self._slack:
            queue.popleft()
        for sample in queue:
            if abs(sample.stamp_ns - moment) <= self._slack:
                return sample
            if sample.stamp_ns > moment:
                held = queue[0]
                fits = held.stamp_ns < moment <= held.stamp_ns + self._tolerance[key]
                return held if fits else _MISSING
        return None

    def _pick_action(self, moment: int) -> _Sample | None:
        """Action that began one period before `moment`; None while it may still come."""
        queue = self._queues[ACTION]
        begin, end = moment - 3 * self._period // 2, moment - self._period // 2
        first = self._index == 0
        while queue and queue[0].stamp_ns < (end if first else begin):
            queue.popleft()
        if first:
            return _Sample(moment, self._neutral, None)
        if not queue:
            return None
        return queue[0] if queue[0].stamp_ns < end else _MISSING

    def _epoch_change(self, samples: dict[str, _Sample]) -> int | None:
        """Stamp of the first sample of another epoch than the segment's, if there is one."""
        if self._index == 0:
            return None
        changed = [s.stamp_ns for key, s in samples.items() if s.epoch != self._epochs[key]]
        return min(changed, default=None)

    def _restart(self, stamp_ns: int) -> None:
        """End the segment; nothing from before `stamp_ns` goes into the next one."""
        self._origin = None
        for key, queue in self._queues.items():
            oldest = stamp_ns - self._period if key == ACTION else stamp_ns
            while queue and queue[0].stamp_ns < oldest:
                queue.popleft()

    def _emit(self, moment: int, samples: dict[str, _Sample], action: _Sample) -> None:
        raw = {key: sample.value for key, sample in samples.items()}
        newest = max(sample.stamp_ns for sample in samples.values())
        epochs = [sample.epoch for sample in samples.values() if sample.epoch is not None]
        frame = Frame(
            stamp_ns=newest if abs(newest - moment) <= self._slack else moment,
            observation=compose_observation(self.contract, raw, action.value),
            previous_action=action.value,
            is_first=self._index == 0,
            epoch=max(epochs, default=None),
        )
        self._epochs = {key: sample.epoch for key, sample in samples.items()}
        self._ready.append(frame)
        self._index += 1
