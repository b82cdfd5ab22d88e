# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of serialised messages: one MCAP bag per episode, written and read without ROS.

Writing goes through `rosbag2_py` where it can be imported, else through `rosbags`. Reading always
uses `rosbags`: a bag carries its message definitions, so that it can be read on any machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError

from diwa.data.bag_storage import Backend, Storage, open_storage
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeRecord, write_episode
from diwa.errors import ConfigError
from diwa.files import fsync_path

# rclpy's serialize_message returns up to 12 bytes more than the message has.
TRAILING_BYTES = (4, 8, 12)


def contract_topics(contract: Contract) -> dict[str, str]:
    """Types of all topics in the contract, by relative topic name."""
    topics = {stream.topic: stream.type for stream in contract.observations.values()}
    if contract.action.topic:
        topics[contract.action.topic] = contract.action.type
    return topics


class BagWriter:
    """Writes one bag, message by message.

    The bag becomes an episode when `close` gets its record: `episode.json` is written last, after
    the bag is on disk, so a folder without it is a recording that was broken off.

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
        extra_topics: Mapping[str, str] | None = None,
        backend: Backend = "auto",
    ) -> None:
        """Open a new bag.

        Args:
            path: folder that does not exist yet.
            contract: its topics are recorded.
            namespace: put before the topic names in the bag, as in "/arm1".
            extra_topics: further relative topic names, and their types.
            backend: "auto" takes rosbag2_py where it can be imported.

        Raises:
            ConfigError: `path` exists, or a message type is unknown.
        """
        if path.exists():
            raise ConfigError(f"{path}: exists already", hint="choose another episode id")
        topics = {**contract_topics(contract), **(extra_topics or {})}
        self.path = path
        self.messages = dict.fromkeys(topics, 0)
        self._names = {topic: f"/{namespace}/{topic}".replace("//", "/") for topic in topics}
        path.parent.mkdir(parents=True, exist_ok=True)
        named = {self._names[topic]: name for topic, name in topics.items()}
        self._storage: Storage | None = open_storage(path, named, backend)
        self._newest_ns = 0

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append a serialised message.

        Args:
            topic: relative name, as in the contract.
            log_ns: when it was received [ns]; never goes back within a bag.
            data: CDR bytes as received (`raw=True`).
        """
        assert self._storage is not None, "the bag is closed"
        self._newest_ns = max(log_ns, self._newest_ns)
        self._storage.write(self._names[topic], self._newest_ns, data)
        self.messages[topic] += 1

    def close(self, record: EpisodeRecord | None = None) -> None:
        """Finish the bag on disk and, with `record`, make it an episode."""
        storage, self._storage = self._storage, None
        if storage is not None:
            storage.close()
            for path in (*self.path.iterdir(), self.path, self.path.parent):
                fsync_path(path)
        if record is not None:
            write_episode(self.path, record)

    def discard(self) -> None:
        """Close the bag and remove its folder."""
        self.close()
        shutil.rmtree(self.path)


class BagReader:
    """Reads one bag; use it in a `with` statement. Errors name the bag."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable = f"{path}: cannot be read"
        try:
            self._reader = AnyReader([path])
            self._reader.open()
        except (AnyReaderError, ReaderError, OSError, ValueError, KeyError) as error:
            raise ConfigError(
                self.unreadable,
                got=error,
                expected="a finished rosbag2 folder",
                hint="a recording that was broken off cannot be used; record it again",
            ) from error

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def topics(self) -> dict[str, tuple[str, int]]:
        """Type and number of messages, by topic name."""
        return {
            connection.topic: (connection.msgtype, connection.msgcount)
            for connection in self._reader.connections
        }

    @property
    def duration_s(self) -> float:
        """Time between the first and the last message [s]."""
        return float(self._reader.duration / 1e9)

    def find(self, topic: str) -> str:
        """Name in the bag of a relative topic, whatever the namespace it was recorded in."""
        names = [name for name in self.topics if f"/{name}".endswith(f"/{topic}")]
        if len(names) != 1:
            raise ConfigError(
                f"{self.path}: {'no' if not names else 'several'} topics {topic}",
                got=", ".join(names or sorted(self.topics)),
                expected="each of the contract's topics once",
            )
        return names[0]

    def messages(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        """Yield name, receive time [ns] and message in the order of recording.

        Args:
            *topics: names as in the bag; none for all.
        """
        chosen = [c for c in self._reader.connections if not topics or c.topic in topics]
        if not chosen:
            return
        try:
            for connection, log_ns, data in self._reader.messages(chosen):
                yield connection.topic, log_ns, self._deserialize(data, connection.msgtype)
        except (AnyReaderError, ReaderError, SerdeError, OSError) as error:
            raise ConfigError(
                self.unreadable, got=error, hint="the file is damaged; leave this bag out"
            ) from error

    def _deserialize(self, data: bytes, name: str) -> Any:
        store = self._reader.typestore
        try:
            return store.deserialize_cdr(data, name)
        except SerdeError as error:
            if "size mismatch" not in str(error):
                raise
            for extra in TRAILING_BYTES[:-1]:
                try:
                    return store.deserialize_cdr(data[:-extra], name)
                except SerdeError:
                    continue
            return store.deserialize_cdr(data[: -TRAILING_BYTES[-1]], name)
