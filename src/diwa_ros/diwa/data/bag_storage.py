# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The two libraries that can write a bag, behind one small seam.

Both write the same messages in small chunks, so that little of a bag is lost when its writer is
killed. What `rosbags` holds back is handed over by `flush`; `rosbag2_py` has no such call, but its
chunks are closed after 4 KB.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.typesys.store import Typestore

from diwa.data.message_types import typestore_for
from diwa.errors import ConfigError

Backend = Literal["auto", "rosbags", "rosbag2_py"]
SMALL_CHUNKS = "chunkSize: 4096\ncompression: None\n"  # options of rosbag2's MCAP plugin


class Storage(Protocol):
    """An open bag that messages are appended to."""

    def add_topic(self, topic: str, name: str) -> None:
        """Declare a topic of message type `name`, before its first message."""

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append one message."""

    def flush(self) -> None:
        """Hand what was written to the operating system, which keeps it if this process dies."""

    def close(self) -> None:
        """Finish the file and write metadata.yaml."""

    def abandon(self) -> None:
        """Let go of the file as it is."""


class RosbagsStorage:
    """Writes with `rosbags`."""

    def __init__(self, path: Path) -> None:
        try:
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except WriterError as error:
            raise ConfigError(f"{path}: {error}", hint="choose another episode id") from error
        self._connections: dict[str, Connection] = {}

    @property
    def _file(self) -> McapWriter:
        return cast(McapWriter, self._writer.storage)

    def add_topic(self, topic: str, name: str) -> None:
        """Declare a topic, before its first message."""
        self._connections[topic] = self._writer.add_connection(
            topic, name, typestore=_definitions(name)
        )

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append one message."""
        self._writer.write(self._connections[topic], log_ns, data)

    def flush(self) -> None:
        """Close the chunk and hand it to the operating system."""
        if self._file.chunk.msgs:
            self._file.close_chunk()
        self._file.bio.flush()

    def close(self) -> None:
        """Finish the file."""
        if not self._file.chunk.msgs:  # it has no times, which MCAP writes as zeros
            self._file.chunk.message_start_time = 0
        self._writer.close()

    def abandon(self) -> None:
        """Let go of the file as it is."""
        with contextlib.suppress(OSError):  # of a full disk, for what could not be written
            self._writer.abort()


class Rosbag2Storage:
    """Writes with `rosbag2_py` of a ROS installation."""

    def __init__(self, path: Path) -> None:
        self._library: Any = importlib.import_module("rosbag2_py")
        self._writer = self._library.SequentialWriter()
        self._topics = 0
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as options:
            options.write(SMALL_CHUNKS)
            options.flush()
            self._writer.open(
                self._library.StorageOptions(
                    uri=str(path),
                    storage_id="mcap",
                    max_cache_size=0,  # written as it comes
                    storage_config_uri=options.name,
                ),
                self._library.ConverterOptions("cdr", "cdr"),
            )

    def add_topic(self, topic: str, name: str) -> None:
        """Declare a topic, before its first message."""
        fields = {"name": topic, "type": name, "serialization_format": "cdr"}
        try:
            metadata = self._library.TopicMetadata(id=self._topics, **fields)
        except TypeError:  # before Jazzy, topics had no id
            metadata = self._library.TopicMetadata(**fields)
        self._topics += 1
        self._writer.create_topic(metadata)

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append one message."""
        self._writer.write(topic, bytes(data), log_ns)

    def flush(self) -> None:
        """Hand the closed chunks to the operating system."""
        ctypes.CDLL(None).fflush(None)  # all C streams of the process, so the plugin's file too

    def close(self) -> None:
        """Finish the file."""
        if hasattr(self._writer, "close"):
            self._writer.close()
        del self._writer  # where there is no close(), the destructor finishes the file

    def abandon(self) -> None:
        """Let go of the file; the library knows no other way than to finish it."""
        with contextlib.suppress(RuntimeError, OSError):  # of a full disk
            self.close()


STORAGES: dict[str, type[RosbagsStorage] | type[Rosbag2Storage]] = {
    "rosbags": RosbagsStorage,
    "rosbag2_py": Rosbag2Storage,
}


def open_storage(path: Path, topics: Mapping[str, str], backend: Backend) -> Storage:
    """Begin a new bag.

    Args:
        path: folder that does not exist yet.
        topics: type of each topic, by its name in the bag; more can be added later.
        backend: "auto" takes rosbag2_py where it can be imported.
    """
    if backend == "auto":
        backend = "rosbag2_py" if importlib.util.find_spec("rosbag2_py") else "rosbags"
    if backend == "rosbags":
        for name in topics.values():
            _definitions(name)  # what is unknown is said before the folder is made
    storage = STORAGES[backend](path)
    for topic, name in topics.items():
        storage.add_topic(topic, name)
    return storage


def sync_file(path: Path) -> None:
    """Have the disk keep what a file holds now, whoever writes it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


@functools.lru_cache(maxsize=64)
def _definitions(name: str) -> Typestore:
    return typestore_for([name])
