# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder's action and its joystick."""

from __future__ import annotations

import time

import pytest
from action_msgs.msg import GoalStatus
from diwa_msgs.action import RecordEpisode
from diwa_msgs.srv import EndEpisode, StartEpisode
from rclpy.action import ActionClient
from sensor_msgs.msg import Joy

from diwa.data.episode import find_bags, read_episode
from diwa_ros.recording_session import RecordingSession
from recorder_bench import CAMERA, POSE, Bench, steps_in

Result = RecordEpisode.Result
SETTLE_S = 0.5  # for the server to discover the client: it drops answers to clients unknown to it
BUTTONS = ("start", "success", "failure", "end", "discard", "restore")


@pytest.fixture
def bench(tmp_path, ros_domain):
    buttons = {f"joy_{word}_button": index for index, word in enumerate(BUTTONS)}
    bench = Bench(tmp_path, ros_domain, joy_task="push", **buttons)
    bench.start()
    bench.offer(POSE)
    bench.offer(CAMERA)
    yield bench
    bench.close()


class Goal:
    """A goal of the action; `feedback` grows."""

    def __init__(self, bench, **fields):
        self.bench = bench
        self.feedback = []
        client = ActionClient(bench.node, RecordEpisode, "play_recorder/record_episode")
        bench.wait_until(client.server_is_ready, "action server")
        until = time.monotonic() + SETTLE_S
        bench.wait_until(lambda: time.monotonic() > until)
        future = client.send_goal_async(
            RecordEpisode.Goal(**fields),
            feedback_callback=lambda message: self.feedback.append(message.feedback),
        )
        bench.wait_until(future.done, "goal response")
        self.handle = future.result()
        self._future = self.handle.get_result_async()

    def result(self):
        """Final state and result; the robot goes on publishing meanwhile."""
        while not self._future.done():
            self.bench.publish(1, wait=False)
            self.bench.executor.spin_once(timeout_sec=0.01)
            self.bench._robot.spin_once(timeout_sec=0.01)
        answer = self._future.result()
        return answer.status, answer.result

    def cancel(self):
        self.bench.wait_until(self.handle.cancel_goal_async().done, "cancel response")


def test_goal_records_until_its_time_is_up(bench):
    goal = Goal(bench, task="open_drawer", note="n", time_limit=0.8)
    status, result = goal.result()
    assert (status, result.success, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, True, 0)
    record = read_episode(bench.folder / result.episode_id)
    assert (record.kind, record.task, record.note) == ("demo", "open_drawer", "n")
    assert (record.outcome, record.reason) == ("unknown", "the time is up")
    assert result.path == str(bench.folder / result.episode_id)
    assert list(result.problems) == list(record.problems)


def test_cancelled_goal_keeps_the_episode(bench):
    goal = Goal(bench)
    bench.publish(3)
    bench.wait_until(lambda: goal.feedback and goal.feedback[-1].messages == 6, "feedback")
    goal.cancel()
    status, result = goal.result()
    assert {item.episode_id for item in goal.feedback} == {result.episode_id}
    assert (status, result.success) == (GoalStatus.STATUS_CANCELED, True)
    assert read_episode(bench.folder / result.episode_id).reason == "cancelled"
    assert steps_in(bench.folder / result.episode_id)["/ee_pose"][:3] == [1, 2, 3]


@pytest.mark.parametrize("discard", [False, True])
def test_goal_ends_with_its_episode(bench, discard):
    goal = Goal(bench)
    bench.publish(3)
    ended = bench.call(EndEpisode, "end_episode", outcome=1, reason="good", discard=discard)
    assert ended.success
    status, result = goal.result()
    assert result.success != discard
    assert result.error_code == (Result.DISCARDED if discard else Result.NONE)
    assert status == (GoalStatus.STATUS_ABORTED if discard else GoalStatus.STATUS_SUCCEEDED)
    if not discard:
        assert read_episode(bench.folder / result.episode_id).outcome == "success"


def test_goal_is_refused_while_an_episode_is_open(bench):
    assert bench.call(StartEpisode, "start_episode").success
    status, result = Goal(bench).result()
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.REFUSED)
    assert "end it first" in result.error_msg
    assert bench.session.recording is not None


def test_goal_fails_where_a_topic_is_silent(bench):
    bench.withdraw(CAMERA)
    status, result = Goal(bench).result()
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.NO_DATA)
    assert f"nothing arrives on {CAMERA}" in result.error_msg
    assert not [path for path in bench.folder.iterdir() if path.is_dir()]


def test_goal_ends_when_the_disk_is_full_and_when_the_recorder_stops(bench, monkeypatch):
    goal = Goal(bench)
    bench.publish(3)
    with monkeypatch.context() as patch:
        patch.setattr(RecordingSession, "free_bytes", lambda self: 0)
        status, result = goal.result()
    assert (status, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, Result.DISK_FULL)
    assert result.success and "nearly full" in result.error_msg
    goal = Goal(bench)
    bench.publish(3)
    bench.recorder.trigger_deactivate()
    _, result = goal.result()
    assert result.success and result.error_code == Result.STOPPED
    assert len(find_bags(bench.folder)) == 2


def test_buttons_do_what_the_services_do(bench):
    joystick = bench.node.create_publisher(Joy, "joy", 10)
    bench.wait_until(joystick.get_subscription_count, "recorder")
    session = bench.session
    heard = []
    bench.recorder._joystick._press, forward = (
        lambda word: (heard.append(word), forward(word)),
        bench.recorder._joystick._press,
    )

    def show(*words):
        """What is held down now."""
        joystick.publish(Joy(buttons=[int(word in words) for word in BUTTONS]))

    def press(word):
        count = len(heard)
        show()
        show(word)
        bench.wait_until(lambda: len(heard) > count, word)
        assert heard[-1] == word

    show("start")  # was down before the recorder listened: no press
    press("success")  # there is nothing to label
    press("end")
    assert session.recording is None and heard == ["success", "end"]
    press("start")
    name = session.recording.opening.id
    show("start")  # held, not pressed again
    bench.publish(3)
    press("success")
    record = read_episode(bench.folder / name)
    assert (record.task, record.outcome, record.reason) == ("push", "success", "by joystick")
    press("failure")
    assert read_episode(bench.folder / name).outcome == "failure"
    press("discard")
    assert find_bags(bench.folder) == []
    press("restore")
    assert find_bags(bench.folder) == [bench.folder / name]
    press("start")
    bench.publish(1)
    press("discard")
    assert find_bags(bench.folder) == [bench.folder / name]
    press("start")
    press("end")
    assert [edit.what for edit in read_episode(bench.folder / name).history] == [
        "label",
        "discard",
        "restore",
    ]
