# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A dataset as a LeRobotDataset v3: parquet for numbers, MP4 for images.

Everything is written under another name and renamed when it is complete. Every video is decoded
again and compared, so that the stated loss of the images is what was measured.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diwa.data.dataset import Dataset
from diwa.data.importing import ImportProgress
from diwa.data.lerobot_layout import (
    DATA_FILE_MB,
    DATA_PATH,
    ENDS,
    EPISODES_PATH,
    INFO,
    LABELS,
    PLAY,
    SIDECAR,
    STATS,
    TASKS,
    VIDEO_FILE_MB,
    VIDEO_PATH,
    Codec,
    FileNumber,
    ImageLoss,
    Sidecar,
    feature_names,
    info_table,
    statistics_entry,
)
from diwa.data.lerobot_loss import measure_loss
from diwa.data.lerobot_tables import arrow_column, write_tasks
from diwa.data.lerobot_video import VideoWriter, video_info
from diwa.data.manifest import EpisodeInfo, read_record
from diwa.data.statistics import Moments, merge, moments_of
from diwa.errors import ConfigError
from diwa.files import fsync_path, write_json

MB = 1 << 20


@dataclass(frozen=True, slots=True)
class LeRobotExport:
    """What an export has written, and what its images lost, per image key."""

    episodes: int
    frames: int
    images: dict[str, ImageLoss]


def export_lerobot(
    dataset: Dataset,
    out: Path,
    *,
    codec: Codec = "vp9",
    progress: ImportProgress | None = None,
    data_file_mb: float = DATA_FILE_MB,
    video_file_mb: float = VIDEO_FILE_MB,
) -> LeRobotExport:
    """Write the episodes that are not deleted as a new LeRobotDataset.

    Args:
        dataset: what to export.
        out: folder to make.
        codec: of the images, see `diwa.data.lerobot_video`.
        progress: is told of every finished frame.
        data_file_mb: a parquet file above this size is followed by a new one.
        video_file_mb: likewise for MP4 files.

    Raises:
        ConfigError: the folder exists, or an image cannot be encoded.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists", hint="give a new folder, or move that one away")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if progress is not None:
        progress.start("export", sum(info.length for info in dataset.episodes))
    writer = _Writer(dataset, partial, codec, data_file_mb, video_file_mb)
    for info in dataset.episodes:
        writer.add(info)
        if progress is not None:
            progress.advance(info.length)
    result = writer.finish()
    if progress is not None:
        progress.finish()
    for path in (partial, *partial.rglob("*")):
        fsync_path(path)
    partial.rename(out)
    fsync_path(out.parent)
    return result


class _Writer:
    """The files of one export."""

    def __init__(
        self, dataset: Dataset, root: Path, codec: Codec, data_mb: float, video_mb: float
    ) -> None:
        self._dataset = dataset
        self._contract = dataset.contract
        self._root = root
        self._codec = codec
        self._names = feature_names(dataset.contract)
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []
        self._moments: dict[str, list[Moments]] = {}
        self._frames = 0
        self._data: pq.ParquetWriter | None = None
        self._data_number = FileNumber(data_mb * MB)
        keys = dataset.contract.image_keys
        self._videos: dict[str, VideoWriter] = {}
        self._video_numbers = {key: FileNumber(video_mb * MB) for key in keys}

    def add(self, info: EpisodeInfo) -> None:
        """Append an episode to the open files."""
        row = self._place(info)
        columns = self._columns(info, row)
        moments = dict(read_record(self._dataset.path, info.id).moments)
        moments |= {
            name: moments_of(np.asarray(values, dtype=np.float64)[:, None])
            for name, values in columns.items()
            if np.ndim(values) == 1
        }
        for key, value in moments.items():
            name = self._names.get(key, key)
            self._moments.setdefault(name, []).append(value)
            for statistic, entry in statistics_entry(value, key in self._videos).items():
                row[f"stats/{name}/{statistic}"] = entry
        self._rows.append(row)
        self._write_table(columns)
        self._frames += info.length

    def _place(self, info: EpisodeInfo) -> dict[str, Any]:
        """Write the images, and say where the episode is."""
        text = info.task.replace("_", " ") or PLAY
        self._tasks.setdefault(text, len(self._tasks))
        if self._data_number.turn_page() and self._data is not None:
            self._data.close()
            self._data = None
        row: dict[str, Any] = {
            "episode_index": len(self._rows),
            "tasks": [text],
            "length": info.length,
            "data/chunk_index": self._data_number.chunk,
            "data/file_index": self._data_number.file,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + info.length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for key in self._contract.image_keys:
            row |= self._write_images(info, key)
        return row | {f"diwa/{label}": getattr(info, label) for label in LABELS}

    def _write_images(self, info: EpisodeInfo, key: str) -> dict[str, Any]:
        images = self._dataset.array(info.id, key)
        rate, name, number = self._contract.rate_hz, self._names[key], self._video_numbers[key]
        if number.turn_page():
            self._videos.pop(key).close()
        place = {"chunk_index": number.chunk, "file_index": number.file}
        if key not in self._videos:
            path = self._root / VIDEO_PATH.format(video_key=name, **place)
            self._videos[key] = VideoWriter(path, rate, images.shape[1:3], self._codec)
        video = self._videos[key]
        first = video.frames
        video.write(images)
        number.bytes = video.bytes
        return {
            f"videos/{name}/{part}": value
            for part, value in {
                **place,
                "from_timestamp": first / rate,
                "to_timestamp": video.frames / rate,
            }.items()
        }

    def _columns(self, info: EpisodeInfo, row: dict[str, Any]) -> dict[str, np.ndarray]:
        """Everything of an episode's frames but the images."""
        steps = np.arange(info.length)
        last = steps == info.length - 1
        columns = {
            name: np.asarray(self._dataset.array(info.id, key))
            for key, name in self._names.items()
            if key not in self._contract.image_keys
        }
        ends = (last, last & (info.outcome == "success"))
        return columns | {
            **dict(zip(ENDS, ends, strict=True)),
            "timestamp": (steps / self._contract.rate_hz).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(info.length, row["episode_index"]),
            "index": steps + self._frames,
            "task_index": np.full(info.length, self._tasks[row["tasks"][0]]),
        }

    def _write_table(self, columns: dict[str, np.ndarray]) -> None:
        table = pa.table({name: arrow_column(values) for name, values in columns.items()})
        if self._data is None:
            number = self._data_number
            name = DATA_PATH.format(chunk_index=number.chunk, file_index=number.file)
            (self._root / name).parent.mkdir(parents=True, exist_ok=True)
            self._data = pq.ParquetWriter(self._root / name, table.schema)
        self._data.write_table(table)  # one row group per episode
        self._data_number.bytes += table.nbytes

    def finish(self) -> LeRobotExport:
        """Close all files, measure the loss, and write the metadata."""
        if self._data is not None:
            self._data.close()
        for video in self._videos.values():
            video.close()
        path = self._root / EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), path)
        write_tasks(self._root / TASKS, self._tasks)
        images = self._contract.image_keys
        pictures = {self._names[key] for key in images}
        statistics = {
            name: statistics_entry(merge(parts), name in pictures)
            for name, parts in self._moments.items()
        }
        write_json(self._root / STATS, statistics)
        totals = (len(self._rows), self._frames, len(self._tasks))
        facts = video_info(self._codec, self._contract.rate_hz)
        write_json(self._root / INFO, info_table(self._contract, totals, facts))
        loss = {key: measure_loss(self._dataset, self._root, self._rows, key) for key in images}
        sidecar = Sidecar(
            contract=self._contract, dataset=self._dataset.hash, codec=self._codec, images=loss
        )
        write_json(self._root / SIDECAR, sidecar.model_dump(mode="json"))
        return LeRobotExport(len(self._rows), self._frames, loss)
