# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What imports and exports of other formats have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from diwa.data.contract import PROPRIO_SIZES, Contract
from diwa.errors import ConfigError
from diwa.files import read_json, write_json


class ImportProgress(Protocol):
    """What imports and exports need of a progress display; one unit is one frame."""

    def start(self, name: str, total: int) -> None:
        """Begin a job of `total` units."""

    def advance(self, n: int = 1, **metrics: float) -> None:
        """Count `n` finished units."""

    def finish(self) -> None:
        """End the job."""


def begin_import(out: Path, name: str, contract: Contract, settings: dict[str, Any]) -> None:
    """Note in the dataset folder how `name` is imported, before its first episode.

    Raises:
        ConfigError: it was begun with other settings; a mixture would fit neither.
    """
    path = out / "imports" / f"{name}.json"
    mine = {"contract": contract.hash, **settings}
    if not path.is_file():
        write_json(path, mine)
        return
    theirs = read_json(path)
    if theirs != mine:
        raise ConfigError(
            f"{out}: an import of {name} was begun with other settings",
            got=theirs,
            expected=str(mine),
            hint="go on with those settings, or import into a new folder",
        )


def proprio_columns(contract: Contract, part: str) -> slice:
    """Where `part` stands in the contract's proprioception."""
    start = 0
    for name in contract.proprio:
        if name == part:
            return slice(start, start + PROPRIO_SIZES[name])
        start += PROPRIO_SIZES[name]
    raise KeyError(part)
