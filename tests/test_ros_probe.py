# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The check after activation: fed with messages, it reports once."""

from __future__ import annotations

import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import serialize_message

from diwa.data.decode import stamp_ns
from diwa.data.robot_check import wrong
from diwa_ros import qos
from diwa_ros.conversions import message_type
from diwa_ros.robot_probe import Preflight, row_text
from robot_messages import LockstepRobot, ros_factory

DEADLINE_S = 60.0


class Bench:
    """A node with publishers for everything but `leave_out`, and an executor."""

    def __init__(self, contract, domain, leave_out=()):
        self.contract = contract
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("recorder", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.node.create_timer(0.1, lambda: None)
        kinds = {stream.topic: stream.type for stream in contract.observations.values()}
        kinds[contract.action.topic] = contract.action.type
        for topic, kind in kinds.items():
            if topic not in leave_out:
                self.node.create_publisher(message_type(kind), topic, qos.OBSERVATION)

    def feed(self, preflight, steps, leave_out=()):
        """Push what a robot would have sent."""
        topics = {key: stream.topic for key, stream in self.contract.observations.items()}
        topics["action"] = self.contract.action.topic
        for key, message in LockstepRobot(self.contract, ros_factory).run(steps):
            if topics[key] not in leave_out:
                preflight.push(topics[key], stamp_ns(message), serialize_message(message))

    def spin_until(self, condition):
        deadline = time.monotonic() + DEADLINE_S
        while not condition() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.2)
        assert condition()

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def bench(lowdim_contract, ros_domain):
    bench = Bench(lowdim_contract, ros_domain, leave_out=["scene_state"])
    yield bench
    bench.close()


def test_report_comes_once_and_names_what_is_missing(bench, lowdim_contract, tmp_path):
    reports = []
    preflight = Preflight(bench.node, lowdim_contract, 0.3, reports.append, tmp_path / "bags")
    bench.feed(preflight, 30, leave_out=["scene_state"])
    bench.spin_until(lambda: reports)
    bench.feed(preflight, 5)
    (rows,) = reports
    (fault,) = wrong(rows)
    assert row_text(fault).startswith("scene_state: nobody publishes it (start its driver")
    good = {row.subject for row in rows if row.level == "ok"}
    assert {"ee_pose", "joint_states", "executed_action"} <= good
    assert sum(row.subject == "disk" for row in rows) == 2
    assert not list(tmp_path.iterdir())


def test_cancelled_check_reports_nothing(bench, lowdim_contract):
    reports, others = [], []
    preflight = Preflight(bench.node, lowdim_contract, 0.1, reports.append)
    preflight.cancel()
    preflight.cancel()
    Preflight(bench.node, lowdim_contract, 0.3, others.append)
    bench.spin_until(lambda: others)
    assert not reports
