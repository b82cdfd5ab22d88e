# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Writing bags of serialised messages: one MCAP bag per episode, with or without ROS.

It goes through `rosbag2_py` where that can be imported, else through `rosbags`. Reading:
`diwa.data.bag_reader`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from diwa.data.bag_lock import BagLock
from diwa.data.bag_storage import Backend, Storage, open_storage, sync_file
from diwa.data.contract import Contract
from diwa.data.episode import UNFINISHED, EpisodeRecord, write_episode
from diwa.errors import ConfigError
from diwa.files import fsync_path, write_json


def contract_topics(contract: Contract) -> dict[str, str]:
    """Types of all topics in the contract, by relative topic name."""
    topics = {stream.topic: stream.type for stream in contract.observations.values()}
    if contract.action.topic:
        topics[contract.action.topic] = contract.action.type
    return topics


class BagWriter:
    """Writes one bag, message by message; from one thread at a time.

    The bag becomes an episode when `close` gets its record: `episode.json` is written last, after
    the bag is on disk. Until then a bag that was given `opening` has an `unfinished.json` and a
    lock, from which `diwa.data.recovery` knows what was broken off.

    Attributes:
        path: bag folder, made here.
        messages: number of messages written, per topic.
    """

    def __init__(
        self,
        path: Path,
        contract: Contract,
        *,
        namespace: str = "",
        topics: Mapping[str, str] | None = None,
        extra_topics: Mapping[str, str] | None = None,
        backend: Backend = "auto",
        opening: EpisodeRecord | None = None,
    ) -> None:
        """Open a new bag.

        Args:
            path: folder that does not exist yet.
            contract: its topics are recorded, unless `topics` says otherwise.
            namespace: put before the topic names in the bag, as in "/arm1".
            topics: relative topic names, and their types; more can be added.
            extra_topics: further relative topic names, and their types.
            backend: "auto" takes rosbag2_py where it can be imported.
            opening: what is known of the episode now, for whoever finds the bag unfinished.

        Raises:
            ConfigError: `path` exists, or a message type is unknown.
        """
        if path.exists():
            raise ConfigError(f"{path}: exists already", hint="choose another episode id")
        chosen = contract_topics(contract) if topics is None else topics
        self.path = path
        self.messages: dict[str, int] = {}
        self._prefix = f"/{namespace}/"
        self._names: dict[str, str] = {}
        self._newest_ns = 0
        self._lock: BagLock | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        wanted = {**chosen, **(extra_topics or {})}
        named = {self._name(topic): kind for topic, kind in wanted.items()}
        self._storage: Storage | None = open_storage(path, named, backend)
        if opening is not None:
            try:
                self._mark(opening)
            except OSError:
                self.discard()
                raise

    def add_topic(self, topic: str, name: str) -> None:
        """Record a further topic, of message type `name`; again does no harm."""
        if topic not in self._names:
            self._open.add_topic(self._name(topic), name)

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append a serialised message.

        Args:
            topic: relative name, as in the contract.
            log_ns: when it was received [ns]; never goes back within a bag.
            data: CDR bytes as received (`raw=True`).
        """
        self._newest_ns = max(log_ns, self._newest_ns)
        self._open.write(self._names[topic], self._newest_ns, data)
        self.messages[topic] += 1

    def flush(self) -> None:
        """Hand what was written to the operating system: a killed process does not lose it."""
        self._open.flush()

    def sync(self) -> None:
        """Have the disk keep what was flushed: a power cut does not lose it. From any thread."""
        for path in self.path.glob("*.mcap"):
            sync_file(path)

    def close(self, record: EpisodeRecord | None = None) -> None:
        """Finish the bag on disk and, with `record`, make it an episode."""
        storage, self._storage = self._storage, None
        if storage is not None:
            storage.close()
            for path in (*self.path.iterdir(), self.path, self.path.parent):
                fsync_path(path)
        if record is not None:
            write_episode(self.path, record)
            (self.path / UNFINISHED).unlink(missing_ok=True)
            fsync_path(self.path)
        self._unlock()

    def abandon(self) -> None:
        """Let go of a bag that cannot be finished; recovery takes what is in it."""
        storage, self._storage = self._storage, None
        try:
            if storage is not None:
                storage.abandon()
        finally:
            self._unlock()

    def discard(self) -> None:
        """Close the bag and remove its folder."""
        self.abandon()
        shutil.rmtree(self.path)

    def _mark(self, opening: EpisodeRecord) -> None:
        """Say that the bag is being written, and what it will be."""
        self._lock = BagLock(self.path)
        write_json(self.path / UNFINISHED, opening.model_dump(mode="json"))
        fsync_path(self.path.parent)

    @property
    def _open(self) -> Storage:
        assert self._storage is not None, "the bag is closed"
        return self._storage

    def _name(self, topic: str) -> str:
        """Name in the bag; the topic is counted from now on."""
        name = self._names[topic] = "/" + f"{self._prefix}{topic}".replace("//", "/").lstrip("/")
        self.messages[topic] = 0
        return name

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
