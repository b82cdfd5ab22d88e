# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The log of a series: one JSON object per line, on the disk before anything else happens.

A crash leaves at most half a line at the end, which is cut off when the log is opened again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from diwa.errors import ConfigError
from diwa.files import fsync_path


def now() -> str:
    """This moment, UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line that was cut is left out.

    Raises:
        ConfigError: another line is damaged.
    """
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    records = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or "event" not in record:
                raise ValueError("no event")
        except ValueError as error:
            raise ConfigError(
                f"{path}: line {number} is damaged",
                got=error,
                hint="bring the file back from a backup; a log is never edited by hand",
            ) from error
        records.append(record)
    return records


class TrialLog:
    """A log that this process alone appends to.

    Attributes:
        records: everything in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise ConfigError(
                f"{path.parent}: another process runs this series",
                hint="end it first, or name another folder",
            ) from error
        try:
            self.records = read_log(path)
            os.ftruncate(self._descriptor, path.read_bytes().rfind(b"\n") + 1)
            fsync_path(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, event: str, **values: Any) -> Mapping[str, Any]:
        """Add a line with the time; returns once it is on the disk."""
        record = {"event": event, "at": now(), **values}
        line = json.dumps(record, allow_nan=False) + "\n"
        os.write(self._descriptor, line.encode())
        os.fsync(self._descriptor)
        self.records.append(record)
        return record

    def close(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)
