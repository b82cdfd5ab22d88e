# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stands in for rosbag2_py: its API, and bags in its layout, written with the `mcap` package."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import yaml
from mcap.writer import CompressionType, Writer

from diwa.data.message_types import typestore_for


def make_rosbag2(distribution="jazzy"):
    """A module to put into `sys.modules`; `module.calls` lists what it was asked for."""
    module = ModuleType("rosbag2_py")
    module.__spec__ = SimpleNamespace()
    module.calls = []

    class TopicMetadata(SimpleNamespace):
        def __init__(self, **fields):
            if distribution == "humble" and "id" in fields:
                raise TypeError("incompatible constructor arguments")
            super().__init__(**fields)

    class StorageOptions(SimpleNamespace):
        def __init__(self, uri, storage_id, max_cache_size=0, storage_config_uri=""):
            super().__init__(
                uri=uri,
                storage_id=storage_id,
                max_cache_size=max_cache_size,
                settings=yaml.safe_load(Path(storage_config_uri).read_text()),
            )

    class SequentialWriter(_Writer):
        calls = module.calls

    if distribution == "jazzy":
        SequentialWriter.close = lambda self: self.finish()
    else:
        SequentialWriter.__del__ = lambda self: self.finish()
    module.SequentialWriter = SequentialWriter
    module.StorageOptions, module.TopicMetadata = StorageOptions, TopicMetadata
    module.ConverterOptions = lambda *formats: formats
    return module


class _Writer:
    calls: list

    def open(self, storage, converter):
        assert (storage.storage_id, converter) == ("mcap", ("cdr", "cdr"))
        self.calls.append(storage)
        self._folder = Path(storage.uri)
        self._folder.mkdir()
        self._name = f"{self._folder.name}_0.mcap"
        self._file = (self._folder / self._name).open("wb")
        self._mcap = Writer(
            self._file,
            chunk_size=storage.settings["chunkSize"],
            compression=CompressionType[storage.settings["compression"].upper()],
        )
        self._mcap.start("ros2", "stand-in")
        self._channels, self._topics, self._times = {}, {}, []

    def create_topic(self, metadata):
        text, _ = typestore_for([metadata.type]).generate_msgdef(metadata.type, ros_version=2)
        schema = self._mcap.register_schema(metadata.type, "ros2msg", text.encode())
        format_ = metadata.serialization_format
        self._channels[metadata.name] = self._mcap.register_channel(metadata.name, format_, schema)
        self._topics[metadata.name] = [metadata.type, 0]

    def write(self, topic, data, log_ns):
        assert isinstance(data, bytes)
        self._mcap.add_message(self._channels[topic], log_ns, data, log_ns)
        self._topics[topic][1] += 1
        self._times.append(log_ns)

    def finish(self):
        if self._file.closed:
            return
        self.calls.append("closed")
        self._mcap.finish()
        self._file.close()
        start, end = min(self._times, default=0), max(self._times, default=0)
        topics = [
            {
                "topic_metadata": {
                    "name": name,
                    "type": kind,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [],
                    "type_description_hash": "",
                },
                "message_count": count,
            }
            for name, (kind, count) in self._topics.items()
        ]
        facts = {
            "version": 9,
            "storage_identifier": "mcap",
            "relative_file_paths": [self._name],
            "duration": {"nanoseconds": end - start},
            "starting_time": {"nanoseconds_since_epoch": start},
            "message_count": len(self._times),
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "files": [],
            "custom_data": None,
            "ros_distro": "jazzy",
        }
        text = yaml.safe_dump({"rosbag2_bagfile_information": facts})
        (self._folder / "metadata.yaml").write_text(text)
