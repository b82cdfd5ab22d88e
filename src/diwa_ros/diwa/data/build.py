# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Bags to a dataset: the same frames as live, several bags at a time, resumable bag by bag."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from diwa.data.build_report import FOLDER
from diwa.data.build_workers import Converted, convert_in_processes, try_convert
from diwa.data.contract import Contract
from diwa.data.convert import bag_seconds, converted_earlier
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.episode import EpisodeRecord, read_episode
from diwa.errors import ConfigError

Problem = Callable[[Path, ConfigError], None]


class BuildProgress(Protocol):
    """What `build_dataset` needs of a progress display; one unit is a second of a recording."""

    def start(self, name: str, total: int) -> None:
        """Begin a job of `total` units."""

    def advance(self, n: int = 1, **metrics: float) -> None:
        """Count `n` finished units."""

    def finish(self) -> None:
        """End the job."""


def build_dataset(
    bags: Sequence[Path],
    out: Path,
    contract: Contract | None = None,
    *,
    workers: int = 2,
    progress: BuildProgress | None = None,
    on_problem: Problem | None = None,
    derive_actions: bool = False,
) -> Dataset:
    """Make a dataset of exactly these bags; those converted earlier are not read again.

    Args:
        bags: folders that the play recorder wrote.
        out: dataset folder, new or from an earlier call.
        contract: what the bags must have been recorded under; None: that of the first bag.
        workers: processes; 0 converts in this one.
        progress: is told of the seconds of recordings that are done, with the number of frames of
            the finished bags.
        on_problem: is told of bags that cannot be used, which are then left out; None: the first
            such bag ends the build.
        derive_actions: tell actions from the end effector's poses, whatever was recorded; so says
            the contract of the dataset.

    Raises:
        ConfigError: names the bag that cannot be used.
    """
    if not bags:
        raise ConfigError("dataset: no bags given", hint="record some with the play recorder")
    records = _read_records(bags, contract, on_problem)
    if not records:
        raise ConfigError(f"{out}: none of {len(bags)} bags can be used")
    contract = contract or next(iter(records.values())).contract
    if derive_actions:
        contract = contract.with_derived_actions()
    with _only_build(out):
        return _build(records, out, contract, workers, progress, on_problem)


def _build(
    records: dict[Path, EpisodeRecord],
    out: Path,
    contract: Contract,
    workers: int,
    progress: BuildProgress | None,
    on_problem: Problem | None,
) -> Dataset:
    writer = DatasetWriter(out, contract)
    counter = _Counter(progress, sum(map(bag_seconds, records.values())))
    frames = 0
    episodes: set[str] = set()
    for bag, result in _convert_all(records, out, contract, workers, counter):
        if isinstance(result, ConfigError):
            if on_problem is None:
                raise result
            on_problem(bag, result)
            continue
        frames += result.frames
        episodes.update(result.episodes)
        counter.show(frames=frames)
    counter.finish()
    return writer.finish(only=episodes)


@contextmanager
def _only_build(out: Path) -> Iterator[None]:
    """Keep other builds away from the dataset; the kernel ends this with the process."""
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError(
            f"{out}: another build is writing this dataset", hint="wait until it has ended"
        ) from error
    finally:
        os.close(descriptor)


def _read_records(
    bags: Sequence[Path], contract: Contract | None, on_problem: Problem | None
) -> dict[Path, EpisodeRecord]:
    """Records of the bags; those that do not go together are problems."""
    records: dict[Path, EpisodeRecord] = {}
    names: dict[str, Path] = {}
    for bag in bags:
        try:
            record = read_episode(bag)
            contract = contract or record.contract
            contract.require_same(record.contract, "this dataset", str(bag))
            if record.id in names:
                raise ConfigError(
                    f"{bag}: has the same episode id as {names[record.id]}",
                    got=record.id,
                    hint="give only one of them; a copied bag keeps the id in its episode.json",
                )
        except ConfigError as error:
            if on_problem is None:
                raise
            on_problem(bag, error)
            continue
        names[record.id] = bag
        records[bag] = record
    return records


class _Counter:
    """Seconds of recordings that are done, counted here or in other processes."""

    def __init__(self, progress: BuildProgress | None, total: int) -> None:
        self._progress = progress
        self._pending = 0
        self._frames: dict[str, float] = {}
        if progress is not None:
            progress.start("dataset", total)

    def add(self, seconds: int) -> None:
        """Count; shown with the next call of `show`."""
        self._pending += seconds

    def show(self, **metrics: float) -> None:
        """Tell the display."""
        if self._progress is not None and (self._pending or metrics):
            self._progress.advance(self._pending, **metrics)
        self._pending = 0

    def tick(self, seconds: int) -> None:
        """Count and tell the display, save for the last of a bag, which `show` tells."""
        self.show()
        self.add(seconds)

    def finish(self) -> None:
        """End the display."""
        if self._progress is not None:
            self._progress.finish()


def _convert_all(
    records: dict[Path, EpisodeRecord],
    out: Path,
    contract: Contract,
    workers: int,
    counter: _Counter,
) -> Iterator[Converted]:
    """Convert what is not yet converted, in any order."""
    new = []
    for bag, record in records.items():
        earlier = converted_earlier(bag, record, out, contract)
        if earlier is None:
            new.append(bag)
            continue
        counter.add(bag_seconds(record))
        yield bag, earlier
    if workers == 0 or len(new) < 2:
        yield from ((bag, try_convert(bag, out, contract, counter.tick)) for bag in new)
        return
    for seconds, result in convert_in_processes(new, out, contract, workers):
        counter.add(seconds)
        if result is None:
            counter.show()
        else:
            yield result
