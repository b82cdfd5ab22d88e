# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa info` for bags: what was recorded, how it arrived, and what should be looked at."""

from __future__ import annotations

from pathlib import Path

from diwa.data.bag_lock import is_locked
from diwa.data.bag_reader import BagReader
from diwa.data.bag_tools import broken_bags
from diwa.data.episode import FILE_NAME, EpisodeRecord, find_bags, read_episode, read_unfinished
from diwa.data.text_table import MOST_ROWS, duration, table


def describe_bag(path: Path) -> str:
    """A bag: labels, problems, topics."""
    lines = [f"bag {path}"]
    record = read_episode(path) if (path / FILE_NAME).is_file() else None
    if record is not None:
        lines += [
            f"  episode    {record.id}, {record.kind}, contract {record.contract.name}",
            f"  task       {record.task or '-'}",
            f"  outcome    {_outcome(record)}",
        ]
        if record.note:
            lines.append(f"  note       {record.note}")
        lines += [f"  problem    {problem}" for problem in _problems(record)]
        lines += [
            f"  edited     {edit.at[:19].replace('T', ' ')}: {edit.what}; before: {edit.kind},"
            f" {edit.task or 'no task'}, {edit.outcome} {edit.reason}".rstrip()
            for edit in record.history
        ]
    with BagReader(path) as reader:
        lines.append(f"  duration   {duration(reader.duration_s)}")
        rows = [
            (name, kind, count, f"{count / max(reader.duration_s, 1e-9):.1f}")
            for name, (kind, count) in sorted(reader.topics.items())
        ]
    text = "\n".join([*lines, "", table(("topic", "type", "messages", "per second"), rows)])
    return text + (_arrival(record) if record is not None and record.topics else "")


def describe_unfinished(path: Path) -> str:
    """A bag that is being recorded, or was broken off."""
    record = read_unfinished(path)
    state = "being recorded" if is_locked(path) else "broken off: `diwa dataset repair` finishes it"
    return "\n".join(
        [
            f"bag {path}",
            f"  episode    {record.id}, {record.kind}, contract {record.contract.name}",
            f"  task       {record.task or '-'}",
            f"  state      {state}",
        ]
    )


def describe_bags(path: Path) -> str:
    """A folder of bags, and what in it needs a look."""
    bags = find_bags(path)
    records = [read_episode(bag) for bag in bags]
    total = sum(record.duration_s for record in records)
    lines = [f"{len(bags)} bags in {path}, {duration(total)} together", "", list_bags(path)]
    broken = broken_bags(path)
    if broken:
        lines += ["", f"  {len(broken)} recordings were broken off: `diwa dataset repair {path}`"]
    return "\n".join(lines)


def list_bags(path: Path, most: int | None = MOST_ROWS) -> str:
    """One row per bag."""
    records = [read_episode(bag) for bag in find_bags(path)]
    rows = [
        (r.id, r.kind, r.task or "-", _outcome(r), duration(r.duration_s), "; ".join(_problems(r)))
        for r in records
    ]
    return table(("episode", "kind", "task", "outcome", "duration", ""), rows, most)


def _problems(record: EpisodeRecord) -> list[str]:
    return ["recovered: its end is missing"] * record.recovered + list(record.problems)


def _arrival(record: EpisodeRecord) -> str:
    """How each topic arrived, by header stamps."""
    rows = [
        (
            topic.source or topic.topic,
            f"{topic.rate_hz:.1f} of {topic.expected_hz:.4g}",
            topic.gaps,
            f"{topic.worst_gap_s:.3f}",
            max(topic.missing, topic.lost),
            topic.problem,
        )
        for topic in record.topics
    ]
    header = ("topic", "Hz by stamps", "gaps", "worst [s]", "missing", "")
    return "\n\n" + table(header, rows)


def _outcome(record: EpisodeRecord) -> str:
    return f"{record.outcome} ({record.reason})" if record.reason else record.outcome
