# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The cost of a stage, exact over all its parts, however each of them ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diwa.files import read_json, write_json
from diwa.train.memory import PeakMemory, peak_gpu_bytes, reset_gpu_peak
from diwa.train.stop import Interrupted

HEARTBEAT_S = 10.0  # a killed process loses at most this much of its accounted time


class Parts:
    """The cost of a stage, part by part: a part is one uninterrupted stretch of work."""

    def __init__(self, path: Path, fingerprint: str, clock: Callable[[], float]) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._clock = clock
        self._parts: list[dict[str, Any]] = read_json(path)["parts"] if path.exists() else []

    @property
    def seconds(self) -> float:
        """Working time over all parts."""
        return float(sum(part["seconds"] for part in self._parts))

    @property
    def peak_memory_bytes(self) -> int:
        """Largest of all parts."""
        return max(part["peak_memory_bytes"] for part in self._parts)

    @property
    def peak_gpu_memory_bytes(self) -> int | None:
        """Largest of all parts; None where no GPU was used."""
        known = [part["peak_gpu_memory_bytes"] for part in self._parts]
        return max((peak for peak in known if peak is not None), default=None)

    @contextmanager
    def part(self) -> Iterator[None]:
        """Account for the block, however it ends; also if the process is killed inside."""
        started = self._clock()
        saved_at = started
        current: dict[str, Any] = {"started": time.time(), "end": "killed"}
        self._parts.append(current)

        def save() -> None:
            nonlocal saved_at
            saved_at = self._clock()
            current["seconds"] = saved_at - started
            current["peak_memory_bytes"] = memory.bytes
            current["peak_gpu_memory_bytes"] = peak_gpu_bytes()
            write_json(self._path, {"fingerprint": self._fingerprint, "parts": self._parts})

        def beat() -> None:
            if self._clock() - saved_at >= HEARTBEAT_S:
                with suppress(OSError):  # the final save will tell
                    save()

        memory = PeakMemory(on_sample=beat)
        reset_gpu_peak()
        try:
            with memory:
                save()
                yield
            current["end"] = "done"
        except Interrupted:
            current["end"] = "interrupted"
            raise
        except BaseException:
            current["end"] = "failed"
            raise
        finally:
            save()


@dataclass(frozen=True, slots=True)
class StageRow:
    """One row of the table of costs."""

    name: str
    seconds: float
    memory: int
    gpu_memory: int | None
    parts: int
    state: str  # "done", or how its last part ended


def stage_rows(stages: Path) -> list[StageRow]:
    """Cost of all stages in the folder that were begun, in the order in which they were."""
    found = []
    for path in stages.glob("*/parts.json"):
        parts = read_json(path)["parts"]
        gpu = [part.get("peak_gpu_memory_bytes") for part in parts]
        row = StageRow(
            name=path.parent.name,
            seconds=sum(part["seconds"] for part in parts),
            memory=max(part["peak_memory_bytes"] for part in parts),
            gpu_memory=max((peak for peak in gpu if peak is not None), default=None),
            parts=len(parts),
            state="done" if path.with_name("done.json").exists() else parts[-1]["end"],
        )
        found.append((parts[0]["started"], row))
    return [row for _, row in sorted(found, key=lambda item: item[0])]
