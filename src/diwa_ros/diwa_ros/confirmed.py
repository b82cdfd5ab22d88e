# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints a person has confirmed on which robot; new ones move slowly until then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diwa.errors import ConfigError
from diwa.files import read_json, write_json


class ConfirmedSources:
    """A JSON file `{"robot": ["source", ...]}`.

    Args:
        path: of the file; made when the first source is confirmed.
        robot: whose sources these are.
    """

    def __init__(self, path: Path, robot: str) -> None:
        self._path = path
        self._robot = robot
        self._sources = set(self._read().get(robot, []))

    def __contains__(self, source: object) -> bool:
        return source in self._sources

    def add(self, source: str) -> None:
        """Confirm `source` for good."""
        if source in self._sources:
            return
        everything = self._read()  # another bridge may have written meanwhile
        everything[self._robot] = sorted({*everything.get(self._robot, []), source})
        write_json(self._path, everything)
        self._sources.add(source)

    def _read(self) -> dict[str, list[str]]:
        if not self._path.exists():
            return {}
        content: Any = read_json(self._path)
        valid = isinstance(content, dict) and all(
            isinstance(value, list) and all(isinstance(item, str) for item in value)
            for value in content.values()
        )
        if not valid:
            raise ConfigError(
                f"{self._path}: not a list of confirmed checkpoints",
                expected='{"robot": ["source", ...]}',
                hint="move the file away; checkpoints will have to be confirmed again",
            )
        return dict(content)
