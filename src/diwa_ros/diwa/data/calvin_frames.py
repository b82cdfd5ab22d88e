# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One frame of CALVIN's as the models see it, by the code that makes live frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diwa.control.poses import quaternion_from_euler
from diwa.data.calvin_layout import ROBOT_SIZE
from diwa.data.contract import Contract
from diwa.data.observations import compose_observation
from diwa.errors import ConfigError

RATE_HZ = 30.0
METRES, RADIANS = 0.02, 0.05  # of one unit of rel_actions
SCENE_SIZE = 24


def check_contract(contract: Contract) -> None:
    """Raise `ConfigError` unless the contract has CALVIN's rate, units and sizes."""
    spec = contract.action
    got = (contract.rate_hz, spec.position_m_per_unit, spec.rotation_rad_per_unit)
    joints = [s for s in contract.observations.values() if s.kind == "joints"]
    scenes = [s.size for s in contract.observations.values() if s.kind == "scene"]
    if got != (RATE_HZ, METRES, RADIANS) or any(len(s.names) != 9 for s in joints):
        raise ConfigError(
            f"contract {contract.name}: not CALVIN's",
            got="{} Hz, {} m and {} rad per unit".format(*got),
            expected=f"{RATE_HZ} Hz, {METRES} m and {RADIANS} rad per unit, nine joints",
            hint="use config/contracts/panda_calvin.yaml or panda_calvin_lowdim.yaml",
        )
    if any(size != SCENE_SIZE for size in scenes):
        raise ConfigError(
            f"contract {contract.name}: scene of another size", got=scenes, expected=str(SCENE_SIZE)
        )


def check_frame(path: Path, frame: dict[str, np.ndarray], contract: Contract) -> None:
    """Raise `ConfigError` with `path` unless the frame's arrays are what the contract says."""
    expected: dict[str, tuple[int, ...]] = {
        "robot_obs": (ROBOT_SIZE,),
        "rel_actions": (7,),
        "scene_obs": (SCENE_SIZE,),
    }
    for key in contract.image_keys:
        stream = contract.observations[key]
        expected[key] = (stream.height, stream.width, 3)
    for key, array in frame.items():
        kind = "u" if key in contract.image_keys else "f"
        if array.shape != expected[key] or array.dtype.kind != kind:
            raise ConfigError(
                f"{path}: {key} does not fit the contract",
                got=f"{array.dtype} {array.shape}",
                expected=f"{'uint8' if kind == 'u' else 'float'} {expected[key]}",
            )
    if not np.abs(frame["rel_actions"]).max() <= 1.0:
        raise ConfigError(f"{path}: rel_actions outside [-1, 1]", got=frame["rel_actions"].tolist())


def observe_frame(frame: dict[str, np.ndarray], contract: Contract) -> dict[str, np.ndarray]:
    """What `compose_observation` makes of one frame.

    robot_obs is TCP position 3 [m] and world XYZ Euler angles 3 [rad], width of the gripper [m],
    joints 7 [rad], last gripper command {-1, 1}.
    """
    robot = frame["robot_obs"].astype(np.float64)
    fingers = np.full(2, robot[6] / 2)
    values = {
        "pose": np.concatenate([robot[:3], quaternion_from_euler(robot[3:6])]),
        "joints": np.concatenate([robot[7:14], fingers]),
    }
    raw = {}
    for key, stream in contract.observations.items():
        if stream.kind == "scene":
            raw[key] = frame["scene_obs"]
        else:
            raw[key] = frame[key] if stream.kind == "image" else values[stream.kind]
    previous = np.zeros(7, dtype=np.float32)
    previous[6] = robot[14]
    return compose_observation(contract, raw, previous)
