# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A LeRobotDataset v3 on disk: its metadata, and the frames of an episode wherever they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from diwa.config import parse_config
from diwa.data.lerobot_layout import INFO, SIDECAR, Sidecar
from diwa.data.lerobot_tables import read_table
from diwa.data.lerobot_video import read_frames
from diwa.errors import ConfigError
from diwa.files import read_json

NEEDED = ("episode_index", "length", "data/chunk_index", "data/file_index")


@dataclass(frozen=True, slots=True)
class LeRobotFolder:
    """A LeRobotDataset on disk.

    Attributes:
        path: its folder.
        info: `meta/info.json`.
        episodes: rows of `meta/episodes`, in order, without statistics.
        sidecar: what our export added; None for data of others.
    """

    path: Path
    info: dict[str, Any]
    episodes: tuple[dict[str, Any], ...]
    sidecar: Sidecar | None


def is_lerobot(path: Path) -> bool:
    """Whether `path` looks like a LeRobotDataset of any version."""
    return (path / INFO).is_file()


def open_lerobot(path: Path) -> LeRobotFolder:
    """Read the metadata; `ConfigError` names what is damaged, missing or of another version."""
    info = read_json(path / INFO)
    version = str(info.get("codebase_version") if isinstance(info, dict) else None)
    if not version.startswith("v3"):
        raise ConfigError(
            f"{path / INFO}: another version of LeRobot's format",
            got=version,
            expected="v3.0",
            hint="convert it with LeRobot's own script (convert_dataset_v21_to_v30)",
        )
    missing = {"fps", "features", "data_path"} - set(info)
    if missing or not isinstance(info["features"], dict):
        raise ConfigError(f"{path / INFO}: entries missing", got=", ".join(sorted(missing)))
    needed = {*NEEDED, *_video_columns(info)}
    rows: list[dict[str, Any]] = []
    for file in sorted((path / "meta" / "episodes").rglob("*.parquet")):
        table = read_table(file)
        lost = needed - set(table.column_names)
        if lost:
            raise ConfigError(f"{file}: columns missing", got=", ".join(sorted(lost)))
        rows += table.select([n for n in table.column_names if n[:6] != "stats/"]).to_pylist()
    rows.sort(key=lambda row: row["episode_index"])
    if not rows or len(rows) != info.get("total_episodes", len(rows)):
        raise ConfigError(
            f"{path}: episodes missing in meta/episodes",
            got=f"{len(rows)} rows",
            expected=f"{info.get('total_episodes')}",
            hint="copy the data set again",
        )
    where = path / SIDECAR
    sidecar = parse_config(Sidecar, read_json(where), str(where)) if where.is_file() else None
    return LeRobotFolder(path, info, tuple(rows), sidecar)


def _video_columns(info: Mapping[str, Any]) -> list[str]:
    """Columns that say where an episode's part of each video is."""
    videos = [name for name, entry in info["features"].items() if entry.get("dtype") == "video"]
    parts = ("chunk_index", "file_index", "from_timestamp")
    return [f"videos/{name}/{part}" for name in videos for part in parts]


def read_rows(folder: LeRobotFolder, row: Mapping[str, Any], columns: list[str]) -> pa.Table:
    """The columns of one episode, given as its row of `episodes`."""
    place = {p: row[f"data/{p}"] for p in ("chunk_index", "file_index")}
    path = folder.path / folder.info["data_path"].format(**place)
    index = row["episode_index"]
    table = read_table(path, columns=columns, filters=[("episode_index", "==", index)])
    if len(table) != row["length"]:
        raise ConfigError(
            f"{path}: frames of episode {index} missing",
            got=len(table),
            expected=str(row["length"]),
            hint="copy the data set again",
        )
    return table


def read_video(folder: LeRobotFolder, name: str, row: Mapping[str, Any]) -> np.ndarray:
    """Frames of one episode and one feature (T, h, w, 3) uint8, RGB."""
    rate = float(folder.info["fps"])
    place = {p: row[f"videos/{name}/{p}"] for p in ("chunk_index", "file_index")}
    path = folder.path / folder.info["video_path"].format(video_key=name, **place)
    first = round(row[f"videos/{name}/from_timestamp"] * rate)
    return read_frames(path, rate, first, row["length"])


def decode_picture(data: bytes) -> np.ndarray:
    """A compressed picture (h, w, 3) uint8, RGB."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ConfigError("a picture in a parquet file cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
