# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Bags to a dataset: the same frames as live, several bags at a time, resumable bag by bag."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Protocol

from diwa.data.build_report import BagReport
from diwa.data.contract import Contract
from diwa.data.convert import Tick, bag_seconds, convert_bag, converted_earlier
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.episode import EpisodeRecord, read_episode
from diwa.errors import ConfigError

POLL_S = 0.5  # how often the parent looks how far the workers are

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

    Raises:
        ConfigError: names the bag that cannot be used.
    """
    if not bags:
        raise ConfigError("dataset: no bags given", hint="record some with the play recorder")
    records = _read_records(bags, contract, on_problem)
    if not records:
        raise ConfigError(f"{out}: none of {len(bags)} bags can be used")
    contract = contract or next(iter(records.values())).contract
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


Result = tuple[Path, BagReport | ConfigError]


def _convert_all(
    records: dict[Path, EpisodeRecord],
    out: Path,
    contract: Contract,
    workers: int,
    counter: _Counter,
) -> Iterator[Result]:
    """Convert what is not yet converted, in any order."""
    new = []
    for bag, record in records.items():
        earlier = converted_earlier(bag, record, out)
        if earlier is None:
            new.append(bag)
            continue
        counter.add(bag_seconds(record))
        yield bag, earlier
    if workers == 0 or len(new) < 2:
        yield from ((bag, _convert_one(bag, out, contract, counter.tick)) for bag in new)
    else:
        yield from _convert_in_pool(new, out, contract, workers, counter)


def _convert_one(bag: Path, out: Path, contract: Contract, tick: Tick) -> BagReport | ConfigError:
    try:
        return convert_bag(bag, out, contract, tick)
    except ConfigError as error:
        return error


def _convert_in_pool(
    bags: list[Path], out: Path, contract: Contract, workers: int, counter: _Counter
) -> Iterator[Result]:
    """Convert in `workers` processes; when the caller stops, no new bag is begun."""
    # Not forked: this process may have threads (ROS, torch) whose locks a fork would copy.
    context = multiprocessing.get_context("spawn")
    shared = context.Value("q", 0)
    count = min(workers, len(bags))
    pool = ProcessPoolExecutor(count, context, _begin_worker, (shared,))
    counted = 0
    try:
        waiting: dict[Future[BagReport | ConfigError], Path] = {
            pool.submit(_convert_in_worker, bag, out, contract): bag for bag in bags
        }
        while waiting:
            done, _ = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            newly = shared.value - counted
            counted += newly
            counter.add(newly)
            for future in done:
                yield waiting.pop(future), future.result()
            counter.show()
    except BrokenProcessPool as error:
        raise ConfigError(
            f"{out}: a process that converts bags was killed",
            got=error,
            hint="if memory ran out, use fewer --workers; the same command goes on from here",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_ticks: Synchronized[int] | None = None


def _begin_worker(shared: Synchronized[int]) -> None:
    """Ctrl-C reaches every process of the terminal; the parent ends the pool in good order."""
    global _ticks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _ticks = shared


def _convert_in_worker(bag: Path, out: Path, contract: Contract) -> BagReport | ConfigError:
    assert _ticks is not None
    return _convert_one(bag, out, contract, partial(_add_ticks, _ticks))


def _add_ticks(shared: Synchronized[int], seconds: int) -> None:
    with shared.get_lock():
        shared.value += seconds
