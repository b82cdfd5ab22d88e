# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Raw samples to what the models see: proprioception by the contract, images at training size."""

from __future__ import annotations

import cv2
import numpy as np

from diwa.data.contract import Contract


def compose_observation(
    contract: Contract, raw: dict[str, np.ndarray], previous_action: np.ndarray
) -> dict[str, np.ndarray]:
    """Raw samples to what the models see.

    Args:
        contract: names the keys of `raw`.
        raw: per observation key of the contract, an array as `diwa.data.decode.decode` makes it.
        previous_action: (7,) float32 in [-1, 1].

    Returns:
        "proprio": (P,) float32; scene keys: (size,) float32; image keys: (h, w, 3) uint8, RGB.
    """
    streams = contract.observations
    by_kind = {stream.kind: key for key, stream in streams.items()}
    # The contract has made sure that a missing stream is no part of proprioception.
    pose = raw[by_kind["pose"]] if "pose" in by_kind else np.eye(7)[6]
    joints = raw[by_kind["joints"]] if "joints" in by_kind else np.zeros(9)
    observation = {"proprio": compose_proprio(contract, pose, joints, float(previous_action[6]))}
    for key, stream in streams.items():
        if stream.kind == "scene":
            observation[key] = np.asarray(raw[key], dtype=np.float32)
        elif stream.kind == "image":
            observation[key] = _resize(raw[key], stream.store)
    return observation


def compose_proprio(
    contract: Contract, pose: np.ndarray, joints: np.ndarray, gripper_action: float
) -> np.ndarray:
    """Proprioception in the contract's order.

    Args:
        contract: says which parts, in which order.
        pose: (7,) float, TCP position [m] and quaternion xyzw in the base frame.
        joints: (9,) float, seven arm joints [rad] and two fingers [m].
        gripper_action: last executed gripper action in [-1, 1].

    Returns:
        (contract.proprio_size,) float32.
    """
    pose = np.asarray(pose, dtype=np.float64)
    joints = np.asarray(joints, dtype=np.float64)
    parts = {
        "position": pose[:3],
        "rotation_6d": _rotation_6d(pose[3:7]),
        "gripper_width": joints[7:].sum(keepdims=True),
        "arm_joints": joints[:7],
        "gripper_action": np.array([gripper_action]),
    }
    return np.concatenate([parts[name] for name in contract.proprio]).astype(np.float32)


def _rotation_6d(quaternion: np.ndarray) -> np.ndarray:
    """First two columns of the rotation matrix of a quaternion xyzw: (6,) float64."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    first = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
    second = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
    return np.array((*first, *second))


def _resize(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Image at `size` (height, width), averaged over areas; always a new array."""
    if size is None or image.shape[:2] == size:
        return image.copy()
    resized = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)
