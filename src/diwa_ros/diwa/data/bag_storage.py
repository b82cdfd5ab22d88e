# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The two libraries that can write a bag, behind one small seam."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys.store import Typestore

from diwa.data.message_types import typestore_for

Backend = Literal["auto", "rosbags", "rosbag2_py"]


class Storage(Protocol):
    """An open bag that messages are appended to."""

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append one message."""

    def close(self) -> None:
        """Finish the file and write metadata.yaml."""


class RosbagsStorage:
    """Writes with `rosbags`."""

    def __init__(self, path: Path, topics: Mapping[str, str]) -> None:
        types: Typestore = typestore_for(set(topics.values()))
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections: dict[str, Connection] = {
            topic: self._writer.add_connection(topic, name, typestore=types)
            for topic, name in topics.items()
        }

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append one message."""
        self._writer.write(self._connections[topic], log_ns, data)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class Rosbag2Storage:
    """Writes with `rosbag2_py` of a ROS installation."""

    def __init__(self, path: Path, topics: Mapping[str, str]) -> None:
        rosbag2_py: Any = importlib.import_module("rosbag2_py")
        self._writer = rosbag2_py.SequentialWriter()
        self._writer.open(
            rosbag2_py.StorageOptions(uri=str(path), storage_id="mcap"),
            rosbag2_py.ConverterOptions("cdr", "cdr"),
        )
        for index, (topic, name) in enumerate(topics.items()):
            fields = {"name": topic, "type": name, "serialization_format": "cdr"}
            try:
                metadata = rosbag2_py.TopicMetadata(id=index, **fields)
            except TypeError:  # before Jazzy, topics had no id
                metadata = rosbag2_py.TopicMetadata(**fields)
            self._writer.create_topic(metadata)

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append one message."""
        self._writer.write(topic, bytes(data), log_ns)

    def close(self) -> None:
        """Finish the file."""
        if hasattr(self._writer, "close"):
            self._writer.close()
        del self._writer  # where there is no close(), the destructor finishes the file


STORAGES: dict[str, type[RosbagsStorage] | type[Rosbag2Storage]] = {
    "rosbags": RosbagsStorage,
    "rosbag2_py": Rosbag2Storage,
}


def open_storage(path: Path, topics: Mapping[str, str], backend: Backend) -> Storage:
    """Begin a new bag.

    Args:
        path: folder that does not exist yet.
        topics: type of each topic, by its name in the bag.
        backend: "auto" takes rosbag2_py where it can be imported.
    """
    if backend == "auto":
        backend = "rosbag2_py" if importlib.util.find_spec("rosbag2_py") else "rosbags"
    return STORAGES[backend](path, topics)
