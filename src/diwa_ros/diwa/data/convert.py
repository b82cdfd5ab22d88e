# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One bag to episodes of a dataset: a frame at a time from the bag to the shards.

Neither a long bag nor many of them need more memory than some frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from diwa.config import config_hash
from diwa.data.bag_reader import BagReader
from diwa.data.build_report import BagReport, read_report, write_report
from diwa.data.contract import Contract, Stream
from diwa.data.episode import EpisodeRecord, Outcome, read_episode
from diwa.data.frames import ACTION, Frame, FrameBuilder
from diwa.data.manifest import read_record, write_record
from diwa.data.segments import SegmentWriter
from diwa.errors import ConfigError

Tick = Callable[[int], None]
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def bag_seconds(record: EpisodeRecord) -> int:
    """Length of a recording for a progress display: whole seconds, at least one."""
    return max(1, math.ceil(record.duration_s))


def converted_earlier(
    bag: Path, record: EpisodeRecord, out: Path, contract: Contract
) -> BagReport | None:
    """The report of a bag that needs no reading; new labels of the recording are taken over."""
    report = read_report(out, record.id)
    if report is None or report.fingerprint != _fingerprint(bag, contract):
        return None
    labels = (record.kind, record.task, record.outcome)
    if report.labels != labels:
        for name in report.episodes:
            outcome = record.outcome if name == report.episodes[-1] else "unknown"
            update = {"kind": record.kind, "task": record.task, "outcome": outcome}
            file = read_record(out, name)
            info = file.info.model_copy(update=update)
            write_record(out, file.model_copy(update={"info": info}))
        report = report.model_copy(update={"labels": labels})
        write_report(out, record.id, report)
    return report


def convert_bag(bag: Path, out: Path, contract: Contract, tick: Tick) -> BagReport:
    """Write the episodes of one bag into the dataset folder.

    A bag with a reset or a gap in it becomes several episodes, ``ID``, ``ID-2``...; the outcome
    was judged at the end, so it belongs to the last one.

    Args:
        bag: folder that the play recorder wrote.
        out: dataset folder.
        contract: of the dataset.
        tick: is told of seconds of the recording that are done; `bag_seconds` of them in all.

    Raises:
        ConfigError: names the bag and why it cannot be used.
    """
    record = read_episode(bag)
    fingerprint = _fingerprint(bag, contract)
    with SegmentWriter(out, contract, record.id) as writer, BagFrames(bag, contract) as frames:
        done = 0
        try:
            for frame in frames:
                writer.add(frame)
                seconds = min(int(frames.elapsed_s), bag_seconds(record) - 1)
                if seconds > done:
                    tick(seconds - done)
                    done = seconds
            writer.end_segment()
        except ConfigError as error:
            if str(bag) in str(error):
                raise
            raise ConfigError(f"{bag}: cannot be used", got=error) from error
        outcomes: list[Outcome] = ["unknown"] * len(writer.written)
        outcomes[-1:] = [record.outcome] * len(outcomes[-1:])
        for episode, outcome in zip(writer.written, outcomes, strict=True):
            episode.enter(out, record.kind, record.task, outcome, bag.name)
        report = BagReport(
            fingerprint=fingerprint,
            labels=(record.kind, record.task, record.outcome),
            bag=bag.name,
            frames=sum(episode.length for episode in writer.written),
            rate_hz=contract.rate_hz,
            segments=tuple(writer.segments),
            keys=frames.builder.alignment,
            actions=frames.builder.action_counts,
        )
    write_report(out, record.id, report)
    tick(bag_seconds(record) - done)
    return report


class BagFrames:
    """Frames of a bag, through the same builder that makes them live; for a `with` statement.

    Attributes:
        builder: knows afterwards what became of the samples.
        elapsed_s: how much of the recording has been read [s].
    """

    def __init__(self, bag: Path, contract: Contract) -> None:
        self.builder = FrameBuilder(contract)
        self.elapsed_s = 0.0
        self._bag = bag
        self._contract = contract
        self._reader = BagReader(bag)

    def __enter__(self) -> BagFrames:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame]:
        keys = self._keys()
        first: int | None = None
        for topic, log_ns, message in self._reader.messages(*keys):
            first = log_ns if first is None else first
            self.elapsed_s = (log_ns - first) / 1e9
            try:
                self.builder.push_message(keys[topic], message)
            except ConfigError as error:
                raise ConfigError(
                    f"{self._bag}: does not fit the contract",
                    got=f"{self.elapsed_s:.1f} s after its beginning: {error}",
                ) from error
            yield from self.builder.pop()

    def _keys(self) -> dict[str, str]:
        """Key of the frame builder, by the name of its topic in the bag."""
        keys = {self._topic_of(stream): key for key, stream in self._contract.observations.items()}
        action = self._contract.action
        if action.topic:
            name = self._reader.find(action.topic)
            self._require_type(name, action.type)
            keys[name] = ACTION
        return keys

    def _topic_of(self, stream: Stream) -> str:
        """Name of a stream's topic in the bag; an image's may be that of its compressed twin."""
        topics = self._reader.topics
        compressed = [name for name in topics if name.endswith(f"/{stream.topic}/compressed")]
        raw = [name for name in topics if f"/{name}".endswith(f"/{stream.topic}")]
        heard = [name for name in raw if topics[name][1]]
        if stream.kind == "image" and compressed and not heard:
            name = self._reader.find(f"{stream.topic}/compressed")
            self._require_type(name, COMPRESSED)
            return name
        name = self._reader.find(stream.topic)
        allowed = (IMAGE, COMPRESSED) if stream.kind == "image" else (stream.type,)
        self._require_type(name, *allowed)
        return name

    def _require_type(self, name: str, *allowed: str) -> None:
        found = self._reader.topics[name][0]
        if found not in allowed:
            raise ConfigError(
                f"{self._bag}: topic {name} has another type than in the contract",
                got=found,
                expected=" or ".join(allowed),
                hint="it was recorded from another robot, or the contract is not its own",
            )


def _fingerprint(bag: Path, contract: Contract) -> str:
    """Changes when the recording or what is made of it changes; labels are no part of it."""
    files = [path for path in bag.iterdir() if path.suffix in (".mcap", ".yaml")]
    stats = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    return config_hash({"files": stats, "contract": contract.hash})
