# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the recorder says of its episodes and topics, as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diwa_msgs.msg import EpisodeEvent, RecorderStatus, TopicStatistics

from diwa.data.cadence import TopicRecord
from diwa.data.episode import EpisodeRecord, Outcome
from diwa.data.episode_cadence import EpisodeCadence

if TYPE_CHECKING:
    from diwa_ros.recording_session import RecordingSession

OUTCOMES: dict[int, Outcome] = {
    EpisodeEvent.UNKNOWN: "unknown",
    EpisodeEvent.SUCCESS: "success",
    EpisodeEvent.FAILURE: "failure",
}


def outcome_name(outcome: int) -> Outcome:
    """Outcome of an EndEpisode request; what is not known there is unknown."""
    return OUTCOMES.get(outcome, "unknown")


def outcome_number(outcome: Outcome) -> int:
    """Constant of the messages for an outcome."""
    return next(number for number, name in OUTCOMES.items() if name == outcome)


def episode_event(record: EpisodeRecord, kind: int, reason: str) -> EpisodeEvent:
    """An event without its stamp; `kind` is a constant of EpisodeEvent."""
    return EpisodeEvent(
        episode_id=record.id,
        kind=kind,
        task=record.task,
        outcome=outcome_number(record.outcome),
        reason=reason,
        problems=list(record.problems),
    )


def fill_recorder_status(
    status: RecorderStatus,
    session: RecordingSession,
    now_ns: int,
    publishers: Mapping[str, int],
    listened: EpisodeCadence,
) -> None:
    """Set what is known of a recorder's episodes; arguments as of `cadence_statistics`."""
    tally, latest = session.finished.tally, session.latest
    status.recording = session.recording is not None
    status.folder = str(session.folder.path.absolute())
    status.episodes_recorded = tally.kept
    status.episodes_flagged = tally.flagged
    status.episodes_discarded = tally.discarded
    status.episodes_recovered = tally.recovered
    status.free_space = session.free_bytes()
    status.last_error = session.error
    if latest is not None:
        record = session.finished.records.get(latest.opening.id, latest.opening)
        status.episode_id = record.id
        status.task = record.task
        status.duration = latest.duration_s(now_ns)
        status.messages = latest.cadence.messages
        status.bytes = latest.cadence.bytes
    cadence = None if latest is None else latest.cadence
    status.topics = cadence_statistics(cadence, now_ns, publishers, listened)


def cadence_statistics(
    cadence: EpisodeCadence | None,
    now_ns: int,
    publishers: Mapping[str, int],
    listened: EpisodeCadence,
) -> list[TopicStatistics]:
    """How each topic arrives.

    Args:
        cadence: of the open or the last episode; None before the first.
        now_ns: receive clock, for the recent rate.
        publishers: how many there are right now, by topic of the contract.
        listened: counts on between the episodes; the recent rates are taken from it.
    """
    statistics = []
    records = (
        [
            TopicRecord(topic=topic.topic, expected_hz=topic.expected_hz)
            for topic in listened.topics.values()
        ]
        if cadence is None
        else cadence.records()
    )
    for record in records:
        recent_hz, byte_rate = listened.topics[record.topic].recent(now_ns)
        statistics.append(
            TopicStatistics(
                topic=record.topic,
                source=record.source or record.topic,
                publishers=publishers.get(record.topic, 0),
                reliability=record.reliability,
                received=record.received,
                rate=record.rate_hz,
                recent_rate=recent_hz,
                expected_rate=record.expected_hz,
                gaps=record.gaps,
                missing=record.missing,
                lost=record.lost,
                disordered=record.disordered,
                worst_gap=record.worst_gap_s,
                delay=record.delay_s,
                bytes=record.bytes,
                byte_rate=byte_rate,
                problem=record.problem,
            )
        )
    return statistics
