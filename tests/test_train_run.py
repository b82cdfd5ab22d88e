# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Running stages: skipping, resuming, accounting, stopping, one process per folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diwa.errors import ConfigError
from diwa.files import read_json, write_json
from diwa.train.memory import PeakMemory
from diwa.train.metrics import read_metrics
from diwa.train.progress import NullProgress
from diwa.train.run import Interrupted, Run, Stage, StageContext, StopFlag, run_stages
from diwa.train.stop import stop_on_signals

SOURCE = Path(__file__).resolve().parents[1] / "src" / "diwa_ros"


class Clock:
    """Time that moves only when a stage works."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Counter:
    """A stage that counts to `total`, one second a step, and can be cut at any step."""

    def __init__(self, total: int, clock: Clock | None = None) -> None:
        self.total = total
        self.clock = clock if clock is not None else Clock()
        self.calls = 0
        self.stop_at: int | None = None
        self.fail_at: int | None = None

    def __call__(self, context: StageContext) -> dict[str, float]:
        self.calls += 1
        state = context.directory / "state.json"
        count = read_json(state)["count"] if context.resumed and state.exists() else 0
        context.metrics.resume(count - 1)
        context.progress.start("count", self.total, count)
        while count < self.total:
            context.metrics.log(count, value=count)
            self.clock.now += 1.0
            count += 1
            if count == self.fail_at:
                raise RuntimeError("broken")
            write_json(state, {"count": count})
            if count == self.stop_at:
                context.stop.set("test")
            if context.stop and count < self.total:
                raise Interrupted("saved")
        return {"count": count}


def test_stages_run_in_order_and_are_skipped_when_done(tmp_path: Path) -> None:
    run, first, second = Run(tmp_path), Counter(2), Counter(3)
    stages = [Stage("first", "a", first), Stage("second", "b", second)]
    records = run_stages(run, stages)
    assert {name: record.result for name, record in records.items()} == {
        "first": {"count": 2},
        "second": {"count": 3},
    }
    assert run_stages(run, stages) == records
    assert (first.calls, second.calls) == (1, 1)
    done = read_json(run.stage_dir("second") / "done.json")
    assert {"fingerprint", "seconds", "peak_memory_bytes", "result"} <= done.keys()


def test_until_runs_up_to_and_including(tmp_path: Path) -> None:
    first, second = Counter(1), Counter(1)
    stages = [Stage("first", "a", first), Stage("second", "b", second)]
    assert list(run_stages(Run(tmp_path), stages, until="first")) == ["first"]
    assert second.calls == 0
    with pytest.raises(ConfigError, match=r"(?s)third.*first or second"):
        run_stages(Run(tmp_path), stages, until="third")


def test_a_changed_fingerprint_starts_in_an_empty_folder_and_keeps_the_old(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run_stages(run, [Stage("count", "a", Counter(2))])
    seen: list[tuple[bool, list[str]]] = []

    def look(context: StageContext) -> dict[str, float]:
        names = [path.name for path in context.directory.iterdir()]
        seen.append((context.resumed, names))
        return {}

    run_stages(run, [Stage("count", "b", look)])
    assert seen == [(False, ["parts.json"])]
    assert read_json(tmp_path / "replaced" / "count" / "state.json") == {"count": 2}
    record = run.done("count")
    assert record is not None
    assert record.fingerprint == "b"


def test_seconds_are_exact_over_cut_and_failed_parts(tmp_path: Path) -> None:
    clock = Clock()
    counter = Counter(10, clock)
    stages = [Stage("count", "a", counter)]
    counter.stop_at = 3
    with pytest.raises(Interrupted):
        run_stages(Run(tmp_path), stages, clock=clock)
    assert Run(tmp_path).done("count") is None
    clock.now += 1000.0  # a night in between does not count
    counter.stop_at, counter.fail_at = None, 6
    with pytest.raises(RuntimeError, match="broken"):
        run_stages(Run(tmp_path), stages, clock=clock)
    counter.fail_at = None
    record = run_stages(Run(tmp_path), stages, clock=clock)["count"]
    assert record.seconds == pytest.approx(3.0 + 3.0 + 5.0)  # step 6 was done twice
    parts = read_json(Run(tmp_path).stage_dir("count") / "parts.json")["parts"]
    assert [part["end"] for part in parts] == ["interrupted", "failed", "done"]


def test_a_cut_stage_resumes_its_metrics_without_doubles(tmp_path: Path) -> None:
    counter = Counter(6)
    counter.stop_at = 4
    stages = [Stage("count", "a", counter)]
    with pytest.raises(Interrupted):
        run_stages(Run(tmp_path), stages)
    counter.stop_at = None
    run_stages(Run(tmp_path), stages)
    rows = read_metrics(Run(tmp_path).stage_dir("count") / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(6))


def test_a_flag_set_before_the_run_runs_nothing(tmp_path: Path) -> None:
    counter, stop = Counter(1), StopFlag()
    stop.set("early")
    with pytest.raises(Interrupted, match="early"):
        run_stages(Run(tmp_path), [Stage("count", "a", counter)], stop=stop)
    assert counter.calls == 0


def test_progress_is_finished_when_a_stage_fails(tmp_path: Path) -> None:
    finished: list[str] = []

    class Spy(NullProgress):
        def finish(self) -> None:
            finished.append("finish")

    counter = Counter(3)
    counter.fail_at = 2
    with pytest.raises(RuntimeError):
        run_stages(Run(tmp_path), [Stage("count", "a", counter)], Spy())
    assert finished


def test_results_that_are_not_finite_do_not_lose_a_stage(tmp_path: Path) -> None:
    stage = Stage("gate", "a", lambda context: {"auc": float("nan"), "mse": np.float32(0.5)})
    assert run_stages(Run(tmp_path), [stage])["gate"].result == {"auc": None, "mse": 0.5}


@pytest.mark.parametrize("text", ["{", "[]", '{"fingerprint": "a"}', '{"seconds": "x"}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = Run(tmp_path).stage_dir("count") / "done.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"done\.json"):
        run_stages(Run(tmp_path), [Stage("count", "a", Counter(1))])


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.locked(), pytest.raises(ConfigError, match=rf"(?s)another process.*{os.getpid()}"):
        run_stages(Run(tmp_path), [Stage("count", "a", Counter(1))])
    run_stages(run, [Stage("count", "a", Counter(1))])  # free again


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from diwa.train.run import Run
        with Run(Path(sys.argv[1])).locked():
            print("locked", flush=True)
            sys.stdin.read()
    """
    child = start(script, tmp_path, stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    with pytest.raises(ConfigError, match=str(child.pid)), Run(tmp_path).locked():
        pass
    child.kill()
    child.communicate()
    assert str(child.pid) in (tmp_path / "lock").read_text()  # stale, and in nobody's way
    with Run(tmp_path).locked():
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_run_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be a run folder"):
        run_stages(Run(tmp_path / "file"), [])


STAGE_SCRIPT = """
    import sys
    from pathlib import Path
    import numpy as np, torch
    from diwa.train.progress import JsonProgress
    from diwa.train.run import Interrupted, Run, Stage, run_stages
    from diwa.train.state import load_state, rng_state, save_state, set_rng_state

    def work(context):
        path, rng, total, step = context.directory / "state", np.random.default_rng(7), 0.0, 0
        if context.resumed and path.exists():
            state = load_state(path)
            set_rng_state(state["rng"], rng=rng)
            total, step = state["total"], state["step"]
        context.metrics.resume(step - 1)
        context.progress.start("sum", 400, step)
        while step < 400:
            total += float(rng.normal(size=2000).sum())
            context.metrics.log(step, total=total)
            step += 1
            context.progress.advance()
            if sys.argv[2] == "wait" and step == 150:
                context.progress.message("waiting")
                while not context.stop:
                    pass
            if context.stop:
                context.progress.message("saving")
                if sys.argv[2] == "wait":
                    sys.stdin.readline()  # the second signal comes while we save
                save_state(path, {"rng": rng_state(rng=rng), "total": total, "step": step,
                                  "weights": torch.zeros(1000, 1000)})
                raise Interrupted
        return {"total": total}

    try:
        run_stages(Run(Path(sys.argv[1])), [Stage("sum", "a", work)], JsonProgress(interval=0.0))
    except Interrupted:
        sys.exit(130)
"""


def start(script: str, path: Path, mode: str = "", **options: Any) -> subprocess.Popen[str]:
    """The script in a process of its own, with `path` and `mode` as arguments."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path), mode],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_for(child: subprocess.Popen[str], text: str) -> None:
    """Read the child's progress until it says `text`."""
    assert child.stdout is not None
    for line in child.stdout:
        if json.loads(line).get("text") == text:
            return
    raise AssertionError(f"the child ended before it said {text!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_the_next_run_ends_as_if_never_cut(
    tmp_path: Path, number: signal.Signals
) -> None:
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = start(STAGE_SCRIPT, tmp_path / "cut", "wait", **pipes)
    wait_for(child, "waiting")
    child.send_signal(number)
    wait_for(child, "saving")
    child.send_signal(number)  # impatient, while it saves
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate("\n")
    assert child.returncode == 130
    assert "Traceback" not in errors
    assert errors.count("stopping: saving") == 1
    assert "still saving" in errors
    for name in ("cut", "straight"):
        child = start(STAGE_SCRIPT, tmp_path / name)
        child.communicate()
        assert child.returncode == 0
    cut, straight = Run(tmp_path / "cut"), Run(tmp_path / "straight")
    assert cut.done("sum").result == straight.done("sum").result  # type: ignore[union-attr]
    strip = [
        [
            (row["step"], row["total"])
            for row in read_metrics(run.stage_dir("sum") / "metrics.jsonl")
        ]
        for run in (cut, straight)
    ]
    assert strip[0] == strip[1]
    assert len(strip[0]) == 400


def test_a_killed_part_is_still_accounted_for(tmp_path: Path) -> None:
    child = start(STAGE_SCRIPT, tmp_path, "wait", stdin=subprocess.PIPE)
    wait_for(child, "waiting")
    child.kill()
    child.communicate()
    parts = read_json(tmp_path / "stages" / "sum" / "parts.json")["parts"]
    assert [part["end"] for part in parts] == ["killed"]
    torn = tmp_path / "stages" / "sum" / ".state.abc.tmp"
    torn.write_text("half of it")
    child = start(STAGE_SCRIPT, tmp_path)
    child.communicate()
    assert child.returncode == 0
    parts = read_json(tmp_path / "stages" / "sum" / "parts.json")["parts"]
    assert [part["end"] for part in parts] == ["killed", "done"]
    assert not torn.exists()


def test_signal_handlers_are_put_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with stop_on_signals(StopFlag()) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.reason == "SIGTERM"
    assert {number: signal.getsignal(number) for number in before} == before


def test_an_ignored_signal_stays_ignored() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals(StopFlag()) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_stages_run_outside_the_main_thread(tmp_path: Path) -> None:
    thread = threading.Thread(
        target=run_stages, args=(Run(tmp_path), [Stage("count", "a", Counter(1))])
    )
    thread.start()
    thread.join()
    assert Run(tmp_path).done("count") is not None


def test_peak_memory_sees_a_short_spike() -> None:
    with PeakMemory(interval=60.0) as idle:
        pass
    with PeakMemory(interval=60.0) as busy:  # no sample falls into the spike
        spike = np.ones(80_000_000 // 8)
        del spike
    assert busy.bytes - idle.bytes > 60_000_000


def test_peak_memory_includes_children() -> None:
    script = "x = bytearray(b'1') * 90_000_000; print('ready', flush=True); input()"
    sampled = threading.Event()
    with PeakMemory(interval=60.0) as alone:
        pass
    with PeakMemory(interval=0.01, on_sample=sampled.set) as both:
        command = [sys.executable, "-c", script]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            for _ in range(2):  # the first may have begun before
                sampled.clear()
                assert sampled.wait(30.0)
            child.communicate("\n")
    assert both.bytes - alone.bytes > 80_000_000
