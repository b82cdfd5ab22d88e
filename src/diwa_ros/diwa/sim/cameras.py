# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The two cameras: one beside the table, one on the gripper.

The gripper camera is CALVIN's. The static one stands where CALVIN's stands but looks 4 cm higher
through 12 instead of 10 degrees: there the bulb is cut off by the upper edge of the picture, and
with it the only sign of whether it is on.
"""

from __future__ import annotations

import numpy as np

from diwa.control.poses import matrix_from_quaternion
from diwa.sim.bullet import Bullet

STATIC_EYE = (2.871459, -2.166602, 2.555160)  # [m]
STATIC_LOOK_AT = (-0.026242, -0.030233, 0.432)
STATIC_UP = (0.40414, 0.226298, 0.886262)
STATIC_FIELD_OF_VIEW = 12.0  # [deg], vertical
STATIC_RANGE = (0.01, 10.0)  # [m], near and far
GRIPPER_FIELD_OF_VIEW = 75.0
GRIPPER_RANGE = (0.01, 2.0)
LIGHT_DIRECTION = (1.0, -1.5, 3.0)  # towards the light

Size = tuple[int, int]  # (height, width) [px]


def render_static(bullet: Bullet, size: Size) -> np.ndarray:
    """The view from beside the table: (H, W, 3) uint8."""
    view = bullet.computeViewMatrix(STATIC_EYE, STATIC_LOOK_AT, STATIC_UP)
    return _render(bullet, size, view, STATIC_FIELD_OF_VIEW, STATIC_RANGE)


def render_gripper(bullet: Bullet, size: Size, mount: np.ndarray) -> np.ndarray:
    """The view from the gripper: (H, W, 3) uint8; `mount` is the camera link's pose (7,)."""
    matrix = matrix_from_quaternion(mount[3:])
    ahead, up = matrix[:, 1], -matrix[:, 2]
    view = bullet.computeViewMatrix(mount[:3].tolist(), (mount[:3] + ahead).tolist(), up.tolist())
    return _render(bullet, size, view, GRIPPER_FIELD_OF_VIEW, GRIPPER_RANGE)


def _render(
    bullet: Bullet,
    size: Size,
    view: tuple[float, ...],
    field_of_view: float,
    depth: tuple[float, float],
) -> np.ndarray:
    height, width = size
    projection = bullet.computeProjectionMatrixFOV(field_of_view, width / height, *depth)
    image = bullet.getCameraImage(
        width, height, view, projection,
        lightDirection=LIGHT_DIRECTION, shadow=0, renderer=bullet.ER_TINY_RENDERER,
        flags=bullet.ER_NO_SEGMENTATION_MASK,
    )[2]  # fmt: skip
    return np.ascontiguousarray(np.reshape(image, (height, width, 4))[:, :, :3].astype(np.uint8))
