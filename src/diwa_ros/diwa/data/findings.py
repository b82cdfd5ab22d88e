# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What an examination of a dataset found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from diwa.config import Config
from diwa.errors import ConfigError

MOST_SHOWN = 60


class Finding(Config):
    """One thing that is wrong, where, and what to do about it."""

    check: str  # which check found it; docs/data.md lists them
    severity: Literal["error", "warning"] = "error"
    episode: str = ""  # empty: concerns the dataset as a whole
    file: str = ""  # relative to the folder
    what: str
    expected: str = ""
    advice: str = ""
    repairable: bool = False  # `diwa dataset repair` mends it


class Diagnosis(Config):
    """Everything that was found in one dataset."""

    folder: str
    episodes: int  # examined
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make the dataset unfit."""
        return tuple(item for item in self.findings if item.severity == "error")

    @property
    def healthy(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return not self.errors

    def as_text(self) -> str:
        """Several lines: how many, then each with what to do."""
        warnings = len(self.findings) - len(self.errors)
        concerned = len({item.episode for item in self.errors if item.episode})
        head = f"{self.folder}: {_count(self.episodes, 'episode')} examined, "
        if self.healthy:
            head += "nothing wrong"
        else:
            head += _count(len(self.errors), "error")
            head += f" in {_count(concerned, 'episode')}" if concerned else ""
        head += f", {_count(warnings, 'warning')}" if warnings else ""
        ordered = sorted(self.findings, key=lambda item: item.severity == "warning")
        lines = [head, *(_lines(item) for item in ordered[:MOST_SHOWN])]
        if len(ordered) > MOST_SHOWN:
            lines.append(f"\n... and {len(ordered) - MOST_SHOWN} more: see --json")
        return "\n".join(lines)


def from_error(check: str, file: str, error: ConfigError, episode: str = "") -> Finding:
    """A finding that says what a `ConfigError` says."""
    got = "" if error.got is None else f": {error.got}"
    return Finding(
        check=check,
        episode=episode,
        file=file,
        what=error.what + got,
        expected=error.expected,
        advice=error.hint,
    )


def repair_command(folder: Path) -> str:
    """What to type for a repair."""
    return f"`diwa dataset repair {folder}`"


def frames_text(frames: Sequence[int] | np.ndarray) -> str:
    """Some of the frames by number, as in "frames 3, 4, 9 and 12 more"."""
    shown = ", ".join(str(frame) for frame in frames[:5])
    return f"frame{'s' * (len(frames) > 1)} {shown}" + (
        f" and {len(frames) - 5} more" if len(frames) > 5 else ""
    )


def _lines(item: Finding) -> str:
    where = f" {item.episode}" if item.episode else ""
    details = {"file": item.file, "expected": item.expected, "next": item.advice}
    lines = [f"\n{item.severity.upper():<8} {item.check}{where}: {item.what}"]
    lines += [f"  {name:<9} {text}" for name, text in details.items() if text]
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
