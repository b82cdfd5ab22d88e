# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the controllers of a lab are called and how they want their targets: `config/backends/`.

`{arm}` in a name stands for the arm's name, as in `{arm}_link0`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from diwa.config import Config, load_config, parse_config

PositiveFloat = Annotated[float, pydantic.Field(gt=0)]


class TargetTopic(Config):
    """Where targets go."""

    topic: str
    kind: Literal["pose", "twist", "joints"]  # PoseStamped, TwistStamped or JointState
    frame_id: str = "{arm}_link0"
    reliability: Literal["reliable", "best_effort"] = "reliable"
    depth: Annotated[int, pydantic.Field(ge=1)] = 1
    twist_topic: str = ""  # TwistStamped feed-forward beside the target; empty: none
    gain: PositiveFloat = 4.0  # twist: of the way to the desired pose per second [1/s]


class StateTopics(Config):
    """Where the arm's state comes from."""

    pose: str = "franka_robot_state_broadcaster/current_pose"  # PoseStamped of the TCP
    frame_id: str = "{arm}_link0"
    joints: str = "joint_states"  # JointState with the arm's joints among them
    joint_names: tuple[str, ...] = tuple(f"{{arm}}_joint{index}" for index in range(1, 8))
    wrench: str = "franka_robot_state_broadcaster/external_wrench_in_base_frame"
    robot_state: str = "franka_robot_state_broadcaster/robot_state"  # needs franka_msgs


class GripperTopics(Config):
    """How the gripper is told."""

    # franka: actions PREFIX/move and PREFIX/grasp (franka_msgs); command: action
    # PREFIX/gripper_action (control_msgs); position: a number on topic PREFIX/commands; none: none.
    kind: Literal["franka", "command", "position", "none"] = "franka"
    prefix: str = "franka_gripper"
    joints: str = "franka_gripper/joint_states"  # JointState of the fingers; empty: none
    finger_names: tuple[str, ...] = ("{arm}_finger_joint1", "{arm}_finger_joint2")
    position_open: float = 1.0  # kind position: number that means open
    position_closed: float = 0.0


class Recovery(Config):
    """How errors of the arm are cleared."""

    action: str = "action_server/error_recovery"  # franka_msgs/action/ErrorRecovery; empty: none
    home_action: str = "action_server/ptp_motion"  # franka_msgs/action/PTPMotion; empty: none


class Preset(Config):
    """One set of controllers."""

    target: TargetTopic
    state: StateTopics = StateTopics()
    gripper: GripperTopics = GripperTopics()
    recovery: Recovery = Recovery()
    # franka_msgs/srv/SetFullCollisionBehavior; empty: the driver's thresholds stay as they are
    collision_service: str = "service_server/set_full_collision_behavior"
    servo: str = ""  # MoveIt Servo node whose command type has to be set; empty: none

    def for_arm(self, arm: str) -> Preset:
        """The same with `{arm}` filled in."""
        raw = _filled(self.model_dump(mode="json"), arm)
        return parse_config(Preset, raw, f"preset for {arm}")


def load_preset(path: Path, arm: str) -> Preset:
    """Read a preset file, for the arm of that name."""
    return load_config(Preset, path).for_arm(arm)


def _filled(value: object, arm: str) -> object:
    if isinstance(value, str):
        return value.replace("{arm}", arm)
    if isinstance(value, dict):
        return {key: _filled(item, arm) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, arm) for item in value]
    return value
