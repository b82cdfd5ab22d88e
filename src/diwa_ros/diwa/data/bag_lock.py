# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A lock that says that a bag is being written, and that the kernel lets go of with its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from diwa.errors import ConfigError

LOCK = "recording.lock"


class BagLock:
    """Holds the lock of a bag folder until `release`, or until the process ends, however it ends.

    Raises:
        ConfigError: somebody else holds it.
    """

    def __init__(self, bag: Path) -> None:
        self._path = bag / LOCK
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise ConfigError(
                f"{bag}: is being written", hint="end the episode or stop its recorder first"
            ) from error

    def release(self) -> None:
        """Let go, and remove the lock's file."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_locked(bag: Path) -> bool:
    """Whether a live process writes this bag."""
    try:
        descriptor = os.open(bag / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
