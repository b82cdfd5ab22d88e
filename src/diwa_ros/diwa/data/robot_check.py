# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Before a recording: does the robot publish what the contract says?

Judges what a node has seen of the topics. Every row says what was found and, where that is not as
it should be, what to do. The disk: `diwa.data.disk_check`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from diwa.data.cadence import TopicRecord
from diwa.data.contract import Contract, Stream
from diwa.data.decode import decode, stamp_ns
from diwa.data.episode_cadence import expected_rates, shortfall
from diwa.errors import ConfigError

Level = Literal["ok", "unsure", "wrong"]
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CLOCK_S = 0.5  # stamps of two topics may be this much apart, and this old
FAST = 1.5  # a rate that is this much higher than the contract's is pointed out


class Row(NamedTuple):
    """One line of the result."""

    subject: str  # a topic, or "clock", "disk"
    level: Level
    found: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one topic after listening to it for a while."""

    source: str  # its name, or that of the compressed image in its place
    types: tuple[str, ...]  # as published
    publishers: tuple[str, ...]  # names of their nodes
    best_effort: bool  # whether some publisher is
    similar: tuple[str, ...]  # topics that could have been meant
    record: TopicRecord
    sample: Any = None  # the first message


def check_topics(contract: Contract, seen: Mapping[str, Seen]) -> list[Row]:
    """One row per topic that is as it should be, one per fault of the others."""
    if not any(item.publishers for item in seen.values()):
        found = f"none of the contract's {len(seen)} topics is published"
        return [Row("robot", "wrong", found, "start it; same ROS_DOMAIN_ID, same namespace?")]
    rows = []
    streams = {stream.topic: stream for stream in contract.observations.values()}
    for topic in expected_rates(contract):
        stream = streams.get(topic)
        faults = list(_faults(contract, topic, stream, seen[topic]))
        rows += faults or [Row(topic, "ok", _summary(seen[topic].record))]
    return rows


def check_clocks(seen: Mapping[str, Seen], simulated: bool) -> list[Row]:
    """Whether all stamps are of one clock, and that clock is this machine's.

    Args:
        seen: by topic.
        simulated: whether the stamps are simulation time.
    """
    alive = {topic: item.record for topic, item in seen.items() if _stamped(item)}
    if not alive:
        return []
    usual = statistics.median_low(record.delay_s for record in alive.values())
    rows = []
    for topic, record in alive.items():
        off = record.delay_s - usual
        if abs(off) > CLOCK_S:
            todo = "synchronise the clocks (chrony), or make the driver stamp with host time"
            side = "behind" if off > 0 else "ahead of"
            rows.append(
                Row(topic, "wrong", f"its stamps are {abs(off):.1f} s {side} the others'", todo)
            )
    if simulated:
        rows.append(Row("clock", "ok", "simulation time"))
    elif not -CLOCK_S / 10 <= usual <= CLOCK_S:
        side = "behind" if usual > 0 else "ahead of"
        todo = "synchronise the clocks (chrony), so that rates and delays mean something"
        found = f"stamps are {abs(usual):.1f} s {side} this machine's clock"
        rows.append(Row("clock", "unsure", found, todo))
    else:
        rows.append(Row("clock", "ok", f"stamps are {usual * 1e3:.0f} ms old when they come in"))
    return rows


def accepted_types(contract: Contract, stream: Stream | None) -> set[str]:
    """Message types that serve for a stream, or for the action where there is none."""
    if stream is None:
        return {contract.action.type}
    return {stream.type, COMPRESSED} if stream.kind == "image" else {stream.type}


def wrong(rows: Iterable[Row]) -> list[Row]:
    """The rows that speak against recording."""
    return [row for row in rows if row.level == "wrong"]


def _faults(contract: Contract, topic: str, stream: Stream | None, seen: Seen) -> Iterable[Row]:
    """What is not as it should be with one topic."""
    record = seen.record
    kind = contract.action.type if stream is None else stream.type
    if not seen.publishers:
        guess = f"; did you mean {' or '.join(seen.similar)}?" if seen.similar else ""
        todo = f"start its driver, or correct the topic in the contract{guess}"
        yield Row(topic, "wrong", "nobody publishes it", todo)
        return
    if not set(seen.types) <= accepted_types(contract, stream):
        todo = f"the contract says {kind}: correct it, or start the right driver"
        yield Row(topic, "wrong", f"type {', '.join(seen.types)}", todo)
        return
    if len(seen.publishers) > 1:
        todo = "stop all but one: their messages would be mixed"
        yield Row(topic, "wrong", f"published by {' and '.join(seen.publishers)}", todo)
    if not record.received:
        level: Level = "unsure" if stream is None else "wrong"
        todo = "move the arm and check again" if stream is None else "is its device switched on?"
        yield Row(topic, level, f"nothing comes from {seen.publishers[0]}", todo)
        return
    if stream is not None and stream.reliability == "reliable" and seen.best_effort:
        todo = "write reliability: best_effort in the contract, or publish reliably"
        yield Row(topic, "unsure", "best effort: the network may lose messages", todo)
    yield from _content_faults(topic, stream, seen.sample, not _stamped(seen))
    yield from _rate_faults(contract, topic, record)


def _content_faults(
    topic: str, stream: Stream | None, sample: Any, unstamped: bool
) -> Iterable[Row]:
    if sample is None:
        return
    if unstamped:
        yield Row(topic, "wrong", "its header stamp is 0", "make its driver stamp the messages")
    if stream is None:
        return
    if stream.frame_id and sample.header.frame_id != stream.frame_id:
        todo = f"publish in {stream.frame_id}, or correct frame_id in the contract"
        yield Row(topic, "wrong", f"in frame {sample.header.frame_id or '(none)'}", todo)
        return
    try:
        decode(sample, stream)
    except ConfigError as error:
        found, expected, todo = error_parts(error)
        todo = todo or "correct the contract"
        yield Row(topic, "wrong", found, f"expected {expected}: {todo}" if expected else todo)


def _rate_faults(contract: Contract, topic: str, record: TopicRecord) -> Iterable[Row]:
    if record.received > 1 and not record.rate_hz:
        yield Row(topic, "unsure", "stands still: the same stamp again", "")
        return
    todo = (
        f"set its driver to {record.expected_hz:g} Hz, or rate_hz in the contract; is the CPU or "
    )
    todo += "the network busy?"
    for text in shortfall(record, contract.cadence):
        yield Row(topic, "wrong", text, todo)
    if record.expected_hz and record.rate_hz > FAST * record.expected_hz:
        found = f"{record.rate_hz:.4g} Hz, more than the contract's {record.expected_hz:g}"
        yield Row(
            topic, "unsure", found, "write its rate_hz in the contract, so that gaps are seen"
        )


def error_parts(error: ConfigError) -> tuple[str, str, str]:
    """What was found, what was expected and what to do next, of an error's lines."""
    parts = {"found": "", "expected": "", "next": ""}
    for line in str(error).splitlines():
        name, separator, text = line.strip().partition(":")
        if separator and name in parts:
            parts[name] = text.strip()
    first = str(error).splitlines()[0]
    return parts["found"] or first, parts["expected"], parts["next"]


def _stamped(seen: Seen) -> bool:
    """Whether its stamps are times; a simulation may begin at 0."""
    record = seen.record
    if not record.received or record.rate_hz:
        return record.received > 0
    return seen.sample is None or stamp_ns(seen.sample) != 0


def _summary(record: TopicRecord) -> str:
    if not record.rate_hz:
        return f"{record.received} messages"
    byte_rate = record.rate_hz * record.bytes / record.received
    return f"{record.rate_hz:.4g} Hz, {byte_rate / 1e3:,.1f} kB/s"
