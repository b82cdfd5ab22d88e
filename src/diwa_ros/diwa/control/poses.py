# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Poses and the arithmetic of relative actions, shared by simulator, safety filter and data.

A pose is (7,) float64: position xyz [m] and unit quaternion xyzw. Euler angles are about the
world's (fixed) axes X, then Y, then Z [rad], as in CALVIN's `robot_obs`. The conversions take
any leading axes and are plain NumPy: several times faster than `scipy.spatial.transform` for
single poses, and silent at gimbal lock.
"""

from __future__ import annotations

import numpy as np

from diwa.data.contract import ActionSpec

GIMBAL_MARGIN = 1e-10  # of sin(pitch): closer to 1 than this, yaw is set to zero


def wrap_angle(angle: np.ndarray) -> np.ndarray:
    """Angles wrapped to [-pi, pi)."""
    return (np.asarray(angle, dtype=np.float64) + np.pi) % (2 * np.pi) - np.pi


def quaternion_from_euler(euler: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4) xyzw from world XYZ Euler angles (..., 3) [rad]."""
    half = np.asarray(euler, dtype=np.float64) / 2
    sx, sy, sz = np.moveaxis(np.sin(half), -1, 0)
    cx, cy, cz = np.moveaxis(np.cos(half), -1, 0)
    return np.stack(
        [
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
            cx * cy * cz + sx * sy * sz,
        ],
        axis=-1,
    )


def euler_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """World XYZ Euler angles (..., 3) [rad] from quaternions (..., 4) xyzw of any length but 0."""
    x, y, z, w = np.moveaxis(normalized(quaternion), -1, 0)
    sine = np.clip(2 * (w * y - z * x), -1.0, 1.0)
    locked = np.abs(sine) > 1 - GIMBAL_MARGIN
    roll = np.where(
        locked, 2 * np.arctan2(x, w), np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    )
    yaw = np.where(locked, 0.0, np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
    return np.stack([wrap_angle(roll), np.arcsin(sine), yaw], axis=-1)


def normalized(quaternion: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4) scaled to unit length."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    return quaternion / np.sqrt((quaternion * quaternion).sum(axis=-1, keepdims=True))


def matrix_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) from quaternions (..., 4) xyzw."""
    x, y, z, w = np.moveaxis(normalized(quaternion), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_6d_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """First two columns of the rotation matrix, one after the other: (..., 6)."""
    matrix = matrix_from_quaternion(quaternion)
    return np.concatenate([matrix[..., :, 0], matrix[..., :, 1]], axis=-1)


def angle_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angle of the rotation that leads from one unit quaternion (..., 4) to another [rad]."""
    first, second = normalized(first), normalized(second)
    # The chord keeps full precision at small angles, where arccos of the dot product has none.
    near = np.sqrt(((first - second) ** 2).sum(axis=-1))
    far = np.sqrt(((first + second) ** 2).sum(axis=-1))
    return 4 * np.arctan2(np.minimum(near, far), np.maximum(near, far))


def make_pose(position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Pose (..., 7) float64 from position (..., 3) [m] and quaternion (..., 4) xyzw."""
    return np.concatenate([np.asarray(position, dtype=np.float64), normalized(quaternion)], axis=-1)


def integrate_action(pose: np.ndarray, action: np.ndarray, spec: ActionSpec) -> np.ndarray:
    """The desired pose after one relative action.

    Args:
        pose: (7,) desired pose before.
        action: (7,) in units of `spec`; the gripper is ignored, nothing is clipped.
        spec: metres and radians per unit.

    Returns:
        (7,) float64: position added, Euler angles added one by one (as in CALVIN).
    """
    action = np.asarray(action, dtype=np.float64)
    position = pose[:3] + spec.position_m_per_unit * action[:3]
    if not action[3:6].any():
        return make_pose(position, pose[3:])
    euler = euler_from_quaternion(pose[3:]) + spec.rotation_rad_per_unit * action[3:6]
    return make_pose(position, quaternion_from_euler(euler))


def relative_motion(pose: np.ndarray, goal: np.ndarray, spec: ActionSpec) -> np.ndarray:
    """The motion part of an action, (6,) and not clipped, that leads from `pose` to `goal`."""
    position = (goal[:3] - pose[:3]) / spec.position_m_per_unit
    turn = wrap_angle(euler_from_quaternion(goal[3:]) - euler_from_quaternion(pose[3:]))
    return np.concatenate([position, turn / spec.rotation_rad_per_unit])


def rotation_vector(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The shortest rotation from one quaternion (4,) to another, (3,) [rad] about fixed axes."""
    x, y, z, w = normalized(second)
    a, b, c, d = -normalized(first) * (1.0, 1.0, 1.0, -1.0)  # inverse of the first
    axis = np.array(
        [
            w * a + x * d + y * c - z * b,
            w * b - x * c + y * d + z * a,
            w * c + x * b - y * a + z * d,
        ]
    )
    cosine = w * d - x * a - y * b - z * c
    if cosine < 0:
        axis, cosine = -axis, -cosine
    sine = float(np.sqrt(axis @ axis))
    return axis * (2.0 if sine < 1e-12 else 2 * np.arctan2(sine, cosine) / sine)


def rotated(quaternion: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """`quaternion` (4,) after the rotation `turn` (3,) [rad] about fixed axes."""
    angle = float(np.sqrt(turn @ turn))
    a, b, c = turn * (0.5 if angle < 1e-12 else np.sin(angle / 2) / angle)
    d = np.cos(angle / 2)
    x, y, z, w = normalized(quaternion)
    product = [
        d * x + a * w + b * z - c * y,
        d * y - a * z + b * w + c * x,
        d * z + a * y - b * x + c * w,
        d * w - a * x - b * y - c * z,
    ]
    return normalized(np.array(product))
