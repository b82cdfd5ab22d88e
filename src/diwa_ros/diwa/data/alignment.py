# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Which sample of a key belongs to a moment, by the key's policy in the contract.

For a moment ``g`` and a slack of a tenth of the control period:

``asof``
    the first sample within the slack of ``g``, or else the last one before it, once a later one
    shows that nothing closer will come; not if it is older than the tolerance.
``drop``
    as ``asof``, but no sample is used for two frames: rather no frame than an old picture.
``hold``
    the last sample, however old, for topics that are slow or speak only when something changes.
    When its next one is due (by the stream's `rate_hz`), the frame waits for it until another key
    is the tolerance past ``g``; what comes later still counts from the next frame on.

Also which samples were used, how often, and how old: the counts of `KeyAlignment`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from diwa.config import Config
from diwa.data.contract import Contract, Stream


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A value with its header stamp [ns] and, where its type has one, its episode epoch."""

    stamp_ns: int
    value: np.ndarray
    epoch: int | None


MISSING = Sample(-1, np.empty(0), None)  # no sample fits, and none will


class KeyAlignment(Config):
    """What became of the samples of one key.

    Attributes:
        received: all of them.
        late: stamps that did not rise (duplicates, swapped messages: thrown away) and, with
            ``hold``, samples that came after their frame.
        used: frames.
        held: frames with the same sample as the frame before.
        missing: frames that could not be, because no sample fitted.
        oldest_s: greatest age of a sample that was used [s].
        first_ns: lowest stamp received [ns]; 0 where nothing was.
        last_ns: highest.
    """

    received: int = 0
    late: int = 0
    used: int = 0
    held: int = 0
    missing: int = 0
    oldest_s: float = 0.0
    first_ns: int = 0
    last_ns: int = 0


class KeySamples:
    """Samples of one observation key that a frame may still need."""

    def __init__(self, stream: Stream, contract: Contract) -> None:
        self.queue: deque[Sample] = deque()
        self.newest_ns: int | None = None
        self.holds = stream.alignment == "hold"
        self._drops = stream.alignment == "drop"
        self._slack = contract.period_ns // 10
        self._tolerance = round(stream.tolerance_s * 1e9)
        self._interval = round(1e9 / (stream.rate_hz or contract.rate_hz))
        self._last: Sample | None = None  # of the frame before
        self._frame_ns: int | None = None  # latest moment that has had its frame
        self._received = self._late = self._used = self._held = self._missing = 0
        self._oldest = 0
        self._first_ns: int | None = None
        self._last_ns = 0

    def clear(self) -> None:
        """Forget all samples, not the counts."""
        self.queue.clear()
        self.newest_ns = self._last = self._frame_ns = None

    def add(self, sample: Sample) -> None:
        """Add a sample whose stamp is higher than those before."""
        self._received += 1
        moment = self._frame_ns
        if self.holds and moment is not None and sample.stamp_ns <= moment + self._slack:
            self._late += 1
        self.newest_ns = sample.stamp_ns
        if self._first_ns is None or sample.stamp_ns < self._first_ns:
            self._first_ns = sample.stamp_ns
        self._last_ns = max(self._last_ns, sample.stamp_ns)
        self.queue.append(sample)

    def refuse(self) -> None:
        """Count a sample whose stamp did not rise."""
        self._received += 1
        self._late += 1

    def oldest_waiting(self) -> int | None:
        """Stamp of the first sample that waits for others [ns]; a held one does not wait."""
        index = int(self.holds)
        return self.queue[index].stamp_ns if len(self.queue) > index else None

    def drop_before(self, stamp_ns: int, reset: bool) -> None:
        """Remove samples older than `stamp_ns`.

        What is held stays, being valid until replaced; after a `reset`, unless its epoch says
        that it is of before.
        """
        queue = self.queue
        keep = int(self.holds)
        while len(queue) > keep and queue[keep].stamp_ns < stamp_ns:
            queue.popleft()
        if reset and queue and queue[0].stamp_ns < stamp_ns and queue[0].epoch is not None:
            queue.popleft()

    def pick(self, moment: int, elsewhere: int) -> Sample | None:
        """The sample for `moment`.

        Args:
            moment: time of the frame [ns].
            elsewhere: newest stamp of all other keys [ns].

        Returns:
            `MISSING` where none fits, None while a fitting one may still come.
        """
        queue, before = self.queue, moment - self._slack
        while len(queue) > 1 and queue[1].stamp_ns < before:
            queue.popleft()
        for sample in queue:
            if sample.stamp_ns < before:
                continue
            if sample.stamp_ns <= moment + self._slack:
                return sample
            return self._older(queue[0], moment)
        if self.holds and queue:
            due = queue[-1].stamp_ns + self._interval <= moment + self._slack
            if not due or elsewhere > moment + max(self._tolerance, self._slack):
                return queue[-1]
        return None

    def _older(self, sample: Sample, moment: int) -> Sample:
        """`sample` if it may stand for `moment`, which lies after it."""
        if sample.stamp_ns >= moment:
            return MISSING
        if self.holds:
            return sample
        used = self._drops and sample is self._last
        return MISSING if used or sample.stamp_ns + self._tolerance < moment else sample

    def use(self, sample: Sample, moment: int) -> None:
        """Count a sample that became part of the frame of `moment`."""
        self._used += 1
        self._held += sample is self._last
        self._oldest = max(self._oldest, moment - sample.stamp_ns)
        self._last, self._frame_ns = sample, moment

    def miss(self) -> None:
        """Count a frame that could not be for want of this key."""
        self._missing += 1

    @property
    def counts(self) -> KeyAlignment:
        """What became of the samples so far."""
        return KeyAlignment(
            received=self._received,
            late=self._late,
            used=self._used,
            held=self._held,
            missing=self._missing,
            oldest_s=self._oldest / 1e9,
            first_ns=self._first_ns or 0,
            last_ns=self._last_ns,
        )
