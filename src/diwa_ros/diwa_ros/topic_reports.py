# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How the recorded topics arrive, for `/diagnostics`: one status per topic."""

from __future__ import annotations

from collections.abc import Iterable

from diwa_msgs.msg import TopicStatistics

from diwa_ros.diagnostics import OK, WARN, Report


def topic_reports(topics: Iterable[TopicStatistics], recording: bool) -> dict[str, Report]:
    """Reports by topic.

    Args:
        topics: of the open or the last episode.
        recording: whether an episode is open, so that silence matters.
    """
    return {topic.topic: _report(topic, recording) for topic in topics}


def _report(topic: TopicStatistics, recording: bool) -> Report:
    problem = topic.problem
    if recording and not problem and topic.expected_rate > 0 and topic.recent_rate == 0:
        problem = "nothing arrives"
    values = {
        "rate [Hz]": topic.rate,
        "recent rate [Hz]": topic.recent_rate,
        "expected rate [Hz]": topic.expected_rate,
        "received": topic.received,
        "gaps": topic.gaps,
        "missing": topic.missing,
        "lost": topic.lost,
        "disordered": topic.disordered,
        "worst gap [s]": topic.worst_gap,
        "delay [s]": topic.delay,
        "bytes/s": topic.byte_rate,
        "publishers": topic.publishers,
        "source": topic.source,
        "reliability": topic.reliability,
    }
    return Report(WARN if problem else OK, problem or f"{topic.recent_rate:.1f} Hz", values)
