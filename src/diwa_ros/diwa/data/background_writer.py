# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Writing a bag in threads of its own, so that whoever receives messages never waits for a disk.

What is given to `write` reaches the operating system within `FLUSH_S` (it then survives the death
of this process), and the disk every `SYNC_S` (it then survives a power cut).
"""

from __future__ import annotations

import threading
from collections import deque

from diwa.data.bags import BagWriter
from diwa.data.episode import EpisodeRecord

FLUSH_S = 0.25
SYNC_S = 0.5
MOST_BYTES = 512 << 20  # that may wait in memory while the disk is busy


class BackgroundWriter:
    """Takes the messages of one bag and writes them.

    Args:
        bag: open; nobody else writes to it.
        most_bytes: that may wait in memory.
    """

    def __init__(self, bag: BagWriter, most_bytes: int = MOST_BYTES) -> None:
        self._bag = bag
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[str, str, int, bytes]] = deque()
        self._taken = self._written = 0  # [B]
        self._error: OSError | None = None
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._flush_often, name="bag writer", daemon=True),
            threading.Thread(target=self._sync_often, name="bag sync", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def write(self, topic: str, name: str, log_ns: int, data: bytes) -> None:
        """Append a message of type `name`, soon.

        Raises:
            OSError: an earlier message could not be written, or the disk is too slow.
        """
        self.check()
        self._waiting.append((topic, name, log_ns, data))
        self._taken += len(data)

    def check(self) -> None:
        """Raise the error that stopped the writing, if there was one."""
        if self._error is not None:
            raise self._error
        waiting = self._taken - self._written
        if waiting > self._most_bytes:
            raise OSError(f"the disk is too slow: {waiting >> 20} MB wait to be written")

    def close(self, record: EpisodeRecord, topics: dict[str, str]) -> None:
        """Write what waits and finish the bag; `topics` are those that a reader expects in it.

        Raises:
            OSError: the bag could not be finished; it is left for recovery.
        """
        self._stop()
        try:
            self._drain()
            for topic, name in topics.items():
                self._bag.add_topic(topic, name)
            self._bag.close(record)
        except Exception as error:  # each library has errors of its own
            self._bag.abandon()
            raise _as_os_error(error) from error

    def abandon(self) -> None:
        """Stop and leave the bag for recovery."""
        self._stop()
        self._bag.abandon()

    def discard(self) -> None:
        """Stop and delete the bag."""
        self._stop()
        self._bag.discard()

    def _stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _flush_often(self) -> None:
        while not self._stopping.wait(FLUSH_S):
            try:
                self._drain()
                self._bag.flush()
            except Exception as error:  # each library has errors of its own
                self._error = _as_os_error(error)
                return

    def _sync_often(self) -> None:
        while not self._stopping.wait(SYNC_S):
            try:
                self._bag.sync()
            except OSError as error:
                self._error = error
                return

    def _drain(self) -> None:
        if self._error is not None:
            raise self._error
        while self._waiting:
            topic, name, log_ns, data = self._waiting.popleft()
            self._bag.add_topic(topic, name)
            self._bag.write(topic, log_ns, data)
            self._written += len(data)


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")
