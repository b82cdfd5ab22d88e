# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of recorders, of the bridge, or of both, at random moments of their recordings."""

from __future__ import annotations

import os
import random
import signal
import time

import numpy as np
import pytest
from diwa_msgs.msg import EpisodeEvent, RecorderStatus
from sensor_msgs.msg import Joy

from diwa.data.bag_reader import BagReader
from diwa.data.build import build_dataset
from diwa.data.decode import stamp_ns
from diwa.data.episode import UNFINISHED, find_bags, read_episode
from diwa.files import sha256_file
from diwa_ros import qos
from diwa_ros.processes import NodeProcess

CONTRACT = "panda_calvin_lowdim"
TOPICS = ("/ee_pose", "/joint_states", "/scene_state", "/executed_action")
WAVES = 4
RECORDERS = 5  # per wave; every wave has as many random moments
LATEST_S = 2.5  # after all recorders of a wave have begun
LOST_S = 1.0  # of a running episode, at most
START, END = 0, 1  # buttons
ROBOT = f"/robot_{os.getpid()}"  # nobody else publishes here, even in the same domain


class Recorder:
    """A recorder of its own name, its reports, and when it was killed."""

    def __init__(self, graph, name, folder):
        self.graph = graph
        self.name = name
        self.killed_at = float("inf")
        self.episode = ""
        self.reports: list[tuple[float, int]] = []  # when, messages
        self.received: list[int] = []  # by topic; discovery takes its time with each
        self.active = self._recording = False
        graph.node.create_subscription(
            RecorderStatus, f"{ROBOT}/{name}/status", self._on_status, 10
        )
        settings = {
            "contract": CONTRACT,
            "folder": str(folder),
            "prefix": name,
            "joy_start_button": START,
            "joy_end_button": END,
            "check_s": 0.0,
        }
        self.process = NodeProcess(
            "play_recorder", settings, graph.folder, name=name, namespace=ROBOT
        )
        graph.processes[name] = self.process

    def _on_status(self, status):
        self.active, self._recording = status.active, status.recording
        if status.recording:
            self.episode = status.episode_id
            self.reports.append((time.monotonic(), status.messages))
            self.received = [topic.received for topic in status.topics]

    @property
    def runs(self):
        return self._recording and len(self.received) == len(TOPICS) and min(self.received) > 0

    @property
    def is_quiet(self):
        """Whether nothing came from one report to the next."""
        return self.reports[-1][1] == self.reports[-2][1]

    @property
    def ended(self):
        return bool(self.episode) and not self._recording

    def kill(self):
        self.killed_at = time.monotonic()
        self.process.send(signal.SIGKILL)

    def messages_that_must_be_kept(self):
        kept = [count for at, count in self.reports if at < self.killed_at - LOST_S]
        return max(kept, default=0)


def start_bridge(graph):
    settings = {"contract": CONTRACT, "real_time_factor": 1.0}
    bridge = NodeProcess("calvin_bridge", settings, graph.folder, namespace=ROBOT)
    graph.processes["calvin_bridge"] = bridge
    return bridge


def press(graph, joystick, button, until):
    """Press a button now and then until it has done what it should."""
    pressed_at = 0.0
    state = 0

    def done():
        nonlocal pressed_at, state
        if time.monotonic() - pressed_at > 0.25:
            pressed_at, state = time.monotonic(), 1 - state
            joystick.publish(Joy(buttons=[state * (button == b) for b in (START, END)]))
        return until()

    graph.wait_until(done, f"effect of button {button}")


class Wave:
    """A bridge and recorders that have all begun an episode."""

    def __init__(self, graph, joystick, folder, number):
        self.graph = graph
        self.joystick = joystick
        self.bridge = start_bridge(graph)
        self.recorders = [
            Recorder(graph, f"w{number}r{index}", folder) for index in range(RECORDERS)
        ]
        press(graph, joystick, START, lambda: all(recorder.runs for recorder in self.recorders))

    def kill_at_random(self, rng, bridge_alone):
        """One victim per moment; the last moment takes the bridge, with a recorder or alone."""
        began = time.monotonic()
        moments = sorted(rng.uniform(0.0, LATEST_S) for _ in range(RECORDERS))
        for moment, recorder in zip(moments, self.recorders, strict=True):
            self.graph.wait_until(lambda m=moment: time.monotonic() > began + m, "moment")
            last = recorder is self.recorders[-1]
            if not (last and bridge_alone):
                recorder.kill()
            if last:
                self.bridge.send(signal.SIGKILL)
        for recorder in self.recorders:
            if recorder.killed_at < float("inf"):
                recorder.process.wait(30)
        self.bridge.wait(30)

    def end_survivor(self):
        """End the episode of the one recorder that outlives the bridge, and stop it."""
        survivor = self.recorders[-1]
        press(self.graph, self.joystick, END, lambda: survivor.ended)
        assert survivor.process.stop() == 0, survivor.process.log_text()


def read(bag):
    with BagReader(bag) as reader:
        stamps = {topic: [] for topic in TOPICS}
        for topic, _, message in reader.messages():
            stamps[topic].append(stamp_ns(message))
    return stamps


def hashes(bag):
    return {path.name: sha256_file(path) for path in bag.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_loses_a_second_of_the_running_episode_at_most(graph, lowdim_contract):
    folder = graph.folder / "bags"
    rng = random.Random(7)
    joystick = graph.node.create_publisher(Joy, f"{ROBOT}/joy", 10)
    events = graph.collect(EpisodeEvent, f"{ROBOT}/final/events", qos.EVENT)
    recorders, earlier = [], {}
    for number in range(WAVES):
        bridge_alone = number % 2 == 1
        wave = Wave(graph, joystick, folder, number)
        wave.kill_at_random(rng, bridge_alone)
        recorders += wave.recorders
        if bridge_alone:
            wave.end_survivor()
            bag = folder / wave.recorders[-1].episode
            earlier[bag] = hashes(bag)
    final = Recorder(graph, "final", folder)
    graph.wait_until(lambda: final.active, "repair, and activation after it")
    assert not list(folder.glob(f"*/{UNFINISHED}"))
    assert final.process.stop() == 0, final.process.log_text()
    assert_all_is_there(folder, recorders, lowdim_contract)
    for bag, content in earlier.items():
        assert hashes(bag) == content, f"{bag} was finished before, and was changed"
    assert len(earlier) == 2
    assert {event.kind for event in events} <= {EpisodeEvent.RECOVERED, EpisodeEvent.DISCARDED}
    assert_dataset_is_sound(graph.folder / "dataset", folder)


def assert_all_is_there(folder, recorders, contract):
    """Every episode that was begun is there, whole up to its last second."""
    bags = {bag.name: bag for bag in find_bags(folder)}
    assert set(bags) == {recorder.episode for recorder in recorders}
    assert len(bags) == WAVES * RECORDERS
    checked = 0
    for recorder in recorders:
        record, stamps = read_episode(bags[recorder.episode]), read(bags[recorder.episode])
        killed = recorder.killed_at < float("inf")
        assert record.recovered == killed
        assert ("recovered" in record.reason) == killed
        for topic, values in stamps.items():
            steps = np.diff(values)
            assert np.all(abs(steps - contract.period_ns) < 10), f"{record.id}: {topic} has a hole"
        found = sum(map(len, stamps.values()))
        assert found == sum(topic.received for topic in record.topics)
        if killed:
            due = recorder.messages_that_must_be_kept()
            checked += due > 0
            assert found >= due, f"{record.id}: {found} of {due} messages"
        else:
            assert found >= recorder.reports[-1][1]
    assert checked >= WAVES  # so the figures above are no empty promise


def assert_dataset_is_sound(out, folder):
    """The dataset of all bags has the complete frames of each, from its first action on."""
    bags = find_bags(folder)
    short = []
    dataset = build_dataset(bags, out, workers=0, on_problem=lambda bag, error: short.append(bag))
    lengths = {info.id: info.length for info in dataset.episodes}
    for bag in bags:
        stamps = read(bag)
        *seen, actions = (set(stamps[topic]) for topic in TOPICS)
        complete = set.intersection(*seen)
        frames = sum(stamp >= min(actions, default=stamp + 1) for stamp in complete)
        if bag in short:
            assert frames < 3, f"{bag} was left out of the dataset"
        else:
            assert frames - 2 <= lengths.get(bag.name, 0) <= frames


def test_bridge_that_is_killed_and_started_again_is_recorded_on(graph, lowdim_contract):
    """Its simulation time begins anew: stamps are kept as they are, and the episode is flagged."""
    folder = graph.folder / "bags"
    joystick = graph.node.create_publisher(Joy, f"{ROBOT}/joy", 10)
    recorder = Recorder(graph, "one", folder)
    first = start_bridge(graph)
    press(graph, joystick, START, lambda: recorder.runs and min(recorder.received) > 30)
    first.send(signal.SIGKILL)
    first.wait(30)
    graph.wait_until(lambda: recorder.is_quiet, "silence")
    before = recorder.received
    start_bridge(graph)

    def goes_on():
        return all(now > then + 10 for now, then in zip(recorder.received, before, strict=True))

    graph.wait_until(goes_on, "messages of the second bridge")
    press(graph, joystick, END, lambda: recorder.ended)
    bag = folder / recorder.episode
    record, stamps = read_episode(bag), read(bag)["/ee_pose"]
    (start,) = np.flatnonzero(np.diff(stamps) < 0) + 1
    assert start > 20 and len(stamps) > start + 5
    for part in (stamps[:start], stamps[start:]):
        assert np.all(abs(np.diff(part) - lowdim_contract.period_ns) < 10)
    assert not record.recovered
    assert any("ee_pose: " in problem for problem in record.problems)
    assert not any("publishers at the same time" in problem for problem in record.problems)
