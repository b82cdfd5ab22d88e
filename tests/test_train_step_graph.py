# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded steps: what is copied, when it is recorded, and that other devices notice nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diwa.train.metrics import MetricsLog
from diwa.train.progress import NullProgress
from diwa.train.run import StageContext, StopFlag
from diwa.train.step_graph import WARM_UP, StepGraph, Work, recorder_for, set_learning_rate
from diwa.train.team import Team
from diwa.train.world_model_stage import WorldModelStep, train_world_model
from learning_fixtures import pushing_dataset, tiny_experiment, tiny_world_model

CPU = torch.device("cpu")


class Tape:
    """Stands in for a graph: does the recorded work on the recorded memory, and into it."""

    def __init__(self) -> None:
        self.warmed = self.recorded = self.replayed = 0

    def warm_up(self, work: Work, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        self.warmed += 1
        return work(inputs)

    def record(
        self, work: Work, inputs: Sequence[Tensor]
    ) -> tuple[Callable[[], None], list[Tensor]]:
        self.recorded += 1
        results: list[Tensor] = [torch.full((2,), torch.nan)]

        def replay() -> None:
            self.replayed += 1
            results[0].copy_(work(inputs)[0])

        return replay, results


def test_steps_are_warmed_up_recorded_once_and_replayed() -> None:
    tape, seen = Tape(), []

    def work(inputs: Sequence[Tensor]) -> list[Tensor]:
        seen.append(inputs[0].data_ptr())
        return [inputs[0] * 2 + inputs[1]]

    graph = StepGraph(work, tape)
    for index in range(WARM_UP + 4):
        a, b = torch.full((2,), float(index)), torch.tensor([1.0, 2.0])
        (result,) = graph((a, b))
        assert result.tolist() == [2 * index + 1, 2 * index + 2]
    assert (tape.warmed, tape.recorded, tape.replayed) == (WARM_UP, 1, 4)
    assert len(set(seen[WARM_UP:])) == 1, "a recording reads the same memory every time"


def test_shapes_of_a_recording_must_not_change() -> None:
    graph = StepGraph(lambda inputs: [inputs[0] + 1], Tape())
    for _ in range(WARM_UP + 1):
        graph((torch.zeros(2),))
    with pytest.raises(AssertionError):
        graph((torch.zeros(3),))


def test_without_a_gpu_the_work_is_simply_done() -> None:
    assert recorder_for(True, CPU, []) is None
    graph = StepGraph(lambda inputs: [inputs[0] + 1], None)
    assert graph((torch.zeros(1),))[0].item() == 1


def _run(folder: Path, dataset, **changes: object) -> bytes:
    plain = tiny_experiment().world_model_training.model_dump()
    config = tiny_experiment(world_model_training={**plain, **changes})
    folder.mkdir()
    metrics = MetricsLog(folder)
    try:
        context = StageContext(folder, NullProgress(), metrics, StopFlag())
        train_world_model(context, dataset, config, CPU)
    finally:
        metrics.close()
    (path,) = (folder / "model").glob("weights-*.safetensors")
    return path.read_bytes()


def test_the_flag_changes_nothing_on_a_cpu(tmp_path: Path) -> None:
    dataset = pushing_dataset(tmp_path / "data", play=3)
    for windows in ("random", "consecutive"):
        plain = _run(tmp_path / f"{windows}-plain", dataset, windows=windows)
        graph = _run(tmp_path / f"{windows}-graph", dataset, windows=windows, graph=True)
        assert plain == graph


def test_learning_rate_of_a_recorded_step_is_changed_in_place() -> None:
    weight = torch.zeros(2, requires_grad=True)
    plain = torch.optim.AdamW([weight], lr=1.0)
    set_learning_rate(plain, 0.5, CPU)
    assert plain.param_groups[0]["lr"] == 0.5
    recorded = torch.optim.AdamW([weight], lr=1.0)
    recorded.param_groups[0]["capturable"] = True
    set_learning_rate(recorded, 0.5, CPU)
    place = recorded.param_groups[0]["lr"]
    set_learning_rate(recorded, 0.25, CPU)
    assert recorded.param_groups[0]["lr"] is place
    assert place.item() == 0.25


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_recorded_steps_learn_like_plain_ones_on_a_gpu(tmp_path: Path) -> None:
    from diwa.train.streams import RandomFeed
    from diwa.train.windows import WindowSampler

    dataset = pushing_dataset(tmp_path, play=3)
    device = torch.device("cuda")
    losses = []
    for graph in (False, True):
        plain = tiny_experiment().world_model_training
        settings = plain.model_copy(update={"graph": graph})
        model = tiny_world_model().to(device)
        generator = torch.Generator(device=device).manual_seed(1)
        step = WorldModelStep(model, settings, generator, Team())
        sampler = WindowSampler(dataset, ["play-0"], ["proprio", "scene_state"], 8)
        feed = RandomFeed(sampler, 4)
        draw, found = torch.Generator().manual_seed(2), []
        for index in range(3 * WARM_UP):
            set_learning_rate(step.optimiser, 1e-3, device)
            batch, before = feed.next(index, draw)
            figures, _ = step(batch.to(device), before)
            found.append(float(figures["loss"]))
        losses.append(found)
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
