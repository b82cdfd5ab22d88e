# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`kill -9` in every learning stage: the same command ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from diwa.train.run import Run
from learning_fixtures import pushing_dataset, tiny_experiment

STAGES = (
    "world_model",
    "policy",
    "classifier",
    "referee_world_model",
    "referee_classifier",
    "finetune",
)
PATIENCE_S = 120


def _command(folder: Path, run: str) -> list[str]:
    where = ["--config", "tiny.yaml", "--data", "data", "--run", run, "--until", "finetune"]
    return [sys.executable, "-m", "diwa.cli", "train", *where, "--progress", "none"]


def _start(folder: Path, run: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(_command(folder, run), cwd=folder, env=environment)


def _weights(run: Run, stage: str) -> bytes:
    (path,) = (run.stage_dir(stage) / "model").glob("weights-*.safetensors")
    return path.read_bytes()


def _saved_twice(path: Path, process: subprocess.Popen) -> None:
    """Wait until the stage's state has been replaced: it is in the middle of its work."""
    deadline = time.monotonic() + PATIENCE_S
    first = None
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{path} was never saved in the middle"
        try:
            now = path.stat().st_ino
        except FileNotFoundError:
            now = None
        if first is None:
            first = now
        elif now is not None and now != first:
            return
        time.sleep(0.002)
    raise AssertionError(f"{path}: not saved within {PATIENCE_S} s")


@pytest.mark.timeout(600)
def test_killed_stages_end_with_the_weights_of_an_undisturbed_run(tmp_path: Path) -> None:
    pushing_dataset(tmp_path / "data")
    plain = tiny_experiment(referee={}, save_every_s=1e-3).model_dump(mode="json")
    for section in ("world_model_training", "policy_training", "classifier_training"):
        plain[section]["steps"] = 30
    plain["ppo"] |= {"iterations": 12, "warmup_iterations": 3}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(plain))
    assert _start(tmp_path, "whole").wait(PATIENCE_S) == 0
    for stage in STAGES:
        process = _start(tmp_path, "killed")
        _saved_twice(tmp_path / "killed" / "stages" / stage / "state", process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert Run(tmp_path / "killed").done(stage) is None, "killed too late to prove anything"
    assert _start(tmp_path, "killed").wait(PATIENCE_S) == 0
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    for stage in STAGES:
        assert _weights(killed, stage) == _weights(whole, stage), stage
