# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Making an episode of a bag that was broken off: the recorder was killed, or the power went.

The readable part is written to a clean file, which then replaces the broken one. Every step can be
repeated: a recovery that is itself broken off is done again from the start.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from diwa.data.bag_lock import BagLock
from diwa.data.bag_storage import Storage, open_storage
from diwa.data.bags import contract_topics
from diwa.data.contract import Contract
from diwa.data.episode import (
    FILE_NAME,
    UNFINISHED,
    EpisodeRecord,
    read_episode,
    read_unfinished,
    write_episode,
)
from diwa.data.episode_cadence import EpisodeCadence, describe_problems
from diwa.data.mcap_scan import McapScan, Salvaged
from diwa.errors import ConfigError
from diwa.files import fsync_path

WORKPLACE = ".recovery"  # folder in the bag's, for the clean copy
COMPRESSED = "/compressed"  # what an image topic's name ends in when it is sent compressed
SPARE_BYTES = 64 << 20  # that must stay free on the disk
METADATA = "metadata.yaml"


def recover_bag(bag: Path, contract: Contract | None = None) -> EpisodeRecord:
    """Repair a bag that was broken off, and make it an episode marked as recovered.

    Args:
        bag: its folder. An episode that is finished is left as it is.
        contract: of the recorder, for a bag that does not say its own.

    Returns:
        The episode; it may be without messages (`started_ns` is 0 then).

    Raises:
        ConfigError: the bag is being written, there is nothing to go by, or no room for a copy.
    """
    if not bag.is_dir():
        raise ConfigError(f"{bag}: no such folder", hint="check the path")
    lock = BagLock(bag)
    try:
        if (bag / FILE_NAME).is_file():  # only the last step of the recording is missing
            record = read_episode(bag)
        else:
            record = _rebuild(bag, _opening(bag, contract))
        _tidy(bag)
    finally:
        lock.release()
    fsync_path(bag)
    return record


def _opening(bag: Path, contract: Contract | None) -> EpisodeRecord:
    """What was known when the recording began."""
    if (bag / UNFINISHED).is_file():
        return read_unfinished(bag)
    if contract is None:
        raise ConfigError(
            f"{bag}: nothing says what was recorded",
            expected=f"a bag with {FILE_NAME} or {UNFINISHED}",
            hint="start the recorder on the folder: it repairs such bags by its own contract",
        )
    return EpisodeRecord(id=bag.name, kind="play", contract=contract)


def _rebuild(bag: Path, opening: EpisodeRecord) -> EpisodeRecord:
    """Write the clean bag, put it in place, and make it an episode."""
    files = _recorded_files(bag)
    _require_space(bag, files)
    shutil.rmtree(bag / WORKPLACE, ignore_errors=True)
    clean = bag / WORKPLACE / bag.name
    clean.parent.mkdir()
    cadence = EpisodeCadence(opening.contract)
    storage = open_storage(clean, {}, "rosbags")
    try:
        problems = list(_copy(files, storage, cadence, opening.contract))
    finally:
        storage.close()
    for name in (f"{bag.name}.mcap", METADATA):
        fsync_path(clean / name)
        (clean / name).replace(bag / name)
    fsync_path(bag)
    record = _recovered(opening, cadence, problems)
    write_episode(bag, record)
    return record


def _tidy(bag: Path) -> None:
    """Remove what an episode no longer needs."""
    clean = bag / f"{bag.name}.mcap"
    if clean.is_file():
        for path in bag.glob("*.mcap"):
            if path != clean:
                path.unlink()
    (bag / UNFINISHED).unlink(missing_ok=True)
    shutil.rmtree(bag / WORKPLACE, ignore_errors=True)


def _recorded_files(bag: Path) -> list[Path]:
    """What to read: an earlier recovery's clean copy, or else whatever was recorded."""
    clean = bag / f"{bag.name}.mcap"
    return [clean] if clean.is_file() else sorted(bag.glob("*.mcap"))


def _require_space(bag: Path, files: list[Path]) -> None:
    needed = sum(path.stat().st_size for path in files) + SPARE_BYTES
    free = shutil.disk_usage(bag).free
    if free < needed:
        raise ConfigError(
            f"{bag}: no room to repair it",
            got=f"{free >> 20} MB free",
            expected=f"{needed >> 20} MB",
            hint="free some space on that disk, then start the recorder again",
        )


def _copy(
    files: list[Path], storage: Storage, cadence: EpisodeCadence, contract: Contract
) -> Iterator[str]:
    """Copy what can be read into `storage`; yields what could not, in words."""
    known = contract_topics(contract)
    seen: dict[str, str] = {}  # topic of the contract by its name in the bag
    newest_ns = 0
    for path in files:
        scan = McapScan(path)
        for message in scan.messages():
            if message.topic not in seen:
                seen[message.topic] = contract_topic(message.topic, known)
                storage.add_topic(message.topic, message.type)
                _describe(cadence, seen[message.topic], message)
            newest_ns = max(newest_ns, message.log_ns)
            storage.write(message.topic, newest_ns, message.data)
            topic, stamp_ns = seen[message.topic], _stamp_ns(message.data)
            if topic and stamp_ns is not None:
                cadence.push(topic, stamp_ns, newest_ns, len(message.data))
        if scan.problem:
            yield f"{path.name}: {scan.problem}"
    for topic, kind in known.items():
        if topic not in seen.values():
            storage.add_topic(f"/{topic}", kind)


def contract_topic(name: str, known: dict[str, str]) -> str:
    """The contract's topic that `name` in a bag stands for; empty if there is none."""
    for suffix in ("", COMPRESSED):
        for topic in known:
            if f"/{name}".endswith(f"/{topic}{suffix}"):
                return topic
    return ""


def _describe(cadence: EpisodeCadence, topic: str, message: Salvaged) -> None:
    if topic:
        counted = cadence.topics[topic]
        counted.type = message.type
        compressed = message.topic.endswith(f"{topic}{COMPRESSED}")
        counted.source = topic + (COMPRESSED if compressed else "")


def _stamp_ns(data: bytes) -> int | None:
    """Header stamp [ns] of a serialised message whose first field is a header."""
    if len(data) < 12:
        return None
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _recovered(
    opening: EpisodeRecord, cadence: EpisodeCadence, problems: list[str]
) -> EpisodeRecord:
    first = [topic.first_ns for topic in cadence.topics.values() if topic.first_ns is not None]
    last = [topic.last_ns for topic in cadence.topics.values() if topic.last_ns is not None]
    topics = cadence.records()
    return opening.model_copy(
        update={
            "recovered": True,
            "outcome": "unknown",
            "reason": "recovered: the recording was broken off"
            + (f" ({'; '.join(problems)})" if problems else ""),
            "started_ns": min(first, default=0),
            "ended_ns": max(last, default=0),
            "topics": topics,
            "problems": describe_problems(topics),
        }
    )
