# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Reading what is left of an MCAP file that was never finished, or that is damaged.

An MCAP file is a row of records, each with its length, and the messages come before the index. So
everything up to the first broken record can be read without the index. Of a chunk that was being
written when its writer died, the messages that are complete are read too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rosbags.rosbag2.storage_mcap import decompress

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0F
LAST_OPCODE = 0x0F
MOST_TORN_BYTES = 64 << 20  # of a record without its end; more is no record but a wrong length
HEADER = struct.Struct("<BQ")  # opcode, length
CHUNK_FIELDS = struct.Struct("<QQQI")  # first and last log time, size, checksum
MESSAGE_FIELDS = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time


class Salvaged(NamedTuple):
    """A message that could be read."""

    topic: str
    type: str
    log_ns: int
    data: bytes


class McapScan:
    """Reads one file from its beginning.

    Attributes:
        complete: the file was finished properly; known when everything has been read.
        problem: what stopped the reading before the end, in words.
        topics: type of every topic seen.
    """

    def __init__(self, path: Path) -> None:
        self.complete = False
        self.problem = ""
        self.topics: dict[str, str] = {}
        self._path = path
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str]] = {}

    def messages(self) -> Iterator[Salvaged]:
        """Yield the readable messages in the order of the file."""
        size = self._path.stat().st_size
        with self._path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                self.problem = "it is no MCAP file, or its beginning is lost"
                return
            while (position := stream.tell()) < size:
                header = stream.read(HEADER.size)
                if len(header) < HEADER.size:
                    self.problem = f"it ends within a record at byte {position}"
                    return
                opcode, length = HEADER.unpack(header)
                if not 0 < opcode <= LAST_OPCODE:
                    self.problem = f"there is no record at byte {position}"
                    return
                torn = position + HEADER.size + length > size
                if torn:
                    self.problem = f"it ends within a record at byte {position}"
                if opcode == DATA_END and not torn:
                    self.complete = self._is_finished(stream)
                    return
                if opcode in (SCHEMA, CHANNEL, MESSAGE, CHUNK):
                    body = stream.read(min(length, MOST_TORN_BYTES if torn else size))
                    yield from self._chunk(body) if opcode == CHUNK else self._record(opcode, body)
                elif not torn:
                    stream.seek(length, 1)
                if torn:
                    return
        self.problem = "it has no end"

    def _is_finished(self, stream: BinaryIO) -> bool:
        stream.seek(-len(MAGIC), 2)
        finished = stream.read() == MAGIC
        if not finished:
            self.problem = "its index is incomplete"
        return finished

    def _chunk(self, body: bytes) -> Iterator[Salvaged]:
        """Records of a chunk, of which the end may be missing."""
        try:
            _, _, size, checksum = CHUNK_FIELDS.unpack_from(body)
            (name_size,) = struct.unpack_from("<I", body, CHUNK_FIELDS.size)
            start = CHUNK_FIELDS.size + 4
            compression = body[start : start + name_size].decode("ascii")
            (stored,) = struct.unpack_from("<Q", body, start + name_size)
        except (struct.error, UnicodeDecodeError) as error:
            self.problem = self.problem or f"a chunk cannot be read: {error}"
            return
        content = body[start + name_size + 8 :][:stored]
        if compression or (checksum and len(content) == stored):
            try:
                content = decompress(content, compression, size, checksum)
            except Exception as error:  # each codec has errors of its own
                self.problem = f"a chunk cannot be read: {error}"
                return
        yield from self._records(content)

    def _records(self, content: bytes) -> Iterator[Salvaged]:
        position = 0
        while position + HEADER.size <= len(content):
            opcode, length = HEADER.unpack_from(content, position)
            position += HEADER.size
            if position + length > len(content):
                return
            yield from self._record(opcode, content[position : position + length])
            position += length

    def _record(self, opcode: int, body: bytes) -> Iterator[Salvaged]:
        """Note a schema or channel; yield a message."""
        try:
            if opcode == SCHEMA:
                (number,) = struct.unpack_from("<H", body)
                self._schemas[number] = _text(body, 2)[0]
            elif opcode == CHANNEL:
                number, schema = struct.unpack_from("<HH", body)
                topic = _text(body, 4)[0]
                self._channels[number] = (topic, self._schemas[schema])
                self.topics[topic] = self._schemas[schema]
            elif opcode == MESSAGE:
                number, _, log_ns, _ = MESSAGE_FIELDS.unpack_from(body)
                topic, name = self._channels[number]
                yield Salvaged(topic, name, log_ns, body[MESSAGE_FIELDS.size :])
        except (struct.error, KeyError, UnicodeDecodeError) as error:
            self.problem = f"a record cannot be read: {error!r}"


def _text(body: bytes, offset: int) -> tuple[str, int]:
    """A string of a record, and where it ends."""
    (size,) = struct.unpack_from("<I", body, offset)
    end = offset + 4 + size
    if end > len(body):
        raise struct.error("the string is longer than its record")
    return body[offset + 4 : end].decode("utf-8"), end
