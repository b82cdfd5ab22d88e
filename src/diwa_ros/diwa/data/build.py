# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Bags to a dataset: the same frames as live, several bags at a time, resumable bag by bag."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Protocol

import numpy as np

from diwa.config import Config, config_hash, parse_config
from diwa.data.bags import BagReader
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.episode import EpisodeRecord, read_episode
from diwa.data.frames import ACTION, Frame, FrameBuilder
from diwa.errors import ConfigError
from diwa.files import read_json, write_json


class BuildProgress(Protocol):
    """What `build_dataset` needs of a progress display; one unit is one bag."""

    def start(self, name: str, total: int) -> None:
        """Begin a job of `total` units."""

    def advance(self, n: int = 1, **metrics: float) -> None:
        """Count `n` finished units."""

    def finish(self) -> None:
        """End the job."""


class _Converted(Config):
    """Which episodes a bag became; written when all of them are on disk."""

    fingerprint: str
    episodes: tuple[str, ...]
    frames: int


def build_dataset(
    bags: Sequence[Path],
    out: Path,
    contract: Contract | None = None,
    *,
    workers: int = 2,
    progress: BuildProgress | None = None,
) -> Dataset:
    """Make a dataset of exactly these bags; those converted earlier are not read again.

    Args:
        bags: folders that the play recorder wrote.
        out: dataset folder, new or from an earlier call.
        contract: what the bags must have been recorded under; None: that of the first bag.
        workers: processes; 0 converts in this one.
        progress: is told of every finished bag, with the number of frames so far.

    Raises:
        ConfigError: names the bag that cannot be used.
    """
    if not bags:
        raise ConfigError("dataset: no bags given", hint="record some with the play recorder")
    records = {bag: read_episode(bag) for bag in bags}
    contract = contract or records[bags[0]].contract
    names: dict[str, Path] = {}
    for bag, record in records.items():
        contract.require_same(record.contract, "this dataset", str(bag))
        if record.id in names:
            raise ConfigError(f"{bag}: has the same episode id as {names[record.id]}")
        names[record.id] = bag
    if progress is not None:
        progress.start("dataset", len(records))
    writer = DatasetWriter(out, contract)
    converted: list[_Converted] = []
    for result in _convert_all(list(records), out, contract, workers):
        converted.append(result)
        if progress is not None:
            progress.advance(1, frames=sum(part.frames for part in converted))
    if progress is not None:
        progress.finish()
    return writer.finish(only={name for part in converted for name in part.episodes})


def _convert_all(
    bags: list[Path], out: Path, contract: Contract, workers: int
) -> Iterator[_Converted]:
    """Convert bags in any order; after an error no new one is begun."""
    if workers == 0 or len(bags) == 1:
        yield from (convert_bag(bag, out, contract) for bag in bags)
        return
    # Not forked: this process may have threads (ROS, torch) whose locks a fork would copy.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(bags)), context, _leave_interrupts_to_parent)
    try:
        waiting: set[Future[_Converted]] = {
            pool.submit(convert_bag, bag, out, contract) for bag in bags
        }
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    """Ctrl-C reaches every process of the terminal; the parent ends the pool in good order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def convert_bag(bag: Path, out: Path, contract: Contract) -> _Converted:
    """Write the episodes of one bag into the dataset folder, unless they are there.

    A bag with a reset or a gap in it becomes several episodes, ``ID``, ``ID-2``...; the outcome
    was judged at the end, so it belongs to the last one.
    """
    record = read_episode(bag)
    marker = out / "sources" / f"{record.id}.json"
    fingerprint = _fingerprint(bag, record)
    writer = DatasetWriter(out, contract)
    if marker.is_file():
        earlier = parse_config(_Converted, read_json(marker), str(marker))
        if earlier.fingerprint == fingerprint and all(map(writer.has, earlier.episodes)):
            return earlier
    segments = [part for part in split_segments(bag_frames(bag, contract)) if len(part) > 1]
    names = []
    for index, frames in enumerate(segments):
        names.append(record.id if index == 0 else f"{record.id}-{index + 1}")
        last = index == len(segments) - 1
        try:
            writer.add_episode(
                names[-1],
                record.kind,
                record.task,
                record.outcome if last else "unknown",
                stack_frames(frames),
                source=bag.name,
            )
        except ConfigError as error:
            raise ConfigError(f"{bag}: cannot be used", got=error) from error
    total = sum(map(len, segments))
    converted = _Converted(fingerprint=fingerprint, episodes=tuple(names), frames=total)
    write_json(marker, converted.model_dump(mode="json"))
    return converted


def bag_frames(bag: Path, contract: Contract) -> Iterator[Frame]:
    """Frames of a bag, through the same builder that makes them live."""
    builder = FrameBuilder(contract)
    with BagReader(bag) as reader:
        keys = {reader.find(stream.topic): key for key, stream in contract.observations.items()}
        keys[reader.find(contract.action.topic)] = ACTION
        for topic, _, message in reader.messages(*keys):
            try:
                builder.push_message(keys[topic], message)
            except ConfigError as error:
                raise ConfigError(f"{bag}: does not fit the contract", got=error) from error
            yield from builder.pop()


def split_segments(frames: Iterator[Frame]) -> list[list[Frame]]:
    """Frames from each ``is_first`` up to the next one."""
    segments: list[list[Frame]] = []
    for frame in frames:
        if frame.is_first:
            segments.append([])
        segments[-1].append(frame)
    return segments


def stack_frames(frames: Sequence[Frame]) -> dict[str, np.ndarray]:
    """Arrays of one segment as `DatasetWriter.add_episode` takes them.

    ``action[t]`` is the action between frames t and t+1, which frame t+1 knows as its previous
    action; the writer adds the last row.
    """
    keys = frames[0].observation
    return {
        "stamp_ns": np.array([frame.stamp_ns for frame in frames], dtype=np.int64),
        "action": np.stack([frame.previous_action for frame in frames[1:]]),
        **{key: np.stack([frame.observation[key] for frame in frames]) for key in keys},
    }


def _fingerprint(bag: Path, record: EpisodeRecord) -> str:
    """Changes when the bag's files or its record change."""
    files = {path.name: path.stat() for path in bag.iterdir()}
    stats = {name: [s.st_size, s.st_mtime_ns] for name, s in files.items()}
    return config_hash({"files": stats, "record": record.model_dump(mode="json")})
