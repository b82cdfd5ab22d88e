# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Where episodes start, from the dataset that a policy was trained on or from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic

from diwa.config import Config, load_config
from diwa.control.filter import valid_pose
from diwa.control.poses import make_pose
from diwa.data.contract import PROPRIO_SIZES, Contract
from diwa.data.dataset import Dataset
from diwa.errors import ConfigError

Pose = Annotated[list[float], pydantic.Field(min_length=7, max_length=7)]


class StartPoses(Config):
    """A YAML file of start poses."""

    poses: Annotated[list[Pose], pydantic.Field(min_length=1)]  # xyz [m], quaternion xyzw


def load_start_poses(path: Path, contract: Contract) -> np.ndarray:
    """Start poses (N, 7) float64 of the TCP, in the contract's frame.

    Args:
        path: a YAML file with `poses`, or a dataset: the first frame of every demonstration, or of
            every episode where there are no demonstrations.
        contract: of the robot; the dataset's own must have the same proprioception.

    Raises:
        ConfigError: no such file, no poses in it, or a dataset without poses.
    """
    if path.is_dir():
        poses = _first_poses(Dataset.open(path), contract, path)
    else:
        poses = np.array(load_config(StartPoses, path).poses, dtype=np.float64)
    for pose in poses:
        if valid_pose(pose) is None:
            raise ConfigError(
                f"{path}: a start pose that is none", got=pose.tolist(), expected="xyz, quaternion"
            )
    return make_pose(poses[:, :3], poses[:, 3:])


def _first_poses(dataset: Dataset, contract: Contract, path: Path) -> np.ndarray:
    parts = dataset.contract.proprio
    if parts != contract.proprio or not {"position", "rotation_6d"} <= set(parts):
        raise ConfigError(
            f"{path}: proprioception",
            got=", ".join(parts),
            expected=f"{', '.join(contract.proprio)}, with position and rotation_6d",
            hint="give a YAML file of poses instead",
        )
    offsets = dict(
        zip(parts, np.cumsum([0, *(PROPRIO_SIZES[part] for part in parts)]), strict=False)
    )
    demos = [info for info in dataset.episodes if info.kind == "demo"]
    episodes = demos or dataset.episodes
    if not episodes:
        raise ConfigError(f"{path}: no episodes", hint="give a dataset with demonstrations")
    first = np.stack([dataset.array(info.id, "proprio")[0] for info in episodes])
    position = first[:, offsets["position"] :][:, :3]
    columns = first[:, offsets["rotation_6d"] :][:, :6].reshape(-1, 2, 3)
    return make_pose(position, quaternion_from_columns(columns))


def quaternion_from_columns(columns: np.ndarray) -> np.ndarray:
    """Quaternions (N, 4) xyzw from the first two columns (N, 2, 3) of rotation matrices."""
    from scipy.spatial.transform import Rotation  # takes longer to import than all the rest

    x = columns[:, 0] / np.linalg.norm(columns[:, 0], axis=-1, keepdims=True)
    y = columns[:, 1] - (columns[:, 1] * x).sum(axis=-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    matrix = np.stack([x, y, np.cross(x, y)], axis=-1)
    return np.asarray(Rotation.from_matrix(matrix).as_quat())
