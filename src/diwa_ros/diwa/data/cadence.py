# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How one topic arrives: rate, gaps, loss. All topics of an episode: `diwa.data.episode_cadence`.

Everything that judges the robot is computed from header stamps, so that a busy recorder is not
taken for a thin camera, and a simulation in step with its actions has a rate. Receive times only
serve what is shown live: the recent rate and the delay.
"""

from __future__ import annotations

from collections import deque

from diwa.config import Config

SECOND_NS = 1_000_000_000
GAP_PERIODS = 1.5  # a longer time between two stamps of a topic is a gap
MARK_NS = SECOND_NS // 4  # the recent rate is kept in steps of this length
MARKS = 9  # so it is taken over two seconds
BACK_NS = SECOND_NS  # stamps that go back further come from a clock that was set
JUMP_NS = 2 * SECOND_NS  # as do stamps that go forward further, and do so
JUMP_SPEED = 20  # this much faster than the messages come in


class TopicRecord(Config):
    """How one topic arrived during an episode; kept with the episode."""

    topic: str  # as in the contract
    source: str = ""  # topic that was really recorded; empty: the same
    type: str = ""  # of the recorded messages
    reliability: str = ""  # "reliable" or "best_effort", as subscribed
    expected_hz: float = 0.0  # 0: any
    received: int = 0  # messages
    rate_hz: float = 0.0  # by header stamps
    gaps: int = 0  # times that a stamp came later than 1.5 periods after the one before
    missing: int = 0  # messages that those gaps stand for
    lost: int = 0  # messages that the middleware reported as lost
    disordered: int = 0  # messages whose stamp is not newer than the one before
    jumps: int = 0  # times that the clock of the stamps was set
    worst_gap_s: float = 0.0  # longest time between two stamps
    delay_s: float = 0.0  # mean of receive time minus header stamp
    bytes: int = 0  # serialised
    problem: str = ""  # what is outside the contract's tolerance; empty: nothing

    @property
    def loss(self) -> float:
        """Share of the messages that did not come, in [0, 1]."""
        missing = max(self.missing, self.lost)
        share = missing / (self.received + missing) if missing else 0.0
        if not (self.rate_hz and self.expected_hz):
            return share
        due = (self.received - 1) * self.expected_hz / self.rate_hz + 1  # in the same time
        return max(share, 1 - self.received / due)


class TopicCadence:
    """Counts the messages of one topic.

    Args:
        topic: name in the contract.
        expected_hz: rate it should have; 0: any, as of a topic that is published on change.

    Attributes:
        source: topic that is really recorded.
        type: of its messages.
        reliability: "reliable" or "best_effort", as subscribed.
        received: messages so far.
        bytes: their size.
        first_ns: header stamp of the first message; None before it.
        last_ns: newest header stamp.
        received_ns: receive time of the latest message.
    """

    def __init__(self, topic: str, expected_hz: float = 0.0) -> None:
        self.topic = topic
        self.expected_hz = expected_hz
        self.source = self.type = self.reliability = ""
        self.received = self.bytes = self.received_ns = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._period_ns = SECOND_NS / expected_hz if expected_hz else float("inf")
        self._limit_ns = GAP_PERIODS * self._period_ns
        self._gaps = self._missing = self._lost = self._disordered = self._jumps = 0
        self._steps = 0  # from one stamp to the next, without those where the clock was set
        self._span_ns = 0  # their sum
        self._worst_ns = 0
        self._delays_ns = 0  # sum over all messages
        self._marks: deque[tuple[int, int, int]] = deque(maxlen=MARKS)  # time, messages, bytes

    def push(self, stamp_ns: int, receive_ns: int, size: int) -> None:
        """Count a message.

        Args:
            stamp_ns: header stamp.
            receive_ns: when it came in.
            size: serialised [B].
        """
        if not self._marks or not 0 <= receive_ns - self._marks[-1][0] < MARK_NS:
            self._mark(receive_ns)
        self.received += 1
        self.bytes += size
        self._delays_ns += receive_ns - stamp_ns
        if self.last_ns is None:
            self.first_ns = self.last_ns = stamp_ns
        else:
            step_ns = stamp_ns - self.last_ns
            if 0 < step_ns <= self._limit_ns and step_ns <= JUMP_NS:
                self._advance(stamp_ns, step_ns)
            else:
                self._irregular(stamp_ns, step_ns, receive_ns - self.received_ns)
        self.received_ns = receive_ns

    def lost(self, messages: int) -> None:
        """Add messages that the middleware reported as lost."""
        self._lost += messages

    @property
    def delay_s(self) -> float:
        """Mean of receive time minus header stamp."""
        return self._delays_ns / self.received / SECOND_NS if self.received else 0.0

    def recent(self, now_ns: int) -> tuple[float, float]:
        """Messages and bytes per second over the last two seconds of receive time."""
        marks = [mark for mark in self._marks if 0 < now_ns - mark[0] <= (MARKS - 1) * MARK_NS]
        if not marks:
            return 0.0, 0.0
        start_ns, messages, size = marks[0]
        seconds = max(now_ns - start_ns, MARK_NS) / SECOND_NS
        return (self.received - messages) / seconds, (self.bytes - size) / seconds

    def record(self, problem: str = "") -> TopicRecord:
        """Everything counted so far."""
        return TopicRecord(
            topic=self.topic,
            source=self.source if self.source != self.topic else "",
            type=self.type,
            reliability=self.reliability,
            expected_hz=self.expected_hz,
            received=self.received,
            rate_hz=self._steps * SECOND_NS / self._span_ns if self._span_ns else 0.0,
            gaps=self._gaps,
            missing=self._missing,
            lost=self._lost,
            disordered=self._disordered,
            jumps=self._jumps,
            worst_gap_s=self._worst_ns / SECOND_NS,
            delay_s=self.delay_s,
            bytes=self.bytes,
            problem=problem,
        )

    def _advance(self, stamp_ns: int, step_ns: int) -> None:
        self._steps += 1
        self._span_ns += step_ns
        self.last_ns = stamp_ns
        if step_ns > self._worst_ns:
            self._worst_ns = step_ns

    def _irregular(self, stamp_ns: int, step_ns: int, receive_step_ns: int) -> None:
        """A stamp that is not newer, or later than it should be."""
        set_forward = step_ns > JUMP_NS and 0 <= receive_step_ns < step_ns / JUMP_SPEED
        if step_ns < -BACK_NS or set_forward:
            self._jumps += 1
            self._disordered += step_ns < 0
            self.last_ns = stamp_ns
        elif step_ns <= 0:
            self._disordered += 1
            if step_ns < 0 and self._missing:  # it was late, not missing
                self._missing -= 1
                self._steps += 1
        else:
            if step_ns > self._limit_ns:
                self._gaps += 1
                self._missing += max(round(step_ns / self._period_ns) - 1, 1)
            self._advance(stamp_ns, step_ns)

    def _mark(self, now_ns: int) -> None:
        if self._marks and now_ns < self._marks[-1][0]:  # the clock was set back
            self._marks.clear()
        self._marks.append((now_ns, self.received, self.bytes))
