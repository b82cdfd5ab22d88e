# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The connection to a Franka control box: settings, set-up, and what a state says.

franky is imported only when the backend is asked for: its wheel is an optional extra.
"""

from __future__ import annotations

import functools
import importlib
import queue
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from diwa.config import Config
from diwa.control.arm import MOVE, ArmState
from diwa.control.robots import RobotLimits
from diwa.control.singularity import smallest_singular_value
from diwa.errors import ConfigError

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class LibfrankaSettings(Config):
    """See config/backends/libfranka.yaml."""

    realtime: Literal["enforce", "ignore"] = "enforce"
    connect_timeout: Positive = 10.0  # [s]
    state_rate: Positive = 100.0  # [Hz]
    command_age: Positive = 0.15  # [s]
    max_torque_step: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.5  # [N m/ms]
    posture_stiffness: NotNegative = 10.0  # [N m/rad]
    hand: bool = True
    hand_homing: bool = False


def import_franky() -> ModuleType:
    """The module franky; `ConfigError` where it is not installed."""
    try:
        return importlib.import_module("franky")
    except ImportError as error:
        raise ConfigError(
            "backend libfranka",
            got=error,
            expected="the package franky-control",
            hint="pip install franky-control; a Panda needs another wheel, see docs/deploy.md",
        ) from error


def failures(franky: ModuleType) -> tuple[type[Exception], ...]:
    """What franky raises; a dead connection can be a plain RuntimeError."""
    return (franky.Exception, franky.GripperException, RuntimeError, TimeoutError)


def in_words(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()).replace("libfranka: ", "")


def connect_arm(
    franky: ModuleType, address: str, settings: LibfrankaSettings, limits: RobotLimits
) -> Any:
    """A connected `franky.Robot` with its thresholds set.

    Raises:
        ConfigError: nobody answers there, or not in this way.
    """
    if not address:
        raise ConfigError(
            "parameter robot_ip", got="nothing", expected="the address of the arm's control box"
        )
    config = franky.RealtimeConfig
    mode = config.Enforce if settings.realtime == "enforce" else config.Ignore

    def connect() -> Any:
        robot = franky.Robot(address, realtime_config=mode)
        guard = limits.guard
        robot.set_collision_behavior(guard.collision_torque, guard.collision_force)
        return robot

    return within(connect, settings.connect_timeout, f"arm at {address}", failures(franky))


def within(
    connect: Callable[[], Any], timeout_s: float, what: str, errors: tuple[type[Exception], ...]
) -> Any:
    """Result of `connect()`, which may wait for ever: a box with a client does not answer another.

    Raises:
        ConfigError: it failed or took longer.
    """
    answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            answers.put((connect(), None))
        except errors as error:
            answers.put((None, error))

    threading.Thread(target=attempt, name="connect", daemon=True).start()
    try:
        found, error = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise ConfigError(
            what,
            got=f"no answer for {timeout_s:g} s",
            hint="switch FCI on in Desk; only one program at a time can be connected",
        ) from None
    if error is not None:
        raise ConfigError(what, got=in_words(error), hint=_advice(type(error).__name__)) from error
    return found


def _advice(kind: str) -> str:
    return {
        "RealtimeException": "install a real-time kernel and allow this user real-time priority; "
        "`realtime: ignore` is for simulated arms",
        "IncompatibleVersionException": "install the wheel of franky-control for the arm's "
        "system version, see docs/deploy.md",
        "NetworkException": "check cable, address and that FCI is on in Desk",
    }.get(kind, "see the arm's page in Desk")


def arm_state(
    franky: ModuleType, robot: Any, raw: Any, now_s: float, gripper_width: float | None
) -> ArmState:
    """What a `franky.RobotState` of `robot` says."""
    jacobian = robot.model.zero_jacobian(franky.Frame.EndEffector, raw)
    end = raw.O_T_EE
    mode = int(raw.robot_mode.value)
    names = error_names(franky)
    return ArmState(
        stamp_s=now_s,
        pose=np.concatenate([end.translation, end.quaternion]),
        joints=np.array(raw.q, dtype=np.float64),
        joint_velocities=np.array(raw.dq, dtype=np.float64),
        gripper_width=gripper_width,
        force=np.array(raw.O_F_ext_hat_K, dtype=np.float64),
        robot_mode=mode,
        errors=tuple(name for name in names if getattr(raw.current_errors, name)),
        success_rate=float(raw.control_command_success_rate) if mode == MOVE else None,
        manipulability=smallest_singular_value(jacobian),
    )


@functools.lru_cache(maxsize=1)
def error_names(franky: ModuleType) -> tuple[str, ...]:
    """Names of the errors that an arm can have."""
    return tuple(name for name in dir(franky.Errors) if not name.startswith("_"))
