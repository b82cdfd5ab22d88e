# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the recorder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rclpy.node import Node

from diwa_ros.parameters import declare

MOST_BUTTONS = 63


class RecorderSettings(NamedTuple):
    """What the parameters say."""

    folder: Path
    prefix: str
    contract: str
    dataset: Path | None
    min_free_bytes: int
    check_s: float
    joy_topic: str
    joy_task: str
    joy_buttons: dict[str, int]


def declare_recorder(node: Node) -> RecorderSettings:
    """Declare and read all parameters."""
    folder = declare(node, "folder", "bags", "folder for the bags, one folder per episode")
    prefix = declare(node, "prefix", "episode", "first part of every episode's name")
    contract = declare(
        node, "contract", "panda_calvin", "contract: a YAML file, or the name of one we ship"
    )
    dataset = declare(
        node,
        "dataset",
        "",
        "dataset to build of the folder's bags when the recorder ends; empty: none",
    )
    min_free_gb = declare(
        node,
        "min_free_space_gb",
        1.0,
        "no episode starts with less free space on the disk [GB], and an open one is ended",
        minimum=0.0,
        maximum=1e6,
    )
    check_s = declare(
        node,
        "check_s",
        3.0,
        "after activation, listen for this long [s] and log what does not fit the contract; "
        "0: do not",
        minimum=0.0,
        maximum=60.0,
    )
    return RecorderSettings(
        folder=Path(folder).expanduser(),
        prefix=prefix,
        contract=contract,
        dataset=Path(dataset).expanduser() if dataset else None,
        min_free_bytes=int(min_free_gb * 1e9),
        check_s=check_s,
        joy_topic=declare(node, "joy_topic", "joy", "topic of a joystick or gamepad"),
        joy_task=declare(
            node, "joy_task", "", "task of the episodes that the joystick starts; empty: play"
        ),
        joy_buttons=_declare_buttons(node),
    )


def _declare_buttons(node: Node) -> dict[str, int]:
    lowest, highest = -1, MOST_BUTTONS
    return {
        "start": declare(
            node,
            "joy_start_button",
            -1,
            "number of the button that starts an episode; -1: none",
            minimum=lowest,
            maximum=highest,
        ),
        "success": declare(
            node,
            "joy_success_button",
            -1,
            "ends the episode as a success, or relabels the last one",
            minimum=lowest,
            maximum=highest,
        ),
        "failure": declare(
            node,
            "joy_failure_button",
            -1,
            "ends the episode as a failure, or relabels the last one",
            minimum=lowest,
            maximum=highest,
        ),
        "end": declare(
            node,
            "joy_end_button",
            -1,
            "ends the episode with an unknown outcome",
            minimum=lowest,
            maximum=highest,
        ),
        "discard": declare(
            node,
            "joy_discard_button",
            -1,
            "throws the open episode away, or else the last one",
            minimum=lowest,
            maximum=highest,
        ),
        "restore": declare(
            node,
            "joy_restore_button",
            -1,
            "brings back the episode that was discarded last",
            minimum=lowest,
            maximum=highest,
        ),
    }
