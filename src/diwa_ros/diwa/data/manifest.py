# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a dataset folder says about itself: `manifest.json` and one record per episode.

::

    DIR/manifest.json            contract, episode table, statistics, hash; written last
    DIR/contract.yaml            the contract once more, for people and for repairs
    DIR/episodes/<id>.json       written when all arrays of the episode are on disk
    DIR/shards/<key>/<id>.npy    arrays, frames along the first axis

The manifest says which episodes belong to the dataset; what is said of each of them comes from its
record. After an edit that was broken off the records are ahead, and the manifest is made anew from
them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from diwa.config import Config, config_hash, parse_config
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeId, Kind, Outcome
from diwa.data.statistics import Moments, merge
from diwa.errors import ConfigError
from diwa.files import read_json, write_json, write_text

MANIFEST = "manifest.json"
CONTRACT = "contract.yaml"
VERSION: Literal[1] = 1


class UnknownVersion(ConfigError):
    """The dataset was written by another program than this one; nothing may touch it."""


class EpisodeInfo(Config):
    """One row of the episode table; labels and `deleted` may be edited later."""

    id: EpisodeId
    length: int  # frames
    kind: Kind
    task: str = ""
    outcome: Outcome = "unknown"
    deleted: bool = False
    source: str = ""  # name of the bag it was made from
    content: str  # hash of its arrays


class Edit(Config):
    """A change of one row that somebody made; episodes changed together share `at`."""

    at: str  # wall time, UTC, ISO 8601 with microseconds
    changes: dict[str, tuple[str | bool, str | bool]]  # field: before, after
    reason: str = ""
    undone: bool = False


class EpisodeFile(Config):
    """An episode's record on disk: its row, its moments per key, and earlier labels."""

    info: EpisodeInfo
    moments: dict[str, Moments]
    history: tuple[Edit, ...] = ()  # oldest first


class Manifest(Config):
    """The whole dataset at a glance; statistics leave deleted episodes out."""

    format: Literal["diwa-dataset"] = "diwa-dataset"
    version: Literal[1] = VERSION
    contract: Contract
    episodes: tuple[EpisodeInfo, ...]
    statistics: dict[str, Moments]
    hash: str


def shard_path(folder: Path, key: str, episode_id: str) -> Path:
    """File of one array."""
    return folder / "shards" / key / f"{episode_id}.npy"


def record_path(folder: Path, episode_id: str) -> Path:
    """File of one episode's record."""
    return folder / "episodes" / f"{episode_id}.json"


def read_manifest(folder: Path) -> Manifest:
    """Read and check a dataset's manifest; `ConfigError` when it is none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ConfigError(
            f"{folder}: not a finished dataset",
            expected=f"a folder with {MANIFEST}",
            hint="make one with `diwa dataset build` (it goes on where it stopped)",
        )
    raw = read_json(path)
    require_known_version(raw, path)
    return parse_config(Manifest, raw, str(path))


def require_known_version(raw: Any, path: Path) -> None:
    """Raise `UnknownVersion` for a manifest of a format that this program does not know."""
    version = raw.get("version", VERSION) if isinstance(raw, dict) else VERSION
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        raise UnknownVersion(
            f"{path}: unknown version of the dataset format",
            got=version,
            expected=str(VERSION),
            hint="it was made by a newer diwa: update this one"
            if newer
            else "build the dataset again from its bags",
        )


def read_record(folder: Path, episode_id: str) -> EpisodeFile:
    """The record of one episode."""
    path = record_path(folder, episode_id)
    return parse_config(EpisodeFile, read_json(path), str(path))


def write_record(folder: Path, record: EpisodeFile) -> None:
    """Write an episode's record in one step."""
    write_json(record_path(folder, record.info.id), record.model_dump(mode="json"))


def write_manifest(folder: Path, contract: Contract, episodes: Sequence[EpisodeInfo]) -> Manifest:
    """Write the manifest for a table of episodes whose records are in `folder`."""
    kept = [read_record(folder, info.id).moments for info in episodes if not info.deleted]
    if not kept:
        raise ConfigError(f"{folder}: no episodes", hint="record some, or take back a deletion")
    manifest = Manifest(
        contract=contract,
        episodes=tuple(episodes),
        statistics={key: merge([moments[key] for moments in kept]) for key in kept[0]},
        hash=table_hash(contract, episodes),
    )
    write_text(folder / CONTRACT, contract.to_yaml())
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def table_hash(contract: Contract, episodes: Sequence[EpisodeInfo]) -> str:
    """Hash of a dataset with these episodes: of all arrays, labels and deletions.

    Settings that have their default are left out, so that a new one changes no hash.
    """
    rows = [
        info.model_dump(mode="json", exclude={"source", "length"}, exclude_defaults=True)
        for info in episodes
    ]
    plain = contract.model_dump(mode="json", exclude_defaults=True)
    return config_hash({"contract": plain, "episodes": rows})


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the table of the dataset meanwhile; they wait."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
