# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a person, a log file and a parent process see of a long job."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from diwa.errors import ConfigError
from diwa.train.meter import Meter, format_bytes, format_seconds, plain
from diwa.train.progress import (
    JsonProgress,
    NullProgress,
    PlainProgress,
    Progress,
    RichProgress,
    make_progress,
)


class FakeClock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class ClosedPipe(io.StringIO):
    """A stream that nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def use(progress: Progress, clock: FakeClock) -> None:
    """Ten units of work, one a second, with a figure."""
    progress.stage("policy", 2, 9)
    progress.start("train", 10)
    for index in range(10):
        clock.now += 1.0
        progress.advance(loss=1.0 / (index + 1))
    progress.finish()
    progress.message("saved")


def test_meter_estimates_from_this_part_only() -> None:
    meter = Meter("train", total=100, done=60, now=0.0)
    assert meter.remaining(5.0) is None
    meter.done += 10
    assert meter.remaining(20.0) == pytest.approx(60.0)  # 2 s a unit, 30 units left
    assert meter.fraction == pytest.approx(0.7)
    meter.done = 100
    assert meter.remaining(50.0) == 0.0


def test_meter_of_an_empty_job_is_complete() -> None:
    meter = Meter("nothing", total=0, done=0, now=0.0)
    assert meter.fraction == 1.0
    assert meter.remaining(1.0) == 0.0


def test_json_progress_writes_one_object_per_line() -> None:
    stream, clock = io.StringIO(), FakeClock()
    use(JsonProgress(stream, interval=2.0, clock=clock), clock)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == [
        *("stage", "start"),
        *["progress"] * 5,
        *("finish", "message"),
    ]
    assert {(event["stage"], event["stage_index"], event["stages"]) for event in events} == {
        ("policy", 2, 9)
    }
    fourth = events[3]
    assert (fourth["done"], fourth["total"], fourth["progress"]) == (4, 10, 0.4)
    assert fourth["remaining_s"] == pytest.approx(6.0)
    assert fourth["metrics"] == {"loss": 0.25}
    assert events[-2]["progress"] == 1.0
    assert events[-1]["text"] == "saved"


def test_json_progress_never_writes_what_json_cannot_say() -> None:
    stream, clock = io.StringIO(), FakeClock()
    progress = JsonProgress(stream, interval=0.0, clock=clock)
    progress.start("train", 2)
    progress.advance(loss=float("nan"), kl=float("inf"))
    last = stream.getvalue().splitlines()[-1]
    assert "NaN" not in last
    assert json.loads(last)["metrics"] == {"loss": None, "kl": None}


def test_plain_progress_prints_at_most_one_line_per_interval() -> None:
    stream, clock = io.StringIO(), FakeClock()
    use(PlainProgress(stream, interval=4.0, clock=clock), clock)
    assert stream.getvalue().splitlines() == [
        "stage 3/9: policy",
        "train: 0/10 (0%)",
        "train: 4/10 (40%)  6.0 s left  loss 0.25",
        "train: 8/10 (80%)  2.0 s left  loss 0.125",
        "train: 10/10 (100%)  loss 0.1",
        "saved",
    ]


def test_plain_progress_does_not_repeat_itself_at_the_end() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, interval=0.0)
    progress.start("train", 1)
    progress.advance()
    progress.finish()
    assert stream.getvalue().splitlines() == ["train: 0/1 (0%)", "train: 1/1 (100%)"]


def test_rich_progress_prints_plain_lines_without_a_terminal() -> None:
    rich, plain_stream, clock = io.StringIO(), io.StringIO(), FakeClock()
    use(RichProgress(Console(file=rich), interval=4.0, clock=clock), clock)
    use(PlainProgress(plain_stream, interval=4.0, clock=clock), clock)
    assert rich.getvalue() == plain_stream.getvalue()


def test_rich_progress_draws_a_bar_with_counts_on_a_terminal() -> None:
    stream, clock = io.StringIO(), FakeClock()
    console = Console(file=stream, force_terminal=True, width=100, legacy_windows=False)
    use(RichProgress(console, clock=clock), clock)
    text = stream.getvalue()
    assert "10/10" in text
    assert "loss 0.1" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0  # the cursor comes back


def test_rich_progress_gives_the_terminal_back_when_the_job_is_cut() -> None:
    stream = io.StringIO()
    progress = RichProgress(Console(file=stream, force_terminal=True, legacy_windows=False))
    progress.start("train", 10)
    progress.finish()
    progress.finish()
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")


@pytest.mark.parametrize("make", [PlainProgress, JsonProgress])
def test_progress_goes_on_when_nobody_reads(make: type) -> None:
    use(make(ClosedPipe(), interval=0.0), FakeClock())


def test_advance_outside_a_job_is_harmless() -> None:
    stream = io.StringIO()
    PlainProgress(stream).advance(3)
    NullProgress().advance(3, loss=1.0)
    assert stream.getvalue() == ""


def test_make_progress_names_the_choices() -> None:
    assert isinstance(make_progress("json"), JsonProgress)
    assert isinstance(make_progress("none"), NullProgress)
    with pytest.raises(ConfigError, match="auto or plain or json or none"):
        make_progress("bar")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (59.4, "59 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_format_seconds_reads_well(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_format_bytes_reads_well() -> None:
    assert [format_bytes(n) for n in (0, 999, 1500, 2.5e9, 3e12)] == [
        *("0 B", "999 B", "1.5 kB", "2.5 GB", "3 TB"),
    ]


def test_plain_turns_arrays_and_non_finite_numbers_into_json() -> None:
    import numpy as np

    value = {
        "a": np.float32(0.5),
        "b": np.array([1.0, np.nan]),
        "c": ("x", [float("inf")]),
        3: True,
    }
    assert plain(value) == {"a": 0.5, "b": [1.0, None], "c": ["x", [None]], "3": True}
