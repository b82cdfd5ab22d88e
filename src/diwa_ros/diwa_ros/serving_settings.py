# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The policy server's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rclpy.node import Node

from diwa_ros.parameters import declare

LONGEST_S = 3600.0


class Limits(NamedTuple):
    """When a skill ends by itself.

    Attributes:
        time_s: observation time.
        threshold: success probability.
        stale_s: silence of a topic, distance between stamps, gap between frames.
        stuck_s: time without a new frame.
        resend_s: time without a new frame after which the last chunk is sent again.
    """

    time_s: float
    threshold: float
    stale_s: float
    stuck_s: float
    resend_s: float


class ServingSettings(NamedTuple):
    """What an operator decides; see docs/nodes.md."""

    checkpoint: Path | None
    skill: str
    device: str
    threads: int
    seed: int
    serve_steps: int | None
    plan_ahead: int
    limits: Limits
    budget_s: float
    preempt: bool
    dry_run: bool
    record: bool
    recorder: str
    require_enable: bool
    require_contract: bool
    robot_status: str


def declare_settings(node: Node) -> ServingSettings:
    """Declare the parameters and read them."""
    checkpoint = declare(node, "checkpoint", "", "folder of the checkpoint to serve")
    steps = declare(
        node,
        "serve_steps",
        0,
        "denoising steps per chunk, by DDIM; 0: as the checkpoint says",
        minimum=0,
        maximum=1000,
    )
    return ServingSettings(
        checkpoint=Path(checkpoint).expanduser() if checkpoint else None,
        skill=declare(node, "skill", "", "skill that the checkpoint must be for; empty: any"),
        device=declare(node, "device", "cpu", "where the models run: cpu, cuda or cuda:N"),
        threads=declare(
            node,
            "threads",
            2,
            "CPU threads for the models; from 2 on, two halves of the filter run side by side",
            minimum=1,
            maximum=256,
        ),
        seed=declare(
            node, "seed", 0, "of the policy's noise, in every skill", minimum=0, maximum=2**31 - 1
        ),
        serve_steps=steps or None,
        plan_ahead=declare(
            node,
            "plan_ahead_steps",
            0,
            "plan when this many actions of the last chunk are left, for models that are slower "
            "than a control period; the bridge skips what was executed meanwhile",
            minimum=0,
            maximum=100,
        ),
        limits=_declare_limits(node),
        budget_s=declare(
            node,
            "latency_budget_s",
            0.03,
            "a chunk that takes longer from its observation is counted as a miss",
            minimum=0.0,
            maximum=LONGEST_S,
        ),
        preempt=declare(
            node, "preempt", True, "a new goal ends the running skill; false: it is refused"
        ),
        dry_run=declare(node, "dry_run", False, "plan, and publish nothing but the status"),
        record=declare(node, "record", False, "record every skill as an episode"),
        recorder=declare(node, "recorder", "play_recorder", "name of the recorder's node"),
        require_enable=declare(
            node, "require_enable", False, "a dead-man's switch on topic enable must be held down"
        ),
        require_contract=declare(
            node, "require_contract", False, "refuse goals until the robot's contract is known"
        ),
        robot_status=declare(
            node,
            "robot_status",
            "franka_bridge/status",
            "status of the arm's bridge, whose stops end a skill; empty: none",
        ),
    )


def _declare_limits(node: Node) -> Limits:
    def seconds(name: str, default: float, text: str) -> float:
        return declare(node, name, default, text, minimum=0.0, maximum=LONGEST_S)

    return Limits(
        time_s=seconds("time_limit_s", 12.0, "observation time for a skill, unless the goal says"),
        threshold=declare(
            node,
            "success_threshold",
            0.9,
            "success probability that ends a skill, unless the goal says; above 1: none does",
            minimum=0.0,
            maximum=2.0,
        ),
        stale_s=seconds(
            "stale_after_s",
            1.0,
            "a skill ends when a topic is silent, or its stamps are behind the others', for this "
            "long",
        ),
        stuck_s=seconds(
            "stuck_after_s", 10.0, "a skill ends when no new frame comes for this long"
        ),
        resend_s=seconds(
            "resend_after_s", 0.5, "without a new frame the last chunk is sent again after this"
        ),
    )
