# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder with a robot that behaves, and one that does not."""

from __future__ import annotations

import pytest
from diwa_msgs.msg import EpisodeEvent, RecorderStatus
from diwa_msgs.srv import (
    DiscardEpisode,
    EndEpisode,
    LabelEpisode,
    RestoreEpisode,
    StartEpisode,
)
from sensor_msgs.msg import Imu

from diwa.data.bag_folder import BagFolder
from diwa.data.bags import BagWriter
from diwa.data.dataset import Dataset
from diwa.data.episode import find_bags, read_episode
from diwa_ros import qos
from diwa_ros.conversions import time_message
from diwa_ros.recording_session import RecordingSession
from recorder_bench import (
    BEST_EFFORT,
    CAMERA,
    COMPRESSED,
    PERIOD_NS,
    POSE,
    RELIABLE,
    Bench,
    steps_in,
)

STARTED, ENDED, DISCARDED = EpisodeEvent.STARTED, EpisodeEvent.ENDED, EpisodeEvent.DISCARDED
RESTORED, LABELLED, RECOVERED = (
    EpisodeEvent.RESTORED,
    EpisodeEvent.LABELLED,
    EpisodeEvent.RECOVERED,
)


@pytest.fixture
def make_bench(tmp_path, ros_domain):
    benches = []

    def make(**parameters):
        benches.append(Bench(tmp_path, ros_domain, **parameters))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(make_bench):
    """A recorder with a robot that publishes reliably."""
    bench = make_bench()
    bench.start()
    bench.offer(POSE)
    bench.offer(CAMERA)
    return bench


def start(bench, **fields):
    answer = bench.call(StartEpisode, "start_episode", **fields)
    assert answer.success, answer.message
    return answer.episode_id


def end(bench, **fields):
    answer = bench.call(EndEpisode, "end_episode", **fields)
    assert answer.success, answer.message
    return answer


def recorded(bench, name):
    return read_episode(bench.folder / name), steps_in(bench.folder / name)


def watch_events(bench):
    events = []
    bench.node.create_subscription(EpisodeEvent, "play_recorder/events", events.append, qos.EVENT)
    return events


def test_episode_holds_what_was_published_in_it(bench):
    bench.publish(3)
    name = start(bench, task="open_drawer", note="first try")
    bench.publish(5)
    answer = end(bench, outcome=EndEpisode.Request.SUCCESS, reason="done", note="well")
    assert answer.path == str(bench.folder / name) and list(answer.problems) == []
    bench.publish(2, wait=False)
    record, steps = recorded(bench, name)
    assert steps == {"/ee_pose": [4, 5, 6, 7, 8], "/camera/image_raw": [4, 5, 6, 7, 8]}
    assert (record.id, record.kind, record.task) == (name, "demo", "open_drawer")
    assert (record.outcome, record.reason, record.note) == ("success", "done", "first try; well")
    assert (record.started_ns, record.ended_ns) == (4 * PERIOD_NS, 8 * PERIOD_NS)
    assert not record.recovered
    pose, camera = record.topics
    assert (pose.received, pose.rate_hz, pose.reliability) == (5, 10.0, "reliable")
    assert (camera.type, camera.problem, camera.lost) == ("sensor_msgs/msg/Image", "", 0)


def test_start_stamp_takes_messages_from_memory_and_end_stamp_waits_for_them(bench):
    bench.publish(3)
    bench.wait_until(lambda: not bench.recorder._silent())
    name = start(bench, start=time_message(2 * PERIOD_NS))
    bench.publish(2)
    request = EndEpisode.Request(end=time_message(6 * PERIOD_NS))
    (service,) = (s for s in bench.recorder.services if s.srv_name.endswith("/end_episode"))
    task = bench.executor.create_task(service.callback, request, EndEpisode.Response())
    bench.executor.spin_once(timeout_sec=0)
    bench.publish(1, wait=False)
    bench.wait_until(task.done)
    assert recorded(bench, name)[1]["/ee_pose"] == [2, 3, 4, 5, 6]


def test_the_same_request_again_gives_the_same_answer(bench):
    bench.publish(2)
    bench.wait_until(lambda: not bench.recorder._silent())
    request = StartEpisode.Request(task="a", start=time_message(PERIOD_NS))
    first, second = bench.calls(StartEpisode, "start_episode", request, request)
    assert first.success and second == first
    assert bench.call(StartEpisode, "start_episode", task="a", start=request.start) == first
    other = bench.call(StartEpisode, "start_episode", task="b", start=request.start)
    assert not other.success and "end it first" in other.message
    bench.publish(1)
    last = EndEpisode.Request(end=time_message(3 * PERIOD_NS), reason="over")
    ends = bench.calls(EndEpisode, "end_episode", last, last)
    ends += bench.calls(EndEpisode, "end_episode", last)
    assert ends[0].success and ends == [ends[0]] * 3
    different = bench.call(EndEpisode, "end_episode", reason="other")
    assert not different.success and "no episode is open" in different.message
    assert len(find_bags(bench.folder)) == 1
    # In the next episode the very same request is another one.
    assert start(bench) != first.episode_id
    bench.publish(1)
    again = bench.call(EndEpisode, "end_episode", end=last.end, reason="over")
    assert again.success and again.episode_id != first.episode_id


def test_discard_restore_and_label_can_be_asked_for_again(bench):
    events = watch_events(bench)
    names = []
    for _ in range(2):
        names.append(start(bench))
        bench.publish(1)
        end(bench)
    for _ in range(2):
        answer = bench.call(DiscardEpisode, "discard_episode", reason="bad")
        assert answer.success and answer.episode_id == names[1]
    assert [bag.name for bag in find_bags(bench.folder)] == [names[0]]
    assert bench.call(DiscardEpisode, "discard_episode", episode_id=names[0]).success
    assert find_bags(bench.folder) == []
    for _ in range(2):
        answer = bench.call(RestoreEpisode, "restore_episode")
        assert (answer.success, answer.path) == (True, str(bench.folder / names[0]))
    assert bench.call(RestoreEpisode, "restore_episode", episode_id=names[1]).success
    for _ in range(2):
        fields = {"set_task": True, "task": "push", "set_outcome": True, "outcome": 2}
        answer = bench.call(LabelEpisode, "label_episode", episode_id=names[0], **fields)
        assert answer.success
    record = read_episode(bench.folder / names[0])
    assert (record.kind, record.task, record.outcome) == ("demo", "push", "failure")
    assert [edit.what for edit in record.history] == ["discard", "restore", "label"]
    bench.wait_until(lambda: len(events) >= 9, "events")
    kinds = [(event.kind, names.index(event.episode_id)) for event in events]
    assert kinds[:6] == [(STARTED, 0), (ENDED, 0), (STARTED, 1), (ENDED, 1), (2, 1), (2, 0)]
    assert kinds[6:9] == [(RESTORED, 0), (RESTORED, 1), (LABELLED, 0)]
    tally = bench.session.finished.tally
    assert (tally.kept, tally.discarded) == (2, 0)
    unknown = bench.call(LabelEpisode, "label_episode", episode_id="nobody")
    assert not unknown.success and "no episode nobody" in unknown.message


def test_discarding_an_open_episode_can_be_undone(bench):
    name = start(bench)
    bench.publish(3)
    labels = {"task": "push", "outcome": EndEpisode.Request.FAILURE, "note": "wet"}
    assert end(bench, discard=True, reason="spilled", **labels).path == ""
    assert find_bags(bench.folder) == []
    assert bench.call(RestoreEpisode, "restore_episode").success
    record, steps = recorded(bench, name)
    assert (record.reason, record.task, record.note) == ("spilled", "push", "wet")
    assert record.outcome == "failure" and steps["/ee_pose"] == [1, 2, 3]


def test_start_with_a_stamp_needs_every_topic(bench):
    answer = bench.call(StartEpisode, "start_episode", start=time_message(PERIOD_NS))
    assert not answer.success and f"nothing arrives on {POSE}, {CAMERA}" in answer.message
    assert [path for path in bench.folder.iterdir() if path.is_dir()] == []
    without = bench.call(StartEpisode, "start_episode")
    assert without.success and f"nothing arrives on {POSE}, {CAMERA}" in without.message


def test_best_effort_publishers_are_recorded_and_marked(make_bench, capfd):
    bench = make_bench()
    bench.start()
    bench.offer(POSE)
    bench.offer(CAMERA, BEST_EFFORT)
    statuses = []
    bench.node.create_subscription(
        RecorderStatus, "play_recorder/status", statuses.append, qos.STATUS
    )
    name = start(bench)
    bench.publish(4)
    bench.wait_until(
        lambda: statuses and statuses[-1].messages == 8, lambda: f"status: {statuses[-1:]}"
    )
    shown = {topic.topic: (topic.reliability, topic.publishers) for topic in statuses[-1].topics}
    assert shown == {POSE: ("reliable", 1), CAMERA: ("best_effort", 1)}
    end(bench)
    record, steps = recorded(bench, name)
    assert len(steps["/camera/image_raw"]) == 4
    assert [topic.reliability for topic in record.topics] == ["reliable", "best_effort"]
    assert "published best effort: messages of it can be lost" in capfd.readouterr().err


@pytest.mark.parametrize(("before", "after"), [(RELIABLE, BEST_EFFORT), (BEST_EFFORT, RELIABLE)])
def test_publisher_that_comes_back_otherwise_is_followed(make_bench, before, after):
    bench = make_bench()
    bench.start()
    bench.offer(CAMERA)
    bench.offer(POSE, before)
    name = start(bench)
    bench.publish(3)
    bench.withdraw(POSE)
    bench.offer(POSE, after)
    bench.publish(3)
    end(bench)
    record, steps = recorded(bench, name)
    assert steps["/ee_pose"] == [1, 2, 3, 4, 5, 6]
    assert record.problems == ()


def test_compressed_images_stand_in_for_images(make_bench):
    bench = make_bench()
    bench.start()
    bench.offer(POSE)
    bench.offer(COMPRESSED)
    name = start(bench)
    bench.publish(3)
    bench.node.create_publisher(*_raw_camera())  # waits for the end of this episode
    bench.wait_until(lambda: bench.recorder._inputs.publishers[CAMERA] == 1)
    bench.publish(2)
    end(bench)
    record, steps = recorded(bench, name)
    assert steps == {"/ee_pose": [1, 2, 3, 4, 5], "/camera/image_raw/compressed": [1, 2, 3, 4, 5]}
    camera = record.topics[1]
    assert (camera.topic, camera.source) == (CAMERA, COMPRESSED)
    assert camera.type == "sensor_msgs/msg/CompressedImage"


def _raw_camera():
    from sensor_msgs.msg import Image

    return Image, CAMERA, RELIABLE


def test_image_that_never_came_is_in_the_bag_by_name(make_bench):
    bench = make_bench()
    bench.start()
    bench.offer(POSE)
    name = start(bench)
    bench.publish(2)
    end(bench)
    record, steps = recorded(bench, name)
    assert steps == {"/ee_pose": [1, 2], "/camera/image_raw": []}
    assert f"{CAMERA}: nothing arrived" in record.problems


def test_camera_that_appears_late_is_recorded_and_flagged(make_bench):
    bench = make_bench()
    bench.start()
    bench.offer(POSE)
    name = start(bench)
    bench.publish(10)
    bench.offer(CAMERA)
    bench.publish(10)
    answer = end(bench)
    _, steps = recorded(bench, name)
    assert steps["/camera/image_raw"] == list(range(11, 21))
    assert [text for text in answer.problems if text.startswith(f"{CAMERA}: it begins 1.00 s")]
    assert bench.session.finished.tally.flagged == 1


def test_camera_that_dies_is_flagged_and_the_rest_goes_on(bench):
    name = start(bench)
    bench.publish(10)
    bench.withdraw(CAMERA)
    bench.publish(19)
    while bench.recorder._silent() != [CAMERA]:
        bench.publish(1)
    level, message, _ = bench.recorder._report()
    assert (level, message) == (b"\x01", f"nothing arrives on {CAMERA}")
    end(bench)
    record, steps = recorded(bench, name)
    assert steps["/camera/image_raw"] == list(range(1, 11))
    assert steps["/ee_pose"] == list(range(1, bench.step + 1))
    early = f"{CAMERA}: it ends {(bench.step - 10) / 10:.2f} s before the last topic"
    assert [text for text in record.problems if text.startswith(early)]


def test_two_publishers_of_a_topic_are_recorded_and_flagged(bench):
    second = bench.offer(POSE)
    name = start(bench)
    bench.publish(8)  # both publish every step
    _, steps = recorded_after(bench, name)
    assert steps["/ee_pose"] == list(range(1, 9))  # the same stamp again is left out
    bench._publishers[POSE].remove(second)
    third = start(bench)
    bench.publish(8)
    bench._publishers[POSE].append(second)
    record, _ = recorded_after(bench, third)
    assert record.problems == ()  # one publishes at a time


def recorded_after(bench, name):
    answer = end(bench)
    record, steps = recorded(bench, name)
    assert list(answer.problems) == list(record.problems)
    if len(bench._publishers[POSE]) > 1 and record.problems:
        assert f"{POSE}: 2 publishers at the same time" in record.problems
    return record, steps


def test_topic_of_another_type_is_not_recorded_and_said(make_bench, capfd):
    bench = make_bench()
    bench.start()
    bench.offer(CAMERA)
    publisher = bench.node.create_publisher(Imu, POSE, 10)
    bench.wait_until(lambda: bench.recorder._inputs.publishers[POSE] == 1)
    name = start(bench)
    publisher.publish(Imu())
    bench.publish(2)
    end(bench)
    assert recorded(bench, name)[1] == {"/ee_pose": [], "/camera/image_raw": [1, 2]}
    assert "ee_pose is published as sensor_msgs/msg/Imu" in capfd.readouterr().err


def test_full_disk_refuses_a_start_and_ends_an_episode_cleanly(bench, monkeypatch):
    monkeypatch.setattr(RecordingSession, "free_bytes", lambda self: 10**8)
    refused = bench.call(StartEpisode, "start_episode")
    assert not refused.success and "the disk is nearly full: 0.10 GB" in refused.message
    monkeypatch.undo()
    name = start(bench)
    bench.publish(3)
    monkeypatch.setattr(RecordingSession, "free_bytes", lambda self: 10**8)
    bench.wait_until(lambda: bench.session.recording is None, "end")
    record, steps = recorded(bench, name)
    assert "nearly full" in record.reason and record.outcome == "unknown"
    assert steps["/ee_pose"] == [1, 2, 3]
    level, message, _ = bench.recorder._report()
    assert level == b"\x02" and "nearly full" in message
    late = bench.call(EndEpisode, "end_episode", outcome=1)
    assert not late.success and name in late.message and "nearly full" in late.message


def test_bag_that_cannot_be_written_is_repaired_at_the_next_start(bench, monkeypatch):
    events = watch_events(bench)
    name = start(bench)
    bench.publish(3)
    bench.settle()
    monkeypatch.setattr(BagWriter, "flush", _no_space)
    bench.wait_until(lambda: bench.session.recording is None, "end")
    monkeypatch.undo()
    assert "No space left" in bench.session.error
    assert find_bags(bench.folder) == []
    start(bench)  # the next one works
    bench.publish(1)
    end(bench)
    assert bench.session.error == ""
    bench.stop()
    bench.start()
    record, steps = recorded(bench, name)
    assert record.recovered and steps["/ee_pose"] == [1, 2, 3]
    bench.wait_until(
        lambda: [e.episode_id for e in events if e.kind == RECOVERED] == [name], "event"
    )


def _no_space(self):
    raise OSError(28, "No space left on device")


def test_what_was_broken_off_is_repaired_at_the_start(make_bench):
    bench = make_bench()
    bench.start()
    bench.offer(POSE)
    bench.offer(CAMERA)
    names = [start(bench)]
    bench.publish(4)
    _break_off(bench)
    names.append(start(bench))
    _break_off(bench)
    mine = start(bench)  # of a recorder that is alive
    bench.publish(1)
    other = bench.recorder
    other_session = bench.session
    bench.executor.remove_node(other)
    assert find_bags(bench.folder) == []
    events = watch_events(bench)
    bench.start()
    assert [bag.name for bag in find_bags(bench.folder)] == [names[0]]
    record, steps = recorded(bench, names[0])
    assert record.recovered and steps["/camera/image_raw"] == [1, 2, 3, 4]
    assert [path.name for path in (bench.folder / "discarded").iterdir()] == [names[1]]
    bench.wait_until(lambda: len([e for e in events if e.kind != STARTED]) == 3, "events")
    assert [(e.kind, e.episode_id) for e in events if e.kind != STARTED] == [
        (RECOVERED, names[0]),
        (RECOVERED, names[1]),
        (DISCARDED, names[1]),
    ]
    assert other_session.recording.opening.id == mine
    other.destroy_node()
    assert not read_episode(bench.folder / mine).recovered


def _break_off(bench):
    """Leave the open bag as a killed recorder does."""
    bench.settle()
    session = bench.session
    session.recording._writer.abandon()
    session.recording = None


def test_jumps_of_the_clocks_are_flagged(bench):
    name = start(bench)
    bench.publish(5)
    clock = bench.recorder._receive_clock
    before = clock._system_ns
    clock._system_ns = lambda: before() + 3_000_000_000
    bench.wait_until(lambda: bench.session.recording._clock_jumps, "jump")
    bench.publish(5)
    bench.step = 2  # the robot's clock is set back
    bench.publish(3, wait=False)
    bench.wait_until(lambda: bench.session.recording.cadence.topics[POSE].received == 13)
    bench.wait_until(lambda: bench.session.recording.cadence.topics[CAMERA].received == 13)
    answer = end(bench)
    assert any("the system's clock was set by +3.00 s" in text for text in answer.problems)
    assert any(text.startswith(f"{POSE}:") and "order" in text for text in answer.problems)
    assert recorded(bench, name)[1]["/ee_pose"] == [*range(1, 11), 3, 4, 5]


def test_deactivation_keeps_the_open_episode(bench):
    name = start(bench)
    bench.publish(2)
    bench.recorder.trigger_deactivate()
    record, steps = recorded(bench, name)
    assert "stopped" in record.reason and steps["/ee_pose"] == [1, 2]
    refused = bench.call(StartEpisode, "start_episode")
    assert not refused.success and "not active" in refused.message
    bench.recorder.trigger_activate()
    start(bench)


def test_dataset_is_built_when_the_recorder_ends(make_bench, tmp_path):
    bench = make_bench(dataset=str(tmp_path / "dataset"))
    bench.start()
    bench.offer(POSE)
    bench.offer(CAMERA)
    names = []
    for _ in range(2):
        names.append(start(bench))
        bench.publish(4)
        end(bench)
    recorder = bench.recorder
    bench.stop()
    assert recorder._build.wait(120) == 0, (bench.folder / "build.log").read_text()
    dataset = Dataset.open(tmp_path / "dataset")
    assert sorted(info.id for info in dataset.episodes) == names


def test_prefix_that_cannot_be_a_name_is_refused(make_bench, capfd):
    bench = make_bench(prefix="a/b")
    with pytest.raises(ValueError, match="did not start"):
        bench.start()
    assert "prefix 'a/b'" in capfd.readouterr().err


def test_episodes_are_numbered_over_sessions(bench):
    names = [start(bench)]
    end(bench, discard=True)
    bench.stop()
    bench.start()
    names.append(start(bench))
    end(bench)
    assert [name[:13] for name in names] == ["episode_0000_", "episode_0001_"]
    assert BagFolder(bench.folder).kept().name == names[1]


def test_robot_is_checked_after_activation(make_bench, capfd):
    bench = make_bench(check_s=0.5)
    bench.start()
    bench.offer(CAMERA)
    said = []

    def complains():
        bench.publish(1)
        said.append(capfd.readouterr().err)
        return POSE in "".join(said)

    bench.wait_until(complains, "warning")
    assert f"play_recorder]: {POSE}: nobody publishes it" in "".join(said)
