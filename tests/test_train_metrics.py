# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics file: readable lines, exact resumption, TensorBoard beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diwa.train.metrics import MetricsLog, read_metrics


def steps(path: Path) -> list[int]:
    return [row["step"] for row in read_metrics(path)]


def test_log_writes_one_json_line_per_step(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False, clock=lambda: 12.5)
    log.log(3, loss=0.25, kl=np.array([0.5, np.nan]), success=torch.tensor(1.0))
    log.log(4, loss=float("inf"))
    assert log.path.read_text().splitlines() == [
        '{"step": 3, "time": 12.5, "loss": 0.25, "kl": [0.5, null], "success": 1.0}',
        '{"step": 4, "time": 12.5, "loss": null}',
    ]
    log.close()


def test_resume_drops_lines_beyond_the_resumed_step(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    for step in range(6):
        log.log(step, loss=step)
    log.resume(3)
    log.log(4, loss=40)
    log.close()
    assert [(row["step"], row["loss"]) for row in read_metrics(log.path)] == [
        *[(0, 0), (1, 1), (2, 2), (3, 3), (4, 40)],
    ]


def test_resume_from_nothing_empties_the_file(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    log.log(0, loss=1)
    log.resume(-1)
    assert read_metrics(log.path) == []


def test_a_line_cut_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "time": 1.0, "loss": 1.0}\n{"step": 1, "ti')
    assert steps(path) == [0]
    log = MetricsLog(tmp_path, tensorboard=False)
    log.log(1, loss=0.5)
    log.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1]


def test_lines_are_on_disk_before_close(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    log.log(0, loss=1)
    assert steps(log.path) == [0]
    log.close()


def test_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in range(4):
        log.log(step, loss=step, kl=[step, 2 * step])
    log.close()
    again = MetricsLog(tmp_path)
    again.resume(1)
    for step in (2, 3):
        again.log(step, loss=10 * step, kl=[0, 0])
    again.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "kl/0", "kl/1"}
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        *[(0, 0), (1, 1), (2, 20), (3, 30)],
    ]


def test_log_refuses_what_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        MetricsLog(tmp_path, tensorboard=False).log(0, loss=object())
