# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Samples to frames at the control rate: the one piece of code for live and recorded messages.

A segment starts at the first moment when every observation key has a sample; its frames lie on a
grid of the control period from there. For a grid point ``g`` every observation key gives the
sample that its policy chooses, see `diwa.data.alignment`.

The previous action is the one that began one period before ``g`` (to half a period), or, where the
contract names no topic of actions, the one that leads from the frame before to this one. A segment
ends, and the next one starts with ``is_first``, where an observation is missing for longer than
its policy allows, where the previous action is missing, and where a sample's epoch changes (a
reset; nothing from before it is used after it). So a pair of neighbouring frames is always one
period and one known action apart.

Each choice uses only what can no longer change, so frames are a function of the samples of every
key, whatever the order between keys (with ``hold``: as long as no key lags by its tolerance), and
a frame comes out with the last sample that it needs. Within a key, stamps must rise: duplicates
and late samples are dropped. Two exceptions, so that nothing grows or hangs for ever: when a key
lags by more than `patience_s`, what waits for it is given up and a segment starts from the newest
sample; and a stamp that jumps back by more than that (a simulation started again) resets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diwa.data.alignment import MISSING, KeyAlignment, KeySamples, Sample
from diwa.data.contract import Contract
from diwa.data.decode import decode, decode_action, epoch_of, stamp_ns
from diwa.data.observations import compose_observation, compose_proprio
from diwa.data.previous_actions import ActionCounts, DerivedActions, ExecutedActions

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
        epoch: episode epoch of the observation; where no stream carries one, that of the action
            before it; None where there is none of either.
        cause: why a segment starts here; empty in all other frames.
    """

    stamp_ns: int
    observation: dict[str, np.ndarray]
    previous_action: np.ndarray
    is_first: bool
    epoch: int | None = None
    cause: str = ""


class FrameBuilder:
    """Collects samples per key and emits frames; see the module's text for the rules.

    Attributes:
        dropped: duplicates and late samples.
    """

    def __init__(self, contract: Contract, patience_s: float = 2.0) -> None:
        self.contract = contract
        self.dropped = 0
        self._patience = round(patience_s * 1e9)
        self._slack = contract.period_ns // 10
        self._keys = {
            key: KeySamples(stream, contract) for key, stream in contract.observations.items()
        }
        self._actions = (ExecutedActions if contract.action.topic else DerivedActions)(contract)
        self._ready: list[Frame] = []
        self.reset()

    def reset(self, cause: str = "start") -> None:
        """Forget everything but the counts: the next frame is the first of a segment."""
        for samples in self._keys.values():
            samples.clear()
        self._actions.clear()
        self._ready = []
        self._cause = cause
        self._origin: int | None = None
        self._index = 0
        self._epochs: dict[str, int | None] = {}

    @property
    def alignment(self) -> dict[str, KeyAlignment]:
        """What became of every observation key's samples so far."""
        return {key: samples.counts for key, samples in self._keys.items()}

    @property
    def action_counts(self) -> ActionCounts:
        """What became of the actions so far."""
        return self._actions.counts

    def push_message(self, key: str, message: Any) -> None:
        """Decode a message of `key` and push it with its stamp and epoch."""
        if key == ACTION:
            value = decode_action(message)
            if message.clipped and stamp_ns(message) > (self._actions.newest_ns or -1):
                self._actions.mark_clipped(stamp_ns(message))
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
        samples = self._actions if key == ACTION else self._keys[key]
        newest = samples.newest_ns
        if newest is not None and stamp_ns <= newest:
            if newest - stamp_ns <= self._patience:
                self.dropped += 1
                samples.refuse()
                return
            ready = self.pop()
            self.reset("the clock was set back")
            self._ready = ready
        samples.add(Sample(stamp_ns, value, epoch))
        self._advance()
        self._give_up_waiting(stamp_ns)

    def pop(self) -> list[Frame]:
        """Frames completed since the last call, oldest first."""
        ready, self._ready = self._ready, []
        return ready

    def _give_up_waiting(self, stamp_ns: int) -> None:
        """Start again from `stamp_ns` when something has waited for longer than the patience."""
        queues = (*self._keys.values(), self._actions)
        waiting = [at for at in (queue.oldest_waiting() for queue in queues) if at is not None]
        if min(waiting, default=stamp_ns) >= stamp_ns - self._patience:
            return
        newest = {key: samples.newest_ns or 0 for key, samples in self._keys.items()}
        if self.contract.action.topic:
            newest[ACTION] = self._actions.newest_ns or 0
        slowest = min(newest, key=lambda key: newest[key])
        self._restart(stamp_ns, f"{slowest} fell behind")
        self._advance()

    def _advance(self) -> None:
        """Emit frames and start segments until more samples are needed."""
        while self._origin is not None or self._find_origin():
            moment = self._moment()
            samples = self._pick(moment)
            if samples is None:
                return
            missing = [key for key, sample in samples.items() if sample is MISSING]
            if missing:
                for key in missing:
                    self._keys[key].miss()
                self._restart(moment - self._slack, f"no {', '.join(missing)} in time")
                continue
            changed = self._epoch_change(samples)
            if changed is not None:
                self._restart(changed, "reset", reset=True)
                continue
            action = self._actions.pick(moment, self._index == 0, samples)
            if action is None:
                return
            if action is MISSING:
                self._restart(moment - self._slack, "no action in time")
                continue
            self._emit(moment, samples, action)

    def _find_origin(self) -> bool:
        heads = [samples.queue[0].stamp_ns for samples in self._keys.values() if samples.queue]
        if len(heads) < len(self._keys):
            return False
        self._origin = max(heads)
        self._index = 0
        return True

    def _moment(self) -> int:
        """Time of the next frame on the grid [ns]."""
        assert self._origin is not None
        return self._origin + round(self._index * 1e9 / self.contract.rate_hz)

    def _pick(self, moment: int) -> dict[str, Sample] | None:
        """Each key's sample for `moment`; None while a fitting one may still come."""
        picks = {}
        for key, samples in self._keys.items():
            sample = samples.pick(moment, self._newest_but(key) if samples.holds else 0)
            if sample is None:
                return None
            picks[key] = sample
        return picks

    def _newest_but(self, key: str) -> int:
        others = (samples.newest_ns for name, samples in self._keys.items() if name != key)
        return max((stamp for stamp in others if stamp is not None), default=0)

    def _epoch_change(self, samples: dict[str, Sample]) -> int | None:
        """Where a reset is between `samples` and the segment, or among them: a stamp after it."""
        if self._index > 0:
            changed = [s.stamp_ns for key, s in samples.items() if s.epoch != self._epochs[key]]
            return min(changed, default=None)
        known = [sample for sample in samples.values() if sample.epoch is not None]
        newest = max(known, key=lambda sample: sample.stamp_ns, default=None)
        old = [s.stamp_ns for s in known if newest is not None and s.epoch != newest.epoch]
        return max(old) + 1 if old else None

    def _restart(self, stamp_ns: int, cause: str, reset: bool = False) -> None:
        """End the segment; nothing from before `stamp_ns` goes into the next one."""
        self._origin = None
        self._cause = self._cause or cause
        for samples in self._keys.values():
            samples.drop_before(stamp_ns, reset)
        self._actions.drop_before(stamp_ns)

    def _emit(self, moment: int, samples: dict[str, Sample], action: Sample) -> None:
        for key, sample in samples.items():
            self._keys[key].use(sample, moment)
        raw = {key: sample.value for key, sample in samples.items()}
        newest = max(sample.stamp_ns for sample in samples.values())
        epochs = [sample.epoch for sample in samples.values() if sample.epoch is not None]
        frame = Frame(
            stamp_ns=newest if abs(newest - moment) <= self._slack else moment,
            observation=compose_observation(self.contract, raw, action.value),
            previous_action=action.value,
            is_first=self._index == 0,
            epoch=max(epochs, default=action.epoch),
            cause=self._cause,
        )
        self._cause = ""
        self._epochs = {key: sample.epoch for key, sample in samples.items()}
        self._ready.append(frame)
        self._index += 1
