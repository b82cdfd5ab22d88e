# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's smoke profile: the whole chain, interrupted once and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diwa.data.dataset import Dataset
from diwa.train.summary import read_summary

STAGES = [
    *("play", "demos", "dataset", "world_model", "policy"),
    *("classifier", "gate", "finetune", "evaluate", "serve"),
]


def _start(run: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "diwa_ros.demo", "--profile", "smoke", "--run", str(run)]
    return subprocess.Popen(
        [*command, "--progress", "plain"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _interrupt_once_there(process: subprocess.Popen[str], path: Path) -> str:
    """SIGINT, twice as from a terminal, as soon as `path` exists."""
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=60)[0]


@pytest.mark.timeout(600)
def test_demo_does_the_whole_job_and_survives_interruptions(
    tmp_path: Path, ros_domain: int
) -> None:
    run = tmp_path / "run"
    environment = {**os.environ, "ROS_DOMAIN_ID": str(ros_domain)}
    for reached in ("play/teleop.log", "world_model/metrics.jsonl"):
        process = _start(run, environment)
        output = _interrupt_once_there(process, run / "stages" / reached)
        assert process.returncode == 130, output
        assert "Traceback" not in output
        assert "the same command goes on" in output
    process = _start(run, environment)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "play: complete before, skipped" in output

    summary = read_summary(run)
    assert summary is not None
    assert sorted(summary.stages) == sorted(STAGES)
    skill = summary.skills["open_drawer"]
    assert skill.simulator_steps == 0
    assert skill.episodes == 4
    assert summary.verdict.decision == "no claim"
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
    dataset = Dataset.open(run / "dataset")
    assert [e.kind for e in dataset.episodes].count("play") == 3
    assert sum(e.length for e in dataset.episodes if e.kind == "play") == 3 * 301

    # Over ROS the served policy does what the evaluation saw it do, start by start.
    served = json.loads((run / "stages" / "serve" / "served.json").read_text())["episodes"]
    evaluated = (run / "stages" / "evaluate" / "adapted.jsonl").read_text().splitlines()
    by_seed = {row["seed"]: row for row in map(json.loads, evaluated)}
    for episode in served:
        assert episode["steps"] == by_seed[episode["seed"]]["steps"]
        assert episode["success"] == by_seed[episode["seed"]]["success"]


@pytest.mark.timeout(60)
def test_demo_names_the_profiles_when_it_is_given_another(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "diwa_ros.demo", "--profile", "huge", "--run", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 2
    assert "demo, smoke" in result.stderr
    assert "Traceback" not in result.stderr
