# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A run folder, and the stages that fill it one after the other.

    RUN/lock                         who works here
    RUN/stages/<name>/...            whatever the stage keeps
    RUN/stages/<name>/parts.json     time and memory of every part of it, also of cut ones
    RUN/stages/<name>/done.json      the stage is complete: its fingerprint, cost and result
    RUN/replaced/<name>/             what the stage held before its inputs changed

A stage whose `done.json` has the wanted fingerprint is skipped. One that was cut goes on in its
folder (`StageContext.resumed`). One whose fingerprint changed starts in an empty folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diwa.errors import ConfigError
from diwa.files import read_json, write_json
from diwa.train.meter import format_seconds, plain
from diwa.train.metrics import MetricsLog
from diwa.train.parts import Parts
from diwa.train.progress import NullProgress, Progress
from diwa.train.stop import Interrupted, StopFlag, stop_on_signals

__all__ = ["Interrupted", "Run", "Stage", "StageContext", "StageRecord", "StopFlag", "run_stages"]

SAVE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage works with."""

    directory: Path
    progress: Progress
    metrics: MetricsLog
    stop: StopFlag
    resumed: bool = False  # the folder holds the beginnings of this very stage
    save_every_s: float = SAVE_EVERY_S  # how much work a crash may cost


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a run: `run` returns the figures worth keeping."""

    name: str
    fingerprint: str  # hash of everything that the result depends on
    run: Callable[[StageContext], Mapping[str, Any]]
    save_every_s: float = SAVE_EVERY_S


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A complete stage, as `done.json` holds it."""

    name: str
    fingerprint: str
    seconds: float  # working time over all parts
    peak_memory_bytes: int  # largest of all parts
    result: dict[str, Any]
    peak_gpu_memory_bytes: int | None = None


class Run:
    """A run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stage_dir(self, name: str) -> Path:
        """Folder of a stage."""
        return self.path / "stages" / name

    def done(self, name: str) -> StageRecord | None:
        """The record of a complete stage, or None."""
        path = self.stage_dir(name) / "done.json"
        if not path.exists():
            return None
        raw = read_json(path)
        try:
            return StageRecord(
                name=name,
                fingerprint=str(raw["fingerprint"]),
                seconds=float(raw["seconds"]),
                peak_memory_bytes=int(raw["peak_memory_bytes"]),
                peak_gpu_memory_bytes=raw.get("peak_gpu_memory_bytes"),
                result=dict(raw["result"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{path}: not a stage record",
                got=error,
                hint="delete this file to run the stage again",
            ) from error

    def records(self) -> list[StageRecord]:
        """All complete stages, in the order in which they were first begun."""
        found = []
        for path in (self.path / "stages").glob("*/done.json"):
            record, parts = self.done(path.parent.name), path.with_name("parts.json")
            started = read_json(parts)["parts"][0]["started"] if parts.exists() else 0.0
            if record is not None:
                found.append((started, record))
        return [record for _, record in sorted(found, key=lambda item: item[0])]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the folder. The kernel frees the lock of a dead process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{self.path}: cannot be a run folder", got=error, expected="a writable folder"
            ) from error
        with lock as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                stream.seek(0)
                raise ConfigError(
                    f"{self.path}: another process works in this run folder",
                    got=stream.read().strip() or "an unnamed process",
                    hint="wait for it, stop it, or choose another run folder",
                ) from error
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
            stream.flush()
            try:
                yield
            finally:
                stream.truncate(0)


def run_stages(
    run: Run,
    stages: Sequence[Stage],
    progress: Progress | None = None,
    until: str | None = None,
    *,
    stop: StopFlag | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, StageRecord]:
    """Run or skip the stages in order, up to and including `until`.

    Raises:
        Interrupted: SIGINT, SIGTERM, SIGHUP or `stop`; the same call goes on from there.
        ConfigError: unknown `until`, or another process works in the folder.
    """
    names = [stage.name for stage in stages]
    if until is not None and until not in names:
        raise ConfigError("stage", got=until, expected=" or ".join(names))
    last = names.index(until) if until is not None else len(names) - 1
    progress = progress if progress is not None else NullProgress()
    records: dict[str, StageRecord] = {}
    with run.locked(), stop_on_signals(stop if stop is not None else StopFlag()) as flag:
        for index, stage in enumerate(stages[: last + 1]):
            flag.check()
            progress.stage(stage.name, index, len(stages))
            record = run.done(stage.name)
            if record is not None and record.fingerprint == stage.fingerprint:
                progress.message(f"{stage.name}: complete before, skipped")
            else:
                record = _run_stage(run, stage, progress, flag, clock)
                progress.message(f"{stage.name}: done in {format_seconds(record.seconds)}")
            records[stage.name] = record
    return records


def _run_stage(
    run: Run, stage: Stage, progress: Progress, stop: StopFlag, clock: Callable[[], float]
) -> StageRecord:
    directory = run.stage_dir(stage.name)
    resumed = _prepare(run, stage)
    parts = Parts(directory / "parts.json", stage.fingerprint, clock)
    metrics = MetricsLog(directory)
    context = StageContext(directory, progress, metrics, stop, resumed, stage.save_every_s)
    try:
        with parts.part():
            result = plain(stage.run(context))
    finally:
        progress.finish()
        metrics.close()
    record = {
        "fingerprint": stage.fingerprint,
        "seconds": parts.seconds,
        "peak_memory_bytes": parts.peak_memory_bytes,
        "peak_gpu_memory_bytes": parts.peak_gpu_memory_bytes,
        "result": result,
    }
    write_json(directory / "done.json", record)
    done = run.done(stage.name)
    assert done is not None
    return done


def _prepare(run: Run, stage: Stage) -> bool:
    """Make the stage's folder; True when it holds the beginnings of this very stage."""
    directory = run.stage_dir(stage.name)
    parts = directory / "parts.json"
    if parts.exists() and read_json(parts).get("fingerprint") == stage.fingerprint:
        (directory / "done.json").unlink(missing_ok=True)
        for torn in directory.rglob(".*.tmp"):  # of a process that was killed while it saved
            torn.unlink()
        return True
    if directory.exists() and any(directory.iterdir()):
        replaced = run.path / "replaced" / stage.name
        if replaced.exists():
            shutil.rmtree(replaced)
        replaced.parent.mkdir(parents=True, exist_ok=True)
        directory.rename(replaced)
    directory.mkdir(parents=True, exist_ok=True)
    return False
