# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Like `conversions`, for what goes to and comes from an arm's driver.

What comes in is read by attributes alone, so that messages of packages which are not installed
everywhere need not be imported.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from diwa_ros.conversions import set_stamp


def pose_array(pose: Any) -> np.ndarray:
    """A Pose as (7,) float64: position [m], quaternion xyzw; not checked."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w], dtype=np.float64)


def wrench_array(wrench: Any) -> np.ndarray:
    """A Wrench as (6,) float64: force [N], torque [Nm]."""
    force, torque = wrench.force, wrench.torque
    return np.array([force.x, force.y, force.z, torque.x, torque.y, torque.z], dtype=np.float64)


def named_values(message: Any, names: Sequence[str], field: str = "position") -> np.ndarray | None:
    """Values of a JointState's `field` by joint, (len(names),) float64; None where one is missing.

    Args:
        message: sensor_msgs/JointState; its joints may stand in any order.
        names: joints wanted.
        field: position, velocity or effort.
    """
    values = getattr(message, field)
    where = {name: index for index, name in enumerate(message.name)}
    if len(values) != len(message.name) or any(name not in where for name in names):
        return None
    return np.array([values[where[name]] for name in names], dtype=np.float64)


def error_names(errors: Any) -> tuple[str, ...]:
    """Names of the fields that are true, of a franka_msgs/Errors or the like."""
    return tuple(
        name for name in errors.get_fields_and_field_types() if getattr(errors, name) is True
    )


def make_twist(frame_id: str) -> TwistStamped:
    """An empty twist for `fill_twist`."""
    return TwistStamped(header=Header(frame_id=frame_id))


def fill_twist(message: TwistStamped, stamp_ns: int, twist: np.ndarray) -> None:
    """Set stamp and twist, (6,) float: linear [m/s], angular [rad/s]."""
    set_stamp(message.header.stamp, stamp_ns)
    linear, angular = message.twist.linear, message.twist.angular
    linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = twist.tolist()


def fill_joint_target(
    message: JointState, stamp_ns: int, positions: np.ndarray, velocities: np.ndarray
) -> None:
    """Set stamp, positions (J,) [rad] and velocities (J,) [rad/s]; the names stay."""
    set_stamp(message.header.stamp, stamp_ns)
    message.position = array("d", np.asarray(positions, dtype=np.float64).tobytes())
    message.velocity = array("d", np.asarray(velocities, dtype=np.float64).tobytes())
