# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa trials` as a person or a night runs it: processes, DDS, a terminal, kill -9."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from diwa_msgs.msg import RobotStatus
from std_srvs.srv import Trigger

from diwa.agent import Agent
from diwa.errors import ConfigError
from diwa.trials.log import read_log
from diwa.trials.plan import ARMS
from diwa.trials.series import LOG, PLAN, SEALED, Series, Trial
from diwa_ros import qos
from diwa_ros.asking import Asking
from diwa_ros.processes import node_environment
from diwa_ros.trial_robots import RealRobot

PAIRS = 2
TIME_LIMIT = ("--time-limit", "0.5")
DEADLINE_S = 200.0


@pytest.fixture(scope="module")
def pair(checkpoint, tmp_path_factory):
    """Two checkpoints of one skill that act differently."""
    other = Agent.load(checkpoint)
    with torch.no_grad():
        for parameter in other.policy.parameters():
            parameter.mul_(0.3)
    path = tmp_path_factory.mktemp("other") / "checkpoint"
    other.save(path)
    return checkpoint, path


@pytest.fixture
def alone(tmp_path, ros_domain):
    """Environment of a command in a DDS domain of its own."""
    environment = node_environment(tmp_path)
    environment["ROS_DOMAIN_ID"] = str(ros_domain)
    return environment


def command(*words):
    return [sys.executable, "-m", "diwa", "trials", *map(str, words)]


def run(environment, *words):
    return subprocess.run(
        command(*words), env=environment, capture_output=True, text=True, timeout=DEADLINE_S
    )


def wait_for(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)


def ended(folder):
    records = read_log(folder / LOG) if (folder / LOG).exists() else []
    return [record for record in records if record["event"] == "ended"]


def test_unattended_series_is_killed_goes_on_and_compares(tmp_path, pair, alone):
    folder = tmp_path / "series"
    words = ("--folder", folder, "--simulate", "--pairs", PAIRS, "--seed", 5, *TIME_LIMIT)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command(*pair, *words), env=alone, stderr=log, stdout=log)
    try:
        wait_for(lambda: ended(folder) or process.poll() is not None, "first trial")
        assert process.returncode is None, (tmp_path / "log").read_text()
    finally:
        children = [int(pid) for pid in children_of(process.pid)]
        process.kill()
        process.wait()
        for pid in children:
            os.killpg(pid, signal.SIGKILL)
    before = ended(folder)
    assert 0 < len(before) < 2 * PAIRS

    result = run(alone, "--folder", folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    after = ended(folder)
    assert after[: len(before)] == before
    places = {(record["pair"], record["place"]) for record in after}
    assert len(after) == len(places) == 2 * PAIRS
    shown = result.stderr.partition("all trials are done")[0]
    for secret in (*map(str, pair), *ARMS, "policy_one", "policy_two"):
        assert secret not in shown, "the screen gives an arm away before the end"

    assert f"open_drawer: {PAIRS} of {PAIRS} pairs" in result.stdout
    results = json.loads((folder / "results.json").read_text())
    assert [row["seed"] for row in results["pairs"]] == [5, 6]
    assert sum(row["first"] == "base" for row in results["pairs"]) == PAIRS // 2
    assert results["figures"]["episodes"] == PAIRS
    assert "<html" in (folder / "report.html").read_text()


def children_of(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return path.read_text().split() if path.exists() else []


class Person:
    """Someone at a terminal who watches the output and presses keys."""

    def __init__(self, environment, *words):
        master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command(*words),
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(slave)
        self._master = master
        self.text = ""
        self.errors = ""
        threading.Thread(target=self._read, daemon=True).start()
        self._errors = threading.Thread(target=self._read_errors, daemon=True)
        self._errors.start()

    def _read(self):
        while True:
            try:
                data = os.read(self._master, 4096)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode()

    def _read_errors(self):
        self.errors = self.process.stderr.read().decode()

    def press(self, key, after, times=1):
        """Press a key once `after` has been on the screen so many times."""
        wait_for(
            lambda: self.text.count(after) >= times or self.process.poll() is not None,
            f"{after!r} in {self.text!r}",
        )
        os.write(self._master, key.encode())

    def end(self):
        """Exit code."""
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self._errors.join()
            self.process.stderr.close()


def test_person_judges_without_knowing_who_drives(tmp_path, pair, alone):
    folder = tmp_path / "series"
    words = ("--folder", folder, "--simulate", "--judge", "person", "--operator", "kim")
    person = Person(alone, *pair, *words, "--pairs", 1, "--threshold", 2, *TIME_LIMIT)
    person.press("\n", "Trial 1 of 2")
    person.press("s", "how did it go?")
    person.press("u", "Trial 2 of 2")  # no, that was wrong
    person.press("f", "how did it go?", times=2)
    person.press("\n", "Trial 2 of 2", times=2)
    person.press("v", "how did it go?", times=3)  # somebody walked in
    person.press("\n", "Trial 2 of 2", times=3)
    person.press("s", "how did it go?", times=4)
    person.press("q", "All trials are done")  # tomorrow
    assert person.end() == 130, person.text + person.errors
    assert f"2 of 2 trials done; diwa trials --folder {folder}" in person.text
    for secret in (*map(str, pair), *ARMS):
        assert secret not in person.text + person.errors
    assert [record["outcome"] for record in ended(folder)] == [
        "success",
        "failure",
        "void",
        "success",
    ]
    assert {record["operator"] for record in ended(folder)} == {"kim"}
    assert {path.name for path in folder.iterdir()} == {PLAN, LOG, SEALED}

    opened = run(alone, "--folder", folder, "--reveal")
    assert opened.returncode == 0, opened.stderr
    results = json.loads((folder / "results.json").read_text())
    with Series(folder) as series:
        second = series.arm_of(Trial(0, 1, 0))
    assert results["pairs"][0][second] is True
    assert results["voids"][second] == 1 and results["corrections"] == 1
    closed = run(alone, "--folder", folder)
    assert closed.returncode == 0 and "1 of 1 pairs" in closed.stdout


def test_person_needs_a_terminal(tmp_path, pair, alone):
    folder = tmp_path / "series"
    result = run(alone, *pair, "--folder", folder, "--simulate", "--judge", "person")
    assert result.returncode == 2
    assert "terminal" in result.stderr and "Traceback" not in result.stderr


class PlayedBridge:
    """Says what a bridge to an arm says; the way home takes a few reports."""

    def __init__(self, node):
        self.status = RobotStatus(state=RobotStatus.READY, speed_scale=1.0)
        self.way = 0
        self.homes = 0
        self._status = node.create_publisher(RobotStatus, "franka_bridge/status", qos.STATUS)
        node.create_service(Trigger, "franka_bridge/home", self.home)
        node.create_timer(0.1, self.publish)

    def home(self, request, response):
        self.homes += 1
        self.way = 8
        response.success = True
        return response

    def publish(self):
        if self.status.state not in (RobotStatus.STOPPED, RobotStatus.MOVING):
            self.status.state = RobotStatus.HOMING if self.way > 0 else RobotStatus.READY
        self.way -= 1
        self._status.publish(self.status)


def test_arm_is_led_home_and_must_move_at_full_speed(graph):
    bridge = PlayedBridge(graph.node)
    robot = RealRobot(graph.node, Asking(graph.node, graph.executor), "franka_bridge", home=True)
    assert robot.prepare(Trial(0, 0, 0)) == ""
    assert bridge.homes >= 1 and bridge.way < 0, "it did not wait for the arm"
    robot.require_fair()

    bridge.status.state, bridge.status.speed_scale = RobotStatus.MOVING, 0.25
    graph.settle()
    with pytest.raises(ConfigError, match="slowed the arm down"):
        robot.require_fair()

    bridge.status.state, bridge.status.reason = RobotStatus.STOPPED, "force guard"
    graph.settle()
    homes = bridge.homes
    assert "force guard" in robot.prepare(Trial(0, 0, 0))
    assert bridge.homes == homes


def test_arm_that_a_person_brings_to_its_start_is_not_led(graph):
    bridge = PlayedBridge(graph.node)
    robot = RealRobot(graph.node, Asking(graph.node, graph.executor), "franka_bridge", home=False)
    assert robot.prepare(Trial(0, 0, 0)) == ""
    assert bridge.homes == 0
