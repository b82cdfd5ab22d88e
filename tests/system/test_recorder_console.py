# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The console in a terminal of its own, against a recorder that the test plays."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from diwa_msgs.msg import EpisodeEvent, RecorderStatus
from diwa_msgs.srv import (
    DiscardEpisode,
    EndEpisode,
    LabelEpisode,
    RestoreEpisode,
    StartEpisode,
)

from diwa.data.episode import find_bags, read_episode
from diwa_ros import qos
from diwa_ros.processes import node_environment

SERVICES = {
    "start_episode": StartEpisode,
    "end_episode": EndEpisode,
    "label_episode": LabelEpisode,
    "discard_episode": DiscardEpisode,
    "restore_episode": RestoreEpisode,
}


class PlayedRecorder:
    """Answers every request with success, and publishes status and events accordingly."""

    def __init__(self, node):
        self.node = node
        self.requests = []
        self.status = RecorderStatus(active=True, folder="/data/bags")
        self.number = 0
        self._status = node.create_publisher(RecorderStatus, "play_recorder/status", qos.STATUS)
        self._events = node.create_publisher(EpisodeEvent, "play_recorder/events", qos.EVENT)
        for name, kind in SERVICES.items():
            node.create_service(kind, f"play_recorder/{name}", self.handler(name))
        node.create_timer(0.1, lambda: self._status.publish(self.status))

    def handler(self, name):
        def handle(request, response):
            self.requests.append((name, request))
            response.success = True
            response.episode_id = self.apply(name, request)
            return response

        return handle

    def apply(self, name, request):
        if name == "start_episode":
            self.number += 1
            self.status.recording = True
            self.status.episode_id = f"play_{self.number:04}"
            self.announce(EpisodeEvent.STARTED)
        elif name == "end_episode":
            self.status.recording = False
            self.announce(EpisodeEvent.DISCARDED if request.discard else EpisodeEvent.ENDED)
        elif name == "discard_episode":
            self.announce(EpisodeEvent.DISCARDED, request.episode_id)
        elif name == "restore_episode":
            self.announce(EpisodeEvent.RESTORED, request.episode_id)
        return self.status.episode_id

    def announce(self, kind, name=""):
        self._events.publish(
            EpisodeEvent(episode_id=name or self.status.episode_id, kind=kind, task="sweep")
        )


class Screen:
    """A terminal of 24 lines of 100 columns with the console in it."""

    def __init__(self, graph, *arguments):
        self.graph = graph
        self.text = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-m", "diwa_ros.recorder_console", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**node_environment(graph.folder), "TERM": "xterm"},
        )
        os.set_blocking(self._master, False)

    def type(self, keys):
        os.write(self._master, keys.encode())

    def wait_for(self, condition, what):
        def seen():
            self.read()
            return condition()

        self.graph.wait_until(seen, f"{what} on\n{self.text[-3000:]}")

    def wait_for_text(self, text):
        """A new drawing that has `text`."""
        start = len(self.text)
        self.wait_for(lambda: text in self.text[start:], text)

    def read(self):
        try:
            while data := os.read(self._master, 65536):
                self.text += data.decode("utf-8", "replace")
        except (BlockingIOError, OSError):
            return

    def restored(self):
        return termios.tcgetattr(self._slave) == self.before

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def recorder(graph):
    return PlayedRecorder(graph.node)


@pytest.fixture
def screen(graph, recorder):
    screen = Screen(graph)
    yield screen
    screen.close()


def test_session_by_keys_reaches_the_recorder(screen, recorder):
    screen.wait_for_text(" ready ")
    screen.type("tsweep\r")
    screen.wait_for_text("task: sweep")
    screen.type(" ")
    screen.wait_for_text("RECORDING")
    screen.type("ntoo fast\r")
    screen.wait_for_text("note: too fast")
    screen.type("s")
    screen.wait_for_text("play_0001 ended")
    screen.wait_for_text("end: play_0001")
    screen.type("d")
    screen.wait_for_text("play_0001 discarded")
    screen.wait_for_text("discard: play_0001")
    screen.type("z")
    screen.wait_for_text("restore: play_0001")
    screen.wait_for_text("play_0001 restored")
    screen.type("f")
    screen.wait_for_text("label: play_0001")
    screen.type("q")
    screen.wait_for(lambda: screen.process.poll() is not None, "end")
    assert screen.process.poll() == 0
    assert screen.restored()
    sent = dict(recorder.requests)
    assert len(recorder.requests) == len(SERVICES)
    assert sent["start_episode"].task == "sweep"
    assert (sent["end_episode"].outcome, sent["end_episode"].note) == (1, "too fast")
    assert not sent["end_episode"].discard
    for name in ("discard_episode", "restore_episode", "label_episode"):
        assert sent[name].episode_id == "play_0001"
    assert (sent["label_episode"].set_outcome, sent["label_episode"].outcome) == (True, 2)


def test_terminal_is_as_before_after_a_signal(screen, recorder):
    screen.wait_for_text(" ready ")
    assert not screen.restored()
    screen.process.terminate()
    screen.wait_for(lambda: screen.process.poll() is not None, "end")
    assert screen.process.poll() == 0
    assert screen.restored()


def test_missing_recorder_is_told(graph):
    screen = Screen(graph)
    try:
        screen.wait_for_text("nothing from play_recorder")
        screen.type(" ")
        screen.wait_for_text("nothing from play_recorder")
    finally:
        screen.close()


def test_lines_are_written_where_there_is_no_terminal(graph, recorder):
    process = graph.start("recorder_console", period_s=0.1)
    graph.wait_until(lambda: "ready, 0 messages" in process.log_text(), "status")
    recorder.apply("start_episode", None)
    graph.wait_until(lambda: "play_0001 started sweep" in process.log_text(), "event")
    graph.wait_until(lambda: "RECORDING 00:00 play_0001" in process.log_text(), "status")


def test_keys_record_label_and_discard_an_episode_on_disk(graph):
    contract, bags = "panda_calvin_lowdim", graph.folder / "bags"
    graph.start("calvin_bridge", contract=contract, real_time_factor=1.0)
    graph.start("play_recorder", contract=contract, folder=str(bags), check_s=0.0)
    screen = Screen(graph)
    try:
        screen.wait_for_text(" ready ")
        screen.type("topen_drawer\r ")
        screen.wait_for_text("RECORDING")
        screen.type("ngently\rs")
        screen.wait_for_text("end: episode_0000")
        (bag,) = find_bags(bags)
        record = read_episode(bag)
        assert (record.task, record.outcome, record.note) == ("open_drawer", "success", "gently")
        screen.wait_for_text("ended open_drawer success")
        screen.type("f")
        screen.wait_for_text("label: episode_0000")
        assert read_episode(bag).outcome == "failure"
        screen.type("d")
        screen.wait_for_text("discard: episode_0000")
        assert find_bags(bags) == []
        screen.wait_for_text("discarded open_drawer")
        screen.type("z")
        screen.wait_for_text("restore: episode_0000")
        assert find_bags(bags) == [bag]
    finally:
        screen.close()
