# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of a bridge to an arm, and the files they name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rclpy.node import Node

from diwa.control.robots import RobotLimits, load_robot
from diwa.control.start_poses import load_start_poses
from diwa.data.contract import Contract, load_contract
from diwa_ros.arm_rules import Rules
from diwa_ros.backends import BACKENDS
from diwa_ros.parameters import declare
from diwa_ros.paths import find_contract, find_packaged

USUAL_PRESETS = {"pose_target": "crisp", "joint_target": "gello", "libfranka": "libfranka"}


class ArmSettings(NamedTuple):
    """What the parameters say."""

    contract: str
    robot: str
    backend: str
    preset: str
    robot_ip: str
    start_poses: str
    confirmed_file: str
    command_rate_hz: float
    rules: Rules  # without start poses

    def load(self) -> tuple[Contract, RobotLimits, Rules]:
        """Read the files."""
        contract = load_contract(find_contract(self.contract))
        rules = self.rules
        if self.start_poses:
            path = Path(self.start_poses).expanduser()
            rules = rules._replace(start_poses=load_start_poses(path, contract))
        return contract, load_robot(self.robot), rules

    @property
    def preset_path(self) -> Path:
        """The preset's file, from a path or the name of one that comes with the package."""
        return find_packaged("preset", "backends", self.preset or USUAL_PRESETS[self.backend])


def declare_settings(node: Node) -> ArmSettings:
    """Declare every parameter of the bridge."""
    contract = "contract: a YAML file, or the name of one we ship"
    robot = "limits of the arm: a YAML file, or one we ship: fr3, panda"
    preset = (
        "the backend's settings (topics, frames, actions): a YAML file, or one we ship; empty: "
        "crisp, gello or libfranka, by backend"
    )
    robot_ip = "address of the arm's control box; backend libfranka only"
    start_poses = "where episodes start: a dataset's folder or a YAML file; empty: not checked"
    confirmed = "which checkpoints may move at full speed, by robot"
    return ArmSettings(
        contract=declare(node, "contract", "fr3_franka", contract),
        robot=declare(node, "robot", "fr3", robot),
        backend=declare(node, "backend", "pose_target", "what moves the arm", choices=BACKENDS),
        preset=declare(node, "preset", "", preset),
        robot_ip=declare(node, "robot_ip", "", robot_ip),
        start_poses=declare(node, "start_poses", "", start_poses),
        confirmed_file=declare(
            node, "confirmed_file", "~/.local/state/diwa/confirmed.json", confirmed
        ),
        command_rate_hz=declare(
            node,
            "command_rate_hz",
            100.0,
            "targets per second, at least; rounded up to a multiple of the control rate",
            minimum=50.0,
            maximum=1000.0,
        ),
        rules=_declare_rules(node),
    )


def _declare_rules(node: Node) -> Rules:
    def seconds(name: str, default: float, text: str) -> float:
        return declare(node, name, default, text, minimum=0.0, maximum=60.0)

    hold = "without actions for this long, a moving arm counts as holding"
    stop = "without actions of a policy, or states of the arm, for this long: stop"
    settle = "nothing may keep the start gate shut for this long before it opens"
    first = "share of the speed for a checkpoint that nobody has confirmed on this robot"
    fade = "control steps over which a chunk that interrupts another one takes over; 0: at once"
    return Rules(
        hold_after_s=seconds("hold_after_s", 0.15, hold),
        stop_after_s=seconds("stop_after_s", 1.0, stop),
        settle_s=seconds("settle_s", 0.5, settle),
        chunk_age_s=seconds(
            "chunk_age_s", 1.0, "chunks computed from older observations are discarded"
        ),
        first_speed=declare(node, "first_speed", 0.25, first, minimum=0.01, maximum=1.0),
        fade_steps=declare(node, "fade_steps", 0, fade, minimum=0, maximum=100),
        require_enable=declare(
            node, "require_enable", False, "move only while topic enable says true"
        ),
    )
