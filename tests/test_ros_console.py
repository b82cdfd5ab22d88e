# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Keys of the recorder's console become the right commands, and the screen shows what matters."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from diwa_msgs.msg import EpisodeEvent, RecorderStatus, TopicStatistics
from diwa_msgs.srv import DiscardEpisode, EndEpisode, StartEpisode
from rclpy.task import Future
from rich.console import Console

from diwa_ros import console_requests
from diwa_ros.console_keys import HELP, Command, ConsoleKeys, Situation
from diwa_ros.console_requests import Requests, make_request
from diwa_ros.console_view import draw, event_line, status_line

IDLE = Situation(False, "play_0001", "play_0000")
OPEN = Situation(True, "play_0001", "play_0000")
EMPTY = Situation()


def one(keys, situation, task=""):
    (command,) = ConsoleKeys(task).press(keys, situation)
    return command.kind, dict(command.values)


def test_space_starts_and_ends():
    assert one(" ", IDLE, "open_drawer") == ("start", {"task": "open_drawer"})
    kind, values = one(" ", OPEN)
    assert (kind, values["outcome"], values["discard"]) == ("end", "unknown", False)


@pytest.mark.parametrize(("key", "outcome"), [("s", "success"), ("f", "failure"), ("u", "unknown")])
def test_outcome_ends_the_open_episode_or_mends_the_last_one(key, outcome):
    kind, values = one(key, OPEN)
    assert (kind, values["outcome"], values["discard"]) == ("end", outcome, False)
    expected = {"episode_id": "play_0001", "set_outcome": True, "outcome": outcome}
    assert one(key, IDLE) == ("label", expected)


def test_discard_takes_the_open_or_the_last_episode_by_its_name():
    kind, values = one("d", OPEN)
    assert (kind, values["discard"]) == ("end", True)
    kind, values = one("d", IDLE)
    assert (kind, values["episode_id"]) == ("discard", "play_0001")


def test_undo_brings_back_what_was_discarded_last():
    assert one("z", IDLE) == ("restore", {"episode_id": "play_0000"})


@pytest.mark.parametrize("key", ["s", "f", "u", "d", "z", "T", "n"])
def test_key_that_has_nothing_to_work_on_says_so(key):
    keys = ConsoleKeys()
    assert keys.press(key, EMPTY) == []
    assert keys.hint
    keys.press("x", EMPTY)
    assert not keys.hint


def test_typed_task_holds_for_the_next_episodes():
    keys = ConsoleKeys()
    assert keys.press("topen drawfull\x7f\x7f\x7f\x7fer\r", IDLE) == []
    assert keys.press(" ", IDLE)[0].values == {"task": "open drawer"}
    assert keys.press("t!\x1b", IDLE) == []
    assert keys.task == "open drawer"
    assert keys.press("t" + "\x7f" * 20 + "\r ", IDLE)[0].values == {"task": ""}


def test_keys_that_are_typed_are_no_commands():
    keys = ConsoleKeys()
    assert keys.press("tsquid qs\n", IDLE) == []
    assert keys.task == "squid qs"


def test_note_on_the_open_episode_goes_with_its_end_and_only_there():
    keys = ConsoleKeys()
    assert keys.press("ngripper slipped\r", OPEN) == []
    for _ in range(2):  # the first attempt may be refused
        assert keys.press("f", OPEN)[0].values["note"] == "gripper slipped"
    assert keys.press(" ", OPEN._replace(last="play_0002"))[0].values["note"] == ""


def test_note_and_task_of_the_last_episode_are_labels():
    assert one("nsecond try\r", IDLE) == (
        "label",
        {"episode_id": "play_0001", "set_note": True, "note": "second try"},
    )
    assert one("Tclose_drawer\r", OPEN) == (
        "label",
        {"episode_id": "play_0001", "set_task": True, "task": "close_drawer"},
    )


def test_cursor_keys_do_nothing():
    keys = ConsoleKeys()
    assert keys.press("\x1b[A\x1b[1;5D\x1bOP\x1b[3~", IDLE) == []
    assert keys.press("tab\x1b[Dc\r", IDLE) == []
    assert keys.task == "abc"


@pytest.mark.parametrize("recording", [True, False])
def test_every_key_of_the_help_does_something(recording):
    for shown, _ in HELP[recording]:
        for key in shown.split():
            keys = ConsoleKeys()
            commands = keys.press({"space": " "}.get(key, key), OPEN if recording else IDLE)
            assert commands or keys.typing, key


@pytest.mark.parametrize("situation", [IDLE, OPEN])
@pytest.mark.parametrize("keys", [" ", "s", "f", "d", "z", "nx\r", "Tx\r"])
def test_commands_fit_the_services(keys, situation):
    for command in ConsoleKeys("task").press(keys, situation):
        request = make_request(command)
        for name, value in command.values.items():
            expected = {"success": 1, "failure": 2, "unknown": 0}.get(value, value)
            assert getattr(request, name) == (expected if name == "outcome" else value)


def shown(*arguments, width=80):
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(draw(*arguments))
    return capture.get()


def status():
    topics = [
        TopicStatistics(topic="ee_pose", source="ee_pose", publishers=1, expected_rate=30.0),
        TopicStatistics(
            topic="cameras/gripper/image_raw",
            source="cameras/gripper/image_raw/compressed",
            publishers=2,
            expected_rate=30.0,
            recent_rate=28.25,
            rate=29.5,
            gaps=3,
            missing=17,
            lost=5,
            problem="3.3% short",
        ),
    ]
    return RecorderStatus(
        active=True,
        recording=True,
        episode_id="play_0003",
        duration=75.0,
        folder="/data",
        free_space=12_300_000_000,
        topics=topics,
    )


def test_screen_shows_state_topics_problems_and_fits_80_by_24():
    event = EpisodeEvent(episode_id="play_0002", kind=EpisodeEvent.ENDED, problems=["camera: gap"])
    text = shown(status(), [event] * 9, ConsoleKeys("open_drawer"), "start: play_0003")
    for part in ("RECORDING 01:15 play_0003", "12.3 GB free in /data", "3.3% short", "28.2", "17"):
        assert part in text
    assert "2 publishers" in text
    assert "task: open_drawer" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert len(text.splitlines()) <= 24


def test_screen_without_a_recorder_says_so():
    text = shown(None, [], ConsoleKeys(), "nothing from play_recorder")
    assert "nothing from play_recorder" in text


def test_recorder_that_is_not_active_is_shown_as_such():
    assert "NOT ACTIVE" in shown(RecorderStatus(), [], ConsoleKeys(), "")


def test_lines_for_logs_say_the_same():
    assert "camera" not in status_line(RecorderStatus(active=True))
    line = status_line(status())
    assert "RECORDING 01:15" in line and "3.3% short" in line and "\n" not in line
    event = EpisodeEvent(
        episode_id="demo_0001",
        kind=EpisodeEvent.ENDED,
        task="open_drawer",
        outcome=EpisodeEvent.SUCCESS,
        reason="by hand",
        problems=["a: b", "c: d"],
    )
    assert event_line(event) == "demo_0001 ended open_drawer success (by hand): a: b; c: d"


class Recorder:
    """A client whose answers come when the test says so."""

    srv_name = "play_recorder/end_episode"

    def __init__(self):
        self.sent = []

    def service_is_ready(self):
        return True

    def call_async(self, request):
        self.sent.append((request, Future()))
        return self.sent[-1][1]

    def remove_pending_request(self, future):
        future.cancel()


@pytest.fixture
def requests(monkeypatch):
    """Requests to a recorder that is there, with a clock that the test turns."""
    recorder = Recorder()
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(console_requests, "time", clock)
    node = SimpleNamespace(create_client=lambda kind, name: recorder)
    return Requests(node, "play_recorder"), recorder, clock


def test_answer_is_told(requests):
    console, recorder, _ = requests
    console.send(Command("end", {"outcome": "success"}))
    console.update(None)
    assert console.message == "end ..."
    recorder.sent[0][1].set_result(EndEpisode.Response(success=False, message="no episode is open"))
    console.update(None)
    assert console.message == "end was refused: no episode is open"
    console.send(Command("discard", {"episode_id": "play_0001"}))
    recorder.sent[1][1].set_result(DiscardEpisode.Response(success=True, episode_id="play_0001"))
    console.update(None)
    assert console.message == "discard: play_0001"
    console.send(Command("start"))
    answer = StartEpisode.Response(success=True, episode_id="play_0002", message="camera is silent")
    recorder.sent[2][1].set_result(answer)
    console.update(None)
    assert console.message == "start: play_0002: camera is silent"


def test_request_without_an_answer_is_sent_again_but_not_for_ever(requests):
    console, recorder, clock = requests
    console.send(Command("label", {"episode_id": "play_0001", "set_note": True, "note": "x"}))
    for _ in range(20):
        clock.now += console_requests.RESEND_S + 0.1
        console.update(RecorderStatus())
    assert len(recorder.sent) == console_requests.ATTEMPTS
    assert len({id(request) for request, _ in recorder.sent}) == 1
    assert console.message == "label: no answer"


@pytest.mark.parametrize(("kind", "recording"), [("start", True), ("end", False)])
def test_start_or_end_that_shows_in_the_status_is_not_sent_again(requests, kind, recording):
    console, recorder, clock = requests
    console.send(Command(kind))
    clock.now += console_requests.RESEND_S + 0.1
    console.update(RecorderStatus(recording=recording, episode_id="play_0007"))
    assert len(recorder.sent) == 1
    assert console.message == f"{kind}: play_0007"


def test_second_command_waits_for_the_first(requests):
    console, recorder, _ = requests
    console.send(Command("start"))
    console.send(Command("end", {"outcome": "success"}))
    assert len(recorder.sent) == 1
    assert console.message.startswith("wait")
