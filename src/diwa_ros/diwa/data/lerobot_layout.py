# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3: which files there are, and what our arrays are called in them.

::

    meta/info.json                                  version, rate, features, path patterns
    meta/stats.json                                 statistics per feature
    meta/tasks.parquet                              texts of the tasks
    meta/episodes/chunk-000/file-000.parquet        one row per episode: where it is, statistics
    meta/diwa.json                                  ours: contract, codec, loss of the images
    data/chunk-000/file-000.parquet                 one row per frame
    videos/FEATURE/chunk-000/file-000.mp4           the frames of many episodes

Labels that LeRobot has no place for are columns ``diwa/...`` of the episodes' rows, so that they
stay with their episode whatever its position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diwa.config import Config
from diwa.data.arrays import array_specs
from diwa.data.contract import PROPRIO_SIZES, Contract
from diwa.data.statistics import Moments

VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO, STATS, TASKS, SIDECAR = (
    f"meta/{name}" for name in ("info.json", "stats.json", "tasks.parquet", "diwa.json")
)
CHUNK_FILES = 1000  # files in a folder
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
PLAY = "play"  # text of play, which has no task
LABELS = ("id", "kind", "task", "outcome", "source")  # columns diwa/...
INDICES = {  # columns that every LeRobotDataset has
    "timestamp": "float32",  # [s], from the episode's start
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
ENDS = ("next.done", "next.success")
ACTION_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")

Codec = Literal["vp9", "av1", "lossless"]


class ImageLoss(Config):
    """What the codec took from one camera's images: peak signal-to-noise ratio [dB]."""

    mean_psnr_db: float | None  # over frames; None: nothing was lost
    worst_psnr_db: float | None  # of a frame


class Sidecar(Config):
    """`meta/diwa.json` of an export."""

    format: Literal["diwa-lerobot"] = "diwa-lerobot"
    version: Literal[1] = 1
    contract: Contract
    dataset: str  # hash of the dataset that was exported
    codec: Codec
    images: dict[str, ImageLoss]


@dataclass(slots=True)
class FileNumber:
    """Number of the current file of one kind, and how full it is."""

    limit_bytes: float
    chunk: int = 0
    file: int = 0
    bytes: float = 0.0

    def turn_page(self) -> bool:
        """Whether the file is full; if so, this becomes the number of the next one."""
        if self.bytes < self.limit_bytes:
            return False
        self.chunk, self.file = divmod(self.chunk * CHUNK_FILES + self.file + 1, CHUNK_FILES)
        self.bytes = 0.0
        return True


def feature_names(contract: Contract) -> dict[str, str]:
    """Name of every array of an episode in LeRobot's terms."""
    names = {"stamp_ns": "stamp_ns", "action": "action", "proprio": "observation.state"}
    scenes = [key for key, s in contract.observations.items() if s.kind == "scene"]
    for key in scenes:
        single = "observation.environment_state"
        names[key] = single if len(scenes) == 1 else f"{single}.{key}"
    return names | {key: f"observation.images.{key}" for key in contract.image_keys}


def feature_table(contract: Contract, video_info: Mapping[str, Any]) -> dict[str, Any]:
    """The entry "features" of `info.json`.

    Args:
        contract: says which arrays there are.
        video_info: facts of the videos, as LeRobot's tools look for them.
    """
    names = feature_names(contract)
    described = {"action": list(ACTION_NAMES), "proprio": proprio_names(contract)}
    table: dict[str, Any] = {}
    for key, (dtype, shape) in array_specs(contract).items():
        entry: dict[str, Any] = {"dtype": str(dtype), "shape": list(shape or (1,)), "names": None}
        if key in contract.image_keys:
            size = {"video.height": shape[0], "video.width": shape[1], "video.channels": 3}
            entry["dtype"] = "video"
            entry["names"] = ["height", "width", "channels"]
            entry["info"] = {**size, **video_info, "has_audio": False, "is_depth_map": False}
        elif shape:
            default = [f"{key}_{index}" for index in range(shape[0])]
            entry["names"] = described.get(key, default)
        table[names[key]] = entry
    for name in ENDS:
        table[name] = {"dtype": "bool", "shape": [1], "names": None}
    for name, kind in INDICES.items():
        table[name] = {"dtype": kind, "shape": [1], "names": None}
    return table


def info_table(
    contract: Contract, totals: tuple[int, int, int], video_info: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `info.json`.

    Args:
        contract: of the dataset.
        totals: episodes, frames, tasks.
        video_info: as in `feature_table`.
    """
    episodes, frames, tasks = totals
    return {
        "codebase_version": VERSION,
        "robot_type": contract.name,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": video_info["video.fps"],
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if contract.image_keys else None,
        "features": feature_table(contract, video_info),
    }


def proprio_names(contract: Contract) -> list[str]:
    """A name for every entry of proprioception."""
    names: list[str] = []
    for part in contract.proprio:
        size = PROPRIO_SIZES[part]
        names += [part] if size == 1 else [f"{part}_{index}" for index in range(size)]
    return names


def statistics_entry(moments: Moments, image: bool) -> dict[str, Any]:
    """Statistics as LeRobot keeps them; images are scaled to [0, 1] there, per channel."""
    values = {
        "min": np.array(moments.minimum),
        "max": np.array(moments.maximum),
        "mean": np.array(moments.mean),
        "std": np.sqrt(np.array(moments.squares) / moments.count),
    }
    if image:
        values = {name: (value / 255.0).reshape(3, 1, 1) for name, value in values.items()}
    return {**{name: value.tolist() for name, value in values.items()}, "count": [moments.count]}
