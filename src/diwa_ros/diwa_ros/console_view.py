# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder on one screen: what it does, how topics arrive, what happened, and the keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diwa_msgs.msg import EpisodeEvent, RecorderStatus, TopicStatistics
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from diwa_ros.console_keys import HELP, ConsoleKeys

EVENTS_SHOWN = 3  # the screen should fit 24 lines
OTHER_CLOCK_S = 10.0  # a longer delay is another clock
KINDS = {
    EpisodeEvent.STARTED: "started",
    EpisodeEvent.ENDED: "ended",
    EpisodeEvent.DISCARDED: "discarded",
    EpisodeEvent.RESTORED: "restored",
    EpisodeEvent.LABELLED: "labelled",
    EpisodeEvent.RECOVERED: "recovered",
}
OUTCOMES = {
    EpisodeEvent.UNKNOWN: "",
    EpisodeEvent.SUCCESS: "success",
    EpisodeEvent.FAILURE: "failure",
}
PROMPTS = {"task": "task: ", "relabel": "task of the last episode: ", "note": "note: "}


def draw(
    status: RecorderStatus | None,
    events: Sequence[EpisodeEvent],
    keys: ConsoleKeys,
    message: str,
) -> RenderableType:
    """The whole screen.

    Args:
        status: the latest; None: the recorder is silent.
        events: oldest first.
        keys: what is being typed.
        message: answer to the last command, or why nothing is heard.
    """
    parts: list[RenderableType] = []
    if status is not None:
        parts += [_headline(status), _counts(status), Text(), _topics(status.topics)]
        parts += [*_problems(status.topics), Text()]
        if status.last_error:
            parts.append(Text(f"error: {status.last_error}", "bold red"))
    parts += [Text(event_line(event), "dim") for event in events[-EVENTS_SHOWN:]]
    parts += [Text(), Text(keys.hint or message, "yellow")]
    if keys.typing:
        parts.append(Text(f"{PROMPTS[keys.typing]}{keys.text}_  (enter, escape)", "bold"))
    else:
        named = f"task: {keys.task or 'play'}" + (f"   note: {keys.note}" if keys.note else "")
        parts.append(Text(named))
    parts.append(_help(status is not None and status.recording))
    return Group(*parts)


def status_line(status: RecorderStatus) -> str:
    """The status as one line, for where there is no terminal."""
    problems = [f"{topic.topic}: {topic.problem}" for topic in status.topics if topic.problem]
    rates = ", ".join(f"{topic.topic} {topic.recent_rate:.0f}" for topic in status.topics)
    parts = [_state(status), f"{status.messages} messages", f"{status.bytes / 1e6:.1f} MB"]
    return ", ".join(parts) + f"; Hz: {rates}" + "".join(f"; {text}" for text in problems)


def event_line(event: EpisodeEvent) -> str:
    """An event as one line."""
    words = [event.episode_id, KINDS.get(event.kind, str(event.kind)), event.task]
    words += [OUTCOMES.get(event.outcome, ""), f"({event.reason})" if event.reason else ""]
    problems = f": {'; '.join(event.problems)}" if event.problems else ""
    return " ".join(word for word in words if word) + problems


def _state(status: RecorderStatus) -> str:
    if not status.active:
        return "NOT ACTIVE"
    if not status.recording:
        return "ready"
    minutes, seconds = divmod(int(status.duration), 60)
    return f"RECORDING {minutes:02}:{seconds:02} {status.episode_id} {status.task or 'play'}"


def _headline(status: RecorderStatus) -> Text:
    style = "bold white on red" if status.recording else "bold green" if status.active else "bold"
    return Text(f" {_state(status)} ", style)


def _counts(status: RecorderStatus) -> Text:
    return Text(
        f"{status.messages} messages, {status.bytes / 1e6:.1f} MB; "
        f"{status.free_space / 1e9:.1f} GB free in {status.folder}\n"
        f"this session: {status.episodes_recorded} recorded, {status.episodes_flagged} flagged, "
        f"{status.episodes_discarded} discarded, {status.episodes_recovered} recovered"
    )


def _topics(topics: Iterable[TopicStatistics]) -> Table:
    """Fits 80 columns with the topics that we ship."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("topic", overflow="fold", min_width=20)
    for title in ("now", "mean", "of Hz", "gaps", "miss", "lost", "worst", "delay", "kB/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for topic in topics:
        silent = topic.expected_rate > 0 and topic.recent_rate == 0
        style = "red" if silent or topic.problem else "green"
        table.add_row(
            topic.source or topic.topic,
            Text(f"{topic.recent_rate:.1f}", style),
            f"{topic.rate:.2f}",
            f"{topic.expected_rate:g}" if topic.expected_rate else "any",
            str(topic.gaps),
            str(topic.missing),
            str(topic.lost),
            f"{topic.worst_gap:.2f} s",
            f"{topic.delay * 1e3:.0f} ms" if abs(topic.delay) < OTHER_CLOCK_S else "-",
            f"{topic.byte_rate / 1e3:.0f}",
        )
    return table


def _problems(topics: Iterable[TopicStatistics]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for topic in topics:
        if topic.publishers > 1:
            lines.append(Text(f"{topic.topic}: {topic.publishers} publishers", "bold red"))
        if topic.problem:
            lines.append(Text(f"{topic.topic}: {topic.problem}", "bold red"))
    return lines


def _help(recording: bool) -> Columns:
    items = []
    for key, meaning in HELP[recording]:
        items.append(Text.assemble((f" {key} ", "reverse"), f" {meaning}"))
    return Columns(items, padding=(0, 2, 0, 0))
