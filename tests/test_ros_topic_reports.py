# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What `/diagnostics` says about the topics of a recording."""

from __future__ import annotations

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from diwa_msgs.msg import TopicStatistics
from rclpy.executors import SingleThreadedExecutor

from diwa_ros.diagnostics import ERROR, OK, WARN, Diagnostics, Report
from diwa_ros.topic_reports import topic_reports

GOOD = TopicStatistics(topic="ee_pose", expected_rate=30.0, recent_rate=29.9, rate=30.0)
SILENT = TopicStatistics(topic="camera", expected_rate=30.0, received=12)
LATCHED = TopicStatistics(topic="scene")
THIN = TopicStatistics(topic="joints", expected_rate=30.0, recent_rate=9.0, problem="70% short")


def test_every_topic_has_a_level_of_its_own():
    reports = topic_reports([GOOD, SILENT, LATCHED, THIN], recording=True)
    levels = {topic: report.level for topic, report in reports.items()}
    assert levels == {"ee_pose": OK, "camera": WARN, "scene": OK, "joints": WARN}
    assert reports["camera"].message == "nothing arrives"
    assert reports["joints"].message == "70% short"


def test_silence_between_episodes_is_no_warning():
    assert topic_reports([SILENT], recording=False)["camera"].level == OK


def test_figures_are_in_the_report():
    values = topic_reports([THIN], recording=True)["joints"].values
    assert (values["expected rate [Hz]"], values["recent rate [Hz]"]) == (30.0, 9.0)


def test_parts_are_published_beside_the_node(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    node = rclpy.create_node("recorder", namespace="arm1", context=context)
    arrays = []
    node.create_subscription(DiagnosticArray, "/diagnostics", arrays.append, 10)
    reports = Diagnostics(
        node,
        lambda: Report(ERROR, "disk full", {}),
        lambda: topic_reports([GOOD, THIN], recording=True),
    )
    assert reports is not None
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    while not arrays:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    assert [(status.name, status.level, status.message) for status in arrays[0].status] == [
        ("arm1/recorder", ERROR, "disk full"),
        ("arm1/recorder: ee_pose", OK, "29.9 Hz"),
        ("arm1/recorder: joints", WARN, "70% short"),
    ]
