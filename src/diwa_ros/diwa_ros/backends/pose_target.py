# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Backend: absolute targets on a topic, for a controller that runs at 1 kHz elsewhere.

What the topic is called, what its frame is, and whether it takes poses or twists, says a preset:
CRISP, the equilibrium pose of franka_ros2 and SERL, FZI's controllers, MoveIt Servo.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from diwa.control.arm import ArmState
from diwa.control.gripper import GripperCommand
from diwa.control.targets import Target
from diwa.control.twists import tracking_twist
from diwa.errors import ConfigError
from diwa_ros.arm_conversions import fill_twist, make_twist
from diwa_ros.backends.arm_topics import ArmTopics
from diwa_ros.backends.base import Job, Setup
from diwa_ros.backends.collision import CollisionThresholds
from diwa_ros.backends.franka_actions import FrankaActions
from diwa_ros.backends.presets import Preset, TargetTopic, load_preset
from diwa_ros.backends.ros_gripper import Gripper, make_gripper
from diwa_ros.backends.servo import Servo
from diwa_ros.conversions import fill_pose, make_pose

Sender = Callable[[Target, int], None]


class PoseTarget:
    """Publishes every target; see `diwa_ros.backends.base.Backend`.

    Args:
        setup: node, limits and contract.
        preset: names of topics and actions, with the arm's name filled in.

    Attributes:
        measured: the newest state of the arm.
    """

    name = "pose_target"
    kinds: tuple[str, ...] = ("pose", "twist")

    def __init__(self, setup: Setup, preset: Preset) -> None:
        self._setup = setup
        self._preset = preset
        self._topics: ArmTopics | None = None
        self._publishers: list[Publisher] = []
        self.measured: ArmState | None = None

    def connect(self) -> None:
        """Subscribe, advertise, look for the action servers."""
        setup, preset = self._setup, self._preset
        if preset.target.kind not in self.kinds:
            raise ConfigError(
                f"{setup.preset}: target.kind {preset.target.kind} with backend {self.name}",
                expected=" or ".join(self.kinds),
                hint="choose another preset, or another backend",
            )
        self._topics = ArmTopics(setup.node, preset)
        _require_fitting(setup, preset, self._topics.topics)
        self._send = self.advertise(preset.target)
        self._gripper: Gripper = make_gripper(setup.node, preset.gripper, setup.limits.gripper)
        self._actions = FrankaActions(setup.node, preset.recovery)
        self._thresholds = CollisionThresholds(
            setup.node, preset.collision_service, setup.limits.guard
        )
        self._servo = Servo(setup.node, preset.servo, preset.target.kind) if preset.servo else None

    def state(self) -> ArmState | None:
        """The newest state."""
        self.measured = self._topics.state() if self._topics else None
        return self.measured

    def start(self, pose: np.ndarray) -> None:
        """Nothing to prepare: the first target is where the arm is."""

    def send(self, target: Target, stamp_ns: int) -> None:
        """Publish a target."""
        if self._setup.node.context.ok():
            self._send(target, stamp_ns)

    def hold(self) -> None:
        """Nothing to give up: the controller holds the last target."""

    def stop(self) -> None:
        """Publish nothing more; a controller of twists gets a last one of zero."""
        node, topic = self._setup.node, self._preset.target
        if self._publishers and topic.kind == "twist" and node.context.ok():
            twist = make_twist(topic.frame_id)
            fill_twist(twist, node.get_clock().now().nanoseconds, np.zeros(6))
            self._publishers[0].publish(twist)

    def gripper(self, command: GripperCommand) -> None:
        """Open or close."""
        self._gripper.send(command)

    def home(self, joints: np.ndarray, timeout_s: float) -> Job | None:
        """By franka_ros2's point-to-point motion, where it is there."""
        if not self._actions.can_home:
            return None
        limits = self._setup.limits
        speeds = limits.home.dynamics * np.asarray(limits.arm.joint_velocity)
        return self._actions.home(joints, speeds)

    def recover(self) -> Job:
        """By franka_ros2's error recovery, where it is there."""
        return self._actions.recover()

    def publishers(self) -> int:
        """Of the topics of targets, at most."""
        node = self._setup.node
        return max((node.count_publishers(it.topic_name) for it in self._publishers), default=0)

    def problems(self) -> list[str]:
        """Of the topics, the controller and the gripper."""
        if self._topics is None:
            return ["the backend is not connected"]
        found = self._topics.problems()
        target = self._publishers[0]
        if target.get_subscription_count() == 0:
            found.append(
                f"nobody listens to {target.topic_name}: is the controller active, and the "
                "preset the right one?"
            )
        found += self._servo.problems() if self._servo else []
        return found + self._gripper.problems()

    def notes(self) -> list[str]:
        """Of what is not installed or not published."""
        if self._topics is None:
            return []
        notes = self._topics.notes() + self._gripper.notes() + self._actions.notes()
        notes += self._thresholds.notes()
        return notes + (self._servo.notes() if self._servo else [])

    def close(self) -> None:
        """Destroy publishers, subscriptions and clients."""
        if self._topics is None:
            return
        self._topics.close()
        self._topics = self.measured = None
        for publisher in self._publishers:
            self._setup.node.destroy_publisher(publisher)
        self._publishers.clear()
        self._gripper.close()
        self._actions.close()
        self._thresholds.close()
        if self._servo is not None:
            self._servo.close()

    def advertise(self, topic: TargetTopic) -> Sender:
        """Create the publishers; returns what publishes a target."""
        publisher = self.target_publisher(
            PoseStamped if topic.kind == "pose" else TwistStamped, topic
        )
        pose, twist = make_pose(topic.frame_id), make_twist(topic.frame_id)

        def send_tracking(target: Target, stamp_ns: int) -> None:
            if self.measured is None:
                return
            motion = self._setup.limits.motion
            fill_twist(
                twist, stamp_ns, tracking_twist(target, self.measured.pose, topic.gain, motion)
            )
            publisher.publish(twist)

        if topic.kind == "twist":
            return send_tracking
        feed_forward = None
        if topic.twist_topic:
            feed_forward = self.target_publisher(
                TwistStamped, topic.model_copy(update={"topic": topic.twist_topic})
            )

        def send_pose(target: Target, stamp_ns: int) -> None:
            if feed_forward is not None:
                fill_twist(twist, stamp_ns, target.twist)
                feed_forward.publish(twist)
            fill_pose(pose, stamp_ns, target.pose)
            publisher.publish(pose)

        return send_pose

    def target_publisher(self, kind: type, topic: TargetTopic) -> Publisher:
        """A publisher of targets; one that is destroyed with the backend."""
        publisher: Publisher = self._setup.node.create_publisher(
            kind, topic.topic, target_qos(topic)
        )
        self._publishers.append(publisher)
        return publisher


def make(setup: Setup) -> PoseTarget:
    """The backend, with the preset that the setup names."""
    return PoseTarget(setup, load_preset(setup.preset, setup.limits.name))


def target_qos(topic: TargetTopic) -> QoSProfile:
    """How targets are published: only the newest counts."""
    best_effort = topic.reliability == "best_effort"
    return QoSProfile(
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        history=HistoryPolicy.KEEP_LAST,
        depth=topic.depth,
    )


def _require_fitting(setup: Setup, preset: Preset, listened: list[str]) -> None:
    """Frames must agree, and the bridge must not take what it publishes for the arm's state."""
    for stream in setup.contract.observations.values():
        if stream.kind == "pose" and stream.frame_id not in ("", preset.state.frame_id):
            raise ConfigError(
                f"{setup.preset}: state.frame_id",
                got=preset.state.frame_id,
                expected=f"{stream.frame_id}, the pose's frame in contract {setup.contract.name}",
                hint="correct the preset, or choose the contract of this arm",
            )
        name = setup.node.resolve_topic_name(stream.topic)
        if stream.kind in ("pose", "joints") and name in listened:
            raise ConfigError(
                f"topic {name}: both published by the bridge and listened to by it",
                hint="give the bridge a namespace or a contract with other topics",
            )
