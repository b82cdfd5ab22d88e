# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a dataset folder says about itself: `manifest.json` and one record per episode.

::

    DIR/manifest.json            contract, episode table, statistics, hash; written last
    DIR/episodes/<id>.json       written when all arrays of the episode are on disk
    DIR/shards/<key>/<id>.npy    arrays, frames along the first axis
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from diwa.config import Config, config_hash, parse_config
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeId, Kind, Outcome
from diwa.data.statistics import Moments, merge
from diwa.errors import ConfigError
from diwa.files import read_json, write_json

MANIFEST = "manifest.json"


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


class EpisodeFile(Config):
    """An episode's record on disk: its row and its moments per key."""

    info: EpisodeInfo
    moments: dict[str, Moments]


class Manifest(Config):
    """The whole dataset at a glance; statistics leave deleted episodes out."""

    format: Literal["diwa-dataset"] = "diwa-dataset"
    version: Literal[1] = 1
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
    return parse_config(Manifest, read_json(path), str(path))


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
    rows = [info.model_dump(mode="json", exclude={"source", "length"}) for info in episodes]
    manifest = Manifest(
        contract=contract,
        episodes=tuple(episodes),
        statistics={key: merge([moments[key] for moments in kept]) for key in kept[0]},
        hash=config_hash({"contract": contract.hash, "episodes": rows}),
    )
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return manifest
