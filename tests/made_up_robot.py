# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Datasets of a robot that does what its actions say and is seen by two cameras.

Everything a check could want is right; a test spoils exactly one thing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from diwa.data.alignment import KeyAlignment
from diwa.data.arrays import array_specs
from diwa.data.build_report import BagReport, Segment
from diwa.data.checks.shards import content_of
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.manifest import read_record, shard_path, write_manifest, write_record
from diwa.data.previous_actions import ActionCounts
from diwa.data.statistics import moments_of

Arrays = dict[str, np.ndarray]
Change = Callable[[str, Arrays], None]
EPISODES = {"play_0000": 150, "play_0001": 160, "demo_0000": 60, "demo_0001": 64, "demo_0002": 70}
CENTRE = np.array([0.0, -0.2, 0.55])
STATIC = (64, 64)


def texture(seed: int, size: int) -> np.ndarray:
    """A smooth random picture (size, size, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


TABLE = texture(1, 512)
ROOM = texture(2, 64)


def episode(contract: Contract, length: int, seed: int) -> Arrays:
    """Arrays of an episode: a smooth way of the TCP, and what it looks like."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / contract.rate_hz
    waves = rng.uniform(0.8, 2.2, (3, 3)), rng.uniform(0, 6.3, (3, 3))
    way = sum(0.05 * np.sin(waves[0][:, i] * time[:, None] + waves[1][:, i]) for i in range(3))
    position = CENTRE + np.asarray(way)
    action = np.zeros((length, 7), dtype=np.float32)
    action[:-1, :3] = np.diff(position, axis=0) / contract.action.position_m_per_unit
    action[:, 6] = np.where(np.sin(1.5 * time + seed) >= 0, 1.0, -1.0)
    action[-1] = contract.action.neutral
    proprio = np.zeros((length, 18), dtype=np.float32)
    proprio[:, :3] = position
    proprio[:, 3] = proprio[:, 7] = 1.0
    proprio[:, 10:17] = 0.3 * position[:, :1] + np.arange(7) * 0.1
    proprio[0, 17] = 1.0
    proprio[1:, 17] = action[:-1, 6]
    proprio[:, 9] = 0.04 * (1 + proprio[:, 17])
    arrays = {
        "stamp_ns": np.round(time * 1e9).astype(np.int64),
        "action": action,
        "proprio": proprio,
        "scene_state": np.repeat(rng.normal(size=(1, 24)), length, axis=0).astype(np.float32),
    }
    if contract.image_keys:
        arrays["rgb_static"] = np.stack([_static(point) for point in position])
        arrays["rgb_gripper"] = np.stack([_gripper(point) for point in position])
    return {key: arrays[key] for key in array_specs(contract)}


def _static(point: np.ndarray) -> np.ndarray:
    """The room, with the gripper as a bright disc."""
    x, y = 32 + 110 * (point[0] - CENTRE[0]), 32 + 110 * (point[2] - CENTRE[2])
    centre = (round(16 * x), round(16 * y))
    picture = ROOM.copy()
    return np.asarray(cv2.circle(picture, centre, 16 * 8, (250, 250, 30), -1, cv2.LINE_AA, 4))


def _gripper(point: np.ndarray) -> np.ndarray:
    """The table from above, where the gripper is."""
    x, y = 256 + 700 * (point[0] - CENTRE[0]), 256 + 700 * (point[1] - CENTRE[1])
    return np.asarray(cv2.getRectSubPix(TABLE, (64, 64), (float(x), float(y))))


def robot_dataset(path: Path, contract: Contract, change: Change | None = None) -> Dataset:
    """A dataset of two episodes of play and three demonstrations.

    Args:
        path: folder to write.
        contract: one of the CALVIN contracts.
        change: is given the id and the arrays of each episode, and may spoil them.
    """
    writer = DatasetWriter(path, contract)
    for seed, (name, length) in enumerate(EPISODES.items()):
        arrays = episode(contract, length, seed)
        if change is not None:
            change(name, arrays)
        demo = name.startswith("demo")
        labels = ("demo", "open_drawer", "success") if demo else ("play", "", "unknown")
        writer.add_episode(name, *labels, arrays, source=f"bag_{name}")
    return writer.finish()


def build_report(name: str, **changes: object) -> BagReport:
    """What a build without trouble says of a bag that became one episode."""
    good = KeyAlignment(received=150, used=150)
    values: dict[str, object] = {
        "fingerprint": "0",
        "labels": ("play", "", "unknown"),
        "bag": f"bag_{name}",
        "frames": 150,
        "rate_hz": 30.0,
        "segments": (Segment(cause="start", episode=name, frames=150, start_ns=0, end_ns=1),),
        "keys": {"ee_pose": good, "scene_state": good},
        "actions": ActionCounts(derived=False, received=149, used=149),
    }
    return BagReport.model_validate({**values, **changes})


def rewrite(dataset: Dataset, name: str, key: str, array: np.ndarray) -> None:
    """Put another array in place and describe it rightly, as a faulty writer would have."""
    np.save(shard_path(dataset.path, key, name), array, allow_pickle=False)
    record = read_record(dataset.path, name)
    arrays = {key: np.load(shard_path(dataset.path, key, name)) for key in dataset.keys}
    info = record.info.model_copy(update={"content": content_of(arrays)})
    moments = dict(record.moments)
    if key != "stamp_ns":
        moments[key] = moments_of(array[:-1] if key == "action" else array)
    write_record(dataset.path, record.model_copy(update={"info": info, "moments": moments}))
    rows = [read_record(dataset.path, row.id).info for row in dataset.manifest.episodes]
    write_manifest(dataset.path, dataset.contract, rows)
