# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a recording session brought: how much of what, and the episodes that need a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from diwa.data.episode import EpisodeRecord, Outcome

OUTCOMES: tuple[Outcome, ...] = ("success", "failure", "unknown")


def session_report(records: Sequence[EpisodeRecord]) -> str:
    """The report as text of several lines.

    Args:
        records: of the episodes that were kept, in the order of recording.
    """
    flagged = [record for record in records if record.problems or record.recovered]
    minutes = sum(record.duration_s for record in records) / 60
    count = f"{len(records)} episode{'s' * (len(records) != 1)}"
    lines = [f"session: {count}, {minutes:.1f} min"]
    lines += [f"  {text}" for text in _labels(records)]
    if not flagged:
        return "\n".join([*lines, "  all within the contract's tolerance"] if records else lines)
    lines.append(f"{len(flagged)} of them should be looked at; they are kept:")
    width = max(len(record.id) for record in flagged)
    for record in flagged:
        problems = [record.reason] * record.recovered + list(record.problems)
        lines.append(f"  {record.id:<{width}}  {record.duration_s:6.1f} s  {problems[0]}")
        lines += [f"  {'':<{width}}  {'':8}  {problem}" for problem in problems[1:]]
    return "\n".join(lines)


def _labels(records: Iterable[EpisodeRecord]) -> list[str]:
    """One line per task with the number of its outcomes; play is one task."""
    counts: dict[str, Counter[Outcome]] = {}
    for record in records:
        counts.setdefault(record.task or "play", Counter())[record.outcome] += 1
    return [
        f"{task}: {sum(found.values())} ("
        + ", ".join(f"{found[outcome]} {outcome}" for outcome in OUTCOMES if found[outcome])
        + ")"
        for task, found in counts.items()
    ]
