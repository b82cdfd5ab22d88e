# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Collision thresholds are asked for until somebody answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rclpy.task import Future

from diwa.control.robots import load_robot
from diwa_ros.backends import collision
from diwa_ros.backends.collision import ANSWER_S, TRY_PERIOD_S, CollisionThresholds

GUARD = load_robot("fr3").guard
NAME = "service_server/set_full_collision_behavior"


class FakeClient:
    """A service that is there, or not, and answers when the test says."""

    def __init__(self):
        self.ready = False
        self.asked = []

    def service_is_ready(self):
        return self.ready

    def call_async(self, request):
        self.asked.append((request, Future()))
        return self.asked[-1][1]

    def remove_pending_request(self, future):
        future.cancel()


class FakeNode:
    """A node whose timer is called by the test."""

    def __init__(self):
        self.client, self.timers = FakeClient(), []

    def create_client(self, kind, name):
        assert name == NAME
        return self.client

    def create_timer(self, period_s, callback):
        self.timers.append(callback)
        return callback

    def destroy_timer(self, timer):
        self.timers.remove(timer)

    def destroy_client(self, client):
        self.client = None

    def tick(self, count=1):
        for _ in range(count):
            for timer in list(self.timers):
                timer()


@pytest.fixture
def node(monkeypatch):
    kind = SimpleNamespace(Request=SimpleNamespace)
    monkeypatch.setattr(collision, "_service_kind", lambda: kind)
    return FakeNode()


def test_thresholds_are_asked_for_once_somebody_is_there(node):
    thresholds = CollisionThresholds(node, NAME, GUARD)
    node.tick(3)
    assert not node.client.asked
    assert "nobody answers" in thresholds.notes()[0]
    node.client.ready = True
    node.tick(3)
    ((request, answer),) = node.client.asked
    assert len(vars(request)) == 8
    assert request.lower_torque_thresholds_nominal == [40.0] * 7
    assert request.upper_force_thresholds_acceleration == [40.0] * 6
    answer.set_result(SimpleNamespace(success=True, error=""))
    assert thresholds.notes() == []
    assert not node.timers


def test_lost_answer_is_asked_for_again(node):
    CollisionThresholds(node, NAME, GUARD)
    node.client.ready = True
    node.tick(1 + int(ANSWER_S / TRY_PERIOD_S))
    first, second = (answer for _, answer in node.client.asked)
    assert first.cancelled()
    assert not second.done()


def test_refusal_is_told(node):
    thresholds = CollisionThresholds(node, NAME, GUARD)
    node.client.ready = True
    node.tick()
    node.client.asked[0][1].set_result(SimpleNamespace(success=False, error="the arm moves"))
    assert thresholds.notes() == ["collision thresholds were refused: the arm moves"]


def test_answer_after_the_end_is_nobodys(node):
    thresholds = CollisionThresholds(node, NAME, GUARD)
    node.client.ready = True
    node.tick()
    ((_, answer),) = node.client.asked
    thresholds.close()
    answer.set_result(SimpleNamespace(success=True, error=""))
    assert not node.timers


def test_without_its_messages_it_says_so(monkeypatch):
    monkeypatch.setattr(collision, "_service_kind", lambda: None)
    node = FakeNode()
    assert "franka_msgs is not installed" in CollisionThresholds(node, NAME, GUARD).notes()[0]
    assert CollisionThresholds(node, "", GUARD).notes() == []
    assert not node.timers
