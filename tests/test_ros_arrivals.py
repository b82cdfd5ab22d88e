# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Who sent what, what was lost on the way, and by which clock it came."""

from __future__ import annotations

import pytest

from diwa.data.episode import EpisodeRecord
from diwa_ros.arrivals import Arrival, Arrivals, Senders, Source
from diwa_ros.receive_clock import ReceiveClock
from diwa_ros.recording import Recording

ONE, TWO = b"one", b"two"
HEADER = b"\0\1\0\0"


def see_all(senders, *messages):
    return [senders.see(sender, number) for sender, number in messages]


def test_holes_in_the_numbers_of_a_publisher_are_losses():
    senders = Senders()
    assert see_all(senders, (ONE, 7), (ONE, 8), (ONE, 11), (ONE, 12)) == [0, 0, 2, 0]
    assert see_all(senders, (ONE, 10), (ONE, 13)) == [0, 0]  # late is not lost again
    assert senders.together == 0


def test_a_restarted_publisher_is_no_second_one():
    senders = Senders()
    see_all(senders, *[(ONE, n) for n in range(5)], *[(TWO, n) for n in range(1, 5)])
    assert senders.together < 2
    see_all(senders, (ONE, 5), (TWO, 5), (ONE, 6), (TWO, 6))
    assert senders.together == 2


def test_every_publisher_counts_for_itself():
    senders = Senders()
    messages = [(ONE, 1), (TWO, 90), (ONE, 2), (TWO, 91), (ONE, 4), (TWO, 92)]
    assert see_all(senders, *messages) == [0, 0, 0, 0, 1, 0]


def test_messages_of_another_source_are_forgotten():
    image, compressed = Source("i", "I", "reliable"), Source("i/compressed", "C", "reliable")
    arrivals = Arrivals()
    for number, source in enumerate([image, image, compressed]):
        arrivals.add(Arrival("i", number, 10 - number, b"", source))
        arrivals.add(Arrival("p", number, 20 - number, b""))
    assert [(a.topic, a.stamp_ns) for a in arrivals.latest()] == [
        ("i", 2),
        ("p", 2),
        ("p", 1),
        ("p", 0),
    ]


def test_only_a_few_messages_are_remembered():
    arrivals = Arrivals()
    for number in range(100):
        arrivals.add(Arrival("p", number, number, b""))
    assert [arrival.stamp_ns for arrival in arrivals.latest()] == [96, 97, 98, 99]


def test_receive_clock_goes_on_steadily_when_the_system_clock_is_set():
    system, steady = [1000_000_000_000], [5_000_000_000]
    clock = ReceiveClock(lambda: system[0], lambda: steady[0])

    def advance(seconds, jump=0.0):
        steady[0] += int(seconds * 1e9)
        system[0] += int((seconds + jump) * 1e9)

    assert clock.now_ns() == 1000_000_000_000
    advance(0.5)
    assert (clock.now_ns(), clock.jump_ns()) == (1000_500_000_000, 0)
    advance(0.5, jump=-3.0)
    assert clock.now_ns() == 1001_000_000_000
    assert clock.jump_ns() == -3_000_000_000
    assert clock.jump_ns() == 0  # said once
    for _ in range(10):
        advance(0.5, jump=0.0002)  # disciplined by NTP
        assert clock.jump_ns() == 0
    clock.follow()
    assert clock.now_ns() == system[0]


@pytest.fixture
def recording(tmp_path, lowdim_contract):
    opening = EpisodeRecord(id="e_0000", kind="play", contract=lowdim_contract)
    recording = Recording(tmp_path, opening, 0, start_stamp_ns=200)
    yield recording
    if not recording._closed:
        recording.discard()


def test_recording_leaves_out_repetitions_and_what_is_older_than_its_start(recording):
    assert recording.missing() == ["ee_pose", "joint_states", "scene_state"]
    for stamp in (100, 200, 200, 300):
        recording.write(Arrival("ee_pose", stamp, 10_000 + stamp, HEADER))
    assert recording.cadence.messages == 2
    assert recording.missing() == ["joint_states", "scene_state"]
    assert not recording.reached(300)
    record = recording.finish("", "unknown", "over")
    assert (record.kind, record.started_ns, record.ended_ns) == ("play", 200, 300)


def test_recording_keeps_what_the_middleware_lost(recording, lowdim_contract):
    period = lowdim_contract.period_ns
    for step, number in enumerate([1, 2, 3, 5, 6], start=1):
        recording.write(Arrival("ee_pose", step * period, 0, HEADER, None, ONE, number))
        recording.write(Arrival("ee_pose", step * period, 0, HEADER, None, TWO, number))
    assert recording.cadence.topics["ee_pose"].received == 5  # the same stamp again is left out
    problems = recording.problems()
    assert "ee_pose: 2 publishers at the same time" in problems
    pose = recording.finish("push", "success", "over").topics[0]
    assert (pose.topic, pose.lost) == ("ee_pose", 2)
