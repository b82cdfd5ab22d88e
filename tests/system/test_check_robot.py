# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa check-robot` against real publishers: what is there, and what is wrong with it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from diwa_msgs.msg import ExecutedAction
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState

from diwa.data.contract import Contract
from diwa.files import write_text
from diwa_ros import qos
from diwa_ros.processes import node_environment

SECONDS = "2"


class Robot:
    """Publishes messages of the camera contract at 30 Hz by a timer; `leave_out` some."""

    def __init__(self, graph, contract, kinds=None, leave_out=(), frame="world", names=None):
        self.graph = graph
        self.messages = []
        kinds = kinds or {}
        streams = contract.observations
        self.add(
            streams["ee_pose"].topic,
            kinds.get("ee_pose", PoseStamped)(),
            leave_out,
            frame,
        )
        joints = JointState(name=list(names or streams["joint_states"].names))
        joints.position = [0.0] * len(joints.name)
        self.add(streams["joint_states"].topic, joints, leave_out, "")
        stream = streams["rgb_static"]
        image = Image(height=stream.height, width=stream.width, encoding=stream.encoding)
        image.step = 3 * stream.width
        image.data = np.zeros(image.step * image.height, dtype=np.uint8).tobytes()
        self.add(stream.topic, image, leave_out, stream.frame_id, qos_profile_sensor_data)
        self.add(contract.action.topic, ExecutedAction(), leave_out, "")
        graph.node.create_timer(1 / 30, self.publish)

    def add(self, topic, message, leave_out, frame, profile=qos.OBSERVATION):
        if topic not in leave_out:
            message.header.frame_id = frame
            publisher = self.graph.node.create_publisher(type(message), topic, profile)
            self.messages.append((publisher, message))

    def publish(self):
        now = self.graph.node.get_clock().now().to_msg()
        for publisher, message in self.messages:
            message.header.stamp = now
            publisher.publish(message)


@pytest.fixture
def contract(camera_contract) -> Contract:
    """One camera, pose, joints and action; loose, as the machine may be busy."""
    plain = camera_contract.model_dump(mode="json")
    for key in ("rgb_gripper", "scene_state"):
        del plain["observations"][key]
    plain["cadence"] = {"max_loss": 0.9, "max_gap_s": 2.0}
    return Contract.model_validate(plain)


def check(graph, contract, *arguments):
    """Exit code, and the rows by subject, of the command in a process of its own."""
    write_text(graph.folder / "contract.yaml", contract.to_yaml())
    command = [sys.executable, "-m", "diwa.cli", "check-robot", "--json", "--seconds", SECONDS]
    command += ["--contract", str(graph.folder / "contract.yaml"), "--folder", str(graph.folder)]
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=node_environment(graph.folder),
    )
    output = []
    reader = threading.Thread(target=lambda: output.extend(process.communicate()))
    reader.start()
    graph.wait_until(lambda: not reader.is_alive(), "end of check-robot")
    assert output[1] == ""
    rows = {}
    for row in json.loads(output[0]):
        rows.setdefault(row["subject"], []).append(row)
    return process.returncode, rows


def test_robot_of_the_contract_is_ready(graph, contract):
    Robot(graph, contract)
    code, rows = check(graph, contract)
    levels = {subject: {row["level"] for row in found} for subject, found in rows.items()}
    assert code == 0, rows
    assert levels.pop("cameras/static/image_raw") == {"unsure"}  # best effort
    levels.pop("disk")
    assert all(level <= {"ok", "unsure"} for level in levels.values())
    assert set(levels) == {"ee_pose", "joint_states", "executed_action", "clock"}


def test_every_fault_of_a_robot_is_found_at_once(graph, contract):
    camera = "cameras/static/image_raw"
    Robot(
        graph,
        contract,
        kinds={"ee_pose": TwistStamped},
        leave_out=(camera,),
        names=["panda_joint1"],
    )
    graph.node.create_publisher(Image, "camera/image_raw", qos.OBSERVATION)
    graph.node.create_publisher(ExecutedAction, "executed_action", qos.OBSERVATION)
    code, rows = check(graph, contract)
    assert code == 1
    assert "geometry_msgs/msg/TwistStamped" in rows["ee_pose"][0]["found"]
    assert "panda_joint2" in rows["joint_states"][0]["todo"]
    assert "did you mean /camera/image_raw" in rows[camera][0]["todo"]
    assert rows["executed_action"][0]["found"].startswith("published by /tester and /tester")


def test_compressed_images_are_taken(graph, contract):
    topic = "cameras/static/image_raw"
    robot = Robot(graph, contract, leave_out=(topic,))
    message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg(200, 200))
    frame = contract.observations["rgb_static"].frame_id
    robot.add(f"{topic}/compressed", message, (), frame, qos_profile_sensor_data)
    code, rows = check(graph, contract)
    assert code == 0, rows
    assert {row["level"] for row in rows[topic]} == {"unsure"}  # best effort


def jpeg(height, width):
    import cv2

    return cv2.imencode(".jpg", np.zeros((height, width, 3), dtype=np.uint8))[1].tobytes()


def test_robot_in_a_namespace_needs_the_namespace(graph, contract):
    code, rows = check(graph, contract, "--namespace", "arm1")
    assert code == 1
    assert "namespace" in rows["robot"][0]["todo"]
