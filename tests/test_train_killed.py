# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`kill -9` in every learning stage: the same command ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import yaml

from diwa.train.run import Run
from forks import start_diwa, wait_for
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


def _words(folder: Path, run: str, until: str = "finetune") -> list[str]:
    where = ["--config", folder / "tiny.yaml", "--data", folder / "data", "--run", folder / run]
    return ["train", *map(str, where), "--until", until, "--progress", "none"]


def _run_whole(folder: Path, run: str, until: str = "finetune") -> int:
    """The command itself; sets are ordered in another way than in the forks."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "diwa.cli", *_words(folder, run, until)]
    return subprocess.run(command, env=environment, timeout=PATIENCE_S, check=False).returncode


def _weights(run: Run, stage: str) -> bytes:
    (path,) = (run.stage_dir(stage) / "model").glob("weights-*.safetensors")
    return path.read_bytes()


def _saved_twice(path: Path, process: BaseProcess) -> None:
    """Wait until the stage's state has been replaced: it is in the middle of its work."""
    deadline = time.monotonic() + PATIENCE_S
    first = None
    while time.monotonic() < deadline:
        assert process.exitcode is None, f"{path} was never saved in the middle"
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
    assert _run_whole(tmp_path, "whole") == 0
    for stage in STAGES:
        process = start_diwa(_words(tmp_path, "killed"))
        _saved_twice(tmp_path / "killed" / "stages" / stage / "state", process)
        process.kill()
        process.join()
        assert Run(tmp_path / "killed").done(stage) is None, "killed too late to prove anything"
    assert wait_for(start_diwa(_words(tmp_path, "killed")), PATIENCE_S) == 0
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    for stage in STAGES:
        assert _weights(killed, stage) == _weights(whole, stage), stage


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("world_model", {"world_model_training": {"windows": "consecutive", "reset_rate": 0.1}}),
        ("online", {"online": {"tables": 2, "workers": 1, "iterations": 12, "chunks": 2}}),
    ],
)
def test_killed_stage_goes_on_with_what_else_it_carries(
    stage: str, changes: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    """States from window to window; seeds and steps of simulated tables."""
    pushing_dataset(tmp_path / "data")
    plain = tiny_experiment(save_every_s=1e-3).model_dump(mode="json")
    plain["world_model_training"]["steps"] = 30
    for section, values in changes.items():
        plain[section] = {**(plain[section] or {}), **values}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(plain))
    assert _run_whole(tmp_path, "whole", stage) == 0
    process = start_diwa(_words(tmp_path, "killed", stage))
    _saved_twice(tmp_path / "killed" / "stages" / stage / "state", process)
    process.kill()
    process.join()
    assert Run(tmp_path / "killed").done(stage) is None, "killed too late to prove anything"
    assert wait_for(start_diwa(_words(tmp_path, "killed", stage)), PATIENCE_S) == 0
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    assert _weights(killed, stage) == _weights(whole, stage)
    assert killed.done(stage).result == whole.done(stage).result
