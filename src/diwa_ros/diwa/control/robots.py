# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What an arm can do, and how much less of it is used here: one YAML file per robot.

Units are SI: m, rad, s, N, N m. The figures of `arm` are the maker's; all others are this
project's own and stay well below them. Sources: docs/safety.md.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import pydantic

from diwa.config import Config, load_config
from diwa.errors import ConfigError

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(gt=0, le=1)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Seven = tuple[Finite, Finite, Finite, Finite, Finite, Finite, Finite]
Six = tuple[Finite, Finite, Finite, Finite, Finite, Finite]


class ArmLimits(Config):
    """What the maker allows; a command beyond makes the arm stop by itself."""

    joint_minimum: Seven  # [rad]
    joint_maximum: Seven
    joint_velocity: Seven  # [rad/s]
    joint_acceleration: Seven  # [rad/s2]
    translation_velocity: Positive  # [m/s]
    translation_acceleration: Positive  # [m/s2]
    rotation_velocity: Positive  # [rad/s]
    rotation_acceleration: Positive  # [rad/s2]


class MotionLimits(Config):
    """How the desired pose may move."""

    max_speed: Positive = 0.25  # [m/s]
    max_turn_rate: Positive = 0.6  # [rad/s]
    max_acceleration: Positive = 1.5  # [m/s2] speeding up and turning
    max_turn_acceleration: Positive = 4.0  # [rad/s2]
    max_deceleration: Positive = 8.0  # [m/s2] slowing down, to a stop at any time
    max_turn_deceleration: Positive = 16.0  # [rad/s2]
    leash_m: Positive = 0.05  # farthest from the measured pose
    leash_rad: Positive = 0.3
    max_pitch: Positive = 0.524  # [rad] tilt of a gripper that points down, about its y axis
    max_roll: Positive = 1.047  # about its x axis
    hand_yaw: Finite = 0.0  # [rad] about z, from the reported frame to the hand's
    joint_margin: Positive = 0.1  # [rad] to keep from `joint_minimum` and `joint_maximum`
    min_manipulability: Positive = 0.04  # smallest singular value of the Jacobian [m, rad per rad]


class GuardLimits(Config):
    """When to stop, and when not to start."""

    collision_torque: Positive = 40.0  # [N m] the arm's own reflex
    collision_force: Positive = 40.0  # [N], [N m]
    force: Positive = 20.0  # [N] on the TCP
    force_time: Positive = 0.05  # [s] for so long
    state_age: Positive = 0.1  # [s] an older state of the arm is none
    enable_age: Positive = 0.25  # [s] a dead-man's switch not heard of for longer is released
    start_position: Positive = 0.05  # [m] to the nearest start pose
    start_rotation: Positive = 0.2  # [rad]
    stretch: Annotated[float, pydantic.Field(ge=1)] = 1.5  # [leashes] desired from measured pose
    stretch_time: Positive = 0.2  # [s] for so long: the arm does not follow
    success_rate: Share = 0.9  # of the arm's commands, while it moves


class GripperLimits(Config):
    """How the hand is used."""

    force: Positive = 20.0  # [N]
    speed: Positive = 0.1  # [m/s]
    max_width: Positive = 0.08  # [m]
    grasp_epsilon: Positive = 0.08  # [m] any width counts as grasped
    hysteresis: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.2  # of actions in [-1, 1]
    votes: Annotated[int, pydantic.Field(ge=1)] = 3  # steps that must agree
    lockout: Positive = 0.6  # [s] between two commands


class Stiffness(Config):
    """Of the Cartesian impedance that follows the targets, where the backend can set it."""

    translation: Positive = 600.0  # [N/m]
    rotation: Positive = 30.0  # [N m/rad]


class Home(Config):
    """Where an arm goes between trials, and how."""

    joints: Seven  # [rad]
    dynamics: Share = 0.15  # share of the arm's speed, acceleration and jerk
    timeout: Positive = 30.0  # [s]


class RobotLimits(Config):
    """One robot, see `config/robots/`."""

    name: str
    arm: ArmLimits
    motion: MotionLimits = MotionLimits()
    guard: GuardLimits = GuardLimits()
    gripper: GripperLimits = GripperLimits()
    stiffness: Stiffness = Stiffness()
    home: Home

    @pydantic.model_validator(mode="after")
    def _stays_below_the_arm(self) -> RobotLimits:
        arm, motion = self.arm, self.motion
        pairs = {
            "max_speed": arm.translation_velocity,
            "max_turn_rate": arm.rotation_velocity,
            "max_acceleration": arm.translation_acceleration,
            "max_turn_acceleration": arm.rotation_acceleration,
            "max_deceleration": arm.translation_acceleration,
            "max_turn_deceleration": arm.rotation_acceleration,
        }
        for name, limit in pairs.items():
            if getattr(motion, name) > limit:
                raise ValueError(f"motion.{name} is beyond what the arm can do ({limit})")
        for low, high, home in zip(
            arm.joint_minimum, arm.joint_maximum, self.home.joints, strict=True
        ):
            if not low + motion.joint_margin <= home <= high - motion.joint_margin:
                raise ValueError(f"home.joints: {home} is not joint_margin inside {low}..{high}")
        return self


def load_robot(name: str | Path) -> RobotLimits:
    """Limits from a YAML file, or from the name of a robot that comes with the package.

    Raises:
        ConfigError: no such robot, or limits that the arm cannot keep.
    """
    path = Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        path = _packaged(str(name))
    return load_config(RobotLimits, path)


def _packaged(name: str) -> Path:
    """The file of a robot we ship: in a source checkout, or below a prefix of an installation."""
    here = Path(__file__).resolve()
    shares = [parent / "share" / "diwa_ros" for parent in (Path(sys.prefix), *here.parents)]
    folders = [folder / "config" / "robots" for folder in (here.parents[2], *shares)]
    known = {file.stem: file for folder in reversed(folders) for file in folder.glob("*.yaml")}
    if name not in known:
        expected = ", ".join(sorted(known)) or "(none are installed)"
        raise ConfigError(f"robot {name!r}", expected=f"a YAML file, or one of: {expected}")
    return known[name]
