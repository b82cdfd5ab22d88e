# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Reading bags, without ROS: a bag carries its message definitions, so any machine can."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError

from diwa.errors import ConfigError

# rclpy's serialize_message returns up to 12 bytes more than the message has.
TRAILING_BYTES = (4, 8, 12)
# What reading random bytes ends in: lengths that are too large, records that are too short.
DAMAGED = (
    AnyReaderError,
    ReaderError,
    SerdeError,
    OSError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
    struct.error,
)


class BagReader:
    """Reads one bag; use it in a `with` statement. Errors name the bag."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable = f"{path}: cannot be read"
        try:
            self._reader = AnyReader([path])
            self._reader.open()
        except DAMAGED as error:
            raise ConfigError(
                self.unreadable,
                got=error,
                expected="a finished rosbag2 folder",
                hint="diwa dataset repair mends a recording that was broken off, as far as it goes",
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
        except DAMAGED as error:
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
