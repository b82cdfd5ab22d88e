# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes, one world model: the same gradients, the same weights, exact resuming."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import yaml

from diwa.errors import ConfigError
from diwa.train import pipeline
from diwa.train.metrics import MetricsLog
from diwa.train.progress import NullProgress
from diwa.train.run import Run, StageContext
from diwa.train.stop import Interrupted, StopFlag
from diwa.train.team import Team, own_device
from forks import start_diwa, wait_for
from learning_fixtures import ROOT, pushing_dataset, tiny_experiment, tiny_world_model

GRADIENTS = """
import sys
sys.path.insert(0, sys.argv[1])
from test_train_team import losses
from diwa.train.team import Team
import torch
team = Team.join(torch.device("cpu"))
model, parts = losses(team)
parts[team.rank]().backward()
torch.save({n: p.grad for n, p in model.named_parameters()}, f"{sys.argv[2]}/{team.rank}.pt")
team.leave()
"""


def losses(team: Team):
    """The same model in every process, and the losses of the two halves of a batch."""
    from learning_fixtures import random_observation

    model = tiny_world_model()
    wrapped = team.wrap(_Loss(model))

    def part(rank: int):
        observation = random_observation(3, 5, seed=rank)
        generator = torch.Generator().manual_seed(10 + rank)
        action = torch.randn(3, 5, 7, generator=generator)
        first = torch.zeros(3, 5, dtype=torch.bool)
        first[:, 0] = True
        return lambda: wrapped(observation, action, first, generator)

    return model, [part(0), part(1)]


class _Loss(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: object) -> torch.Tensor:
        return self.model.loss(*arguments).total


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def members() -> list[dict[str, str]]:
    """Variables of two processes that know of each other, as torchrun sets them."""
    common = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": "1",
    }
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]


def _run_together(command: list[str]) -> list[int]:
    """Exit codes of the command in two processes."""
    team = [subprocess.Popen(command, env={**os.environ, **it}) for it in members()]
    return [process.wait(200) for process in team]


@pytest.mark.timeout(300)
def test_two_processes_have_the_gradients_of_the_joint_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", GRADIENTS, str(ROOT / "tests"), str(tmp_path)]
    assert _run_together(command) == [0, 0]
    model, parts = losses(Team())
    ((parts[0]() + parts[1]()) / 2).backward()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, msg=f"{rank} {name}")


def _terminate_all(team: list[BaseProcess]) -> None:
    """As torchrun does when it is told to stop."""
    for process in team:
        process.terminate()


@pytest.mark.timeout(600)
def test_interrupted_team_ends_with_the_same_weights(tmp_path: Path) -> None:
    pushing_dataset(tmp_path / "data")
    plain = tiny_experiment(referee={"steps": 6}, save_every_s=1e-3).model_dump(mode="json")
    # Windows whose state is carried along: that of all processes must survive.
    plain["world_model_training"] |= {"steps": 40, "windows": "consecutive"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(plain))
    cuts: list[tuple[str, Callable[[list[BaseProcess]], None], list[int]]] = [
        ("world_model", _terminate_all, [130, 130]),
        ("referee_world_model", lambda team: team[1].kill(), [2, -9]),
    ]

    def words(run: str) -> list[str]:
        where = ["--config", tmp_path / "tiny.yaml", "--data", tmp_path / "data"]
        where += ["--run", tmp_path / run, "--until", "referee_world_model"]
        return ["train", *map(str, where), "--progress", "none"]

    assert _run_together([sys.executable, "-m", "diwa.cli", *words("whole")]) == [0, 0]
    for stage, cut, codes in cuts:
        team = [start_diwa(words("cut"), it) for it in members()]
        state = tmp_path / "cut" / "stages" / stage / "state"
        deadline = time.monotonic() + 120
        while not state.exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        cut(team)
        assert [wait_for(process, 60) for process in team] == codes, stage
    team = [start_diwa(words("cut"), it) for it in members()]
    assert [wait_for(process, 200) for process in team] == [0, 0]
    for stage, _, _ in cuts:
        weights = [
            next((Run(tmp_path / run).stage_dir(stage) / "model").glob("weights-*")).read_bytes()
            for run in ("whole", "cut")
        ]
        assert weights[0] == weights[1], stage


def test_batch_that_cannot_be_shared_is_a_clear_error() -> None:
    assert Team(0, 2).share(50) == 25
    with pytest.raises(ConfigError, match="batch of 50"):
        Team(0, 3).share(50)


def test_random_numbers_differ_between_processes_and_steps() -> None:
    seeds = {Team(rank, 4).seed(42, step) for rank in range(4) for step in range(100)}
    assert len(seeds) == 400


class Choice(NamedTuple):
    """What a process of a team of two does with the GPUs before it trains."""

    calls: list[tuple[str, object]]
    devices: list[torch.device]


def _two_gpus(monkeypatch: pytest.MonkeyPatch, rank: int, size: int = 2) -> Choice:
    """A made-up machine with two GPUs, as one of the processes sees it."""
    seen = Choice([], [])

    def join(backend: str) -> None:
        seen.calls.append(("init_process_group", backend))

    def follow(team: Team, dataset: object, config: object, device: torch.device) -> int:
        seen.devices.append(device)
        return 0

    def stages(run: object, dataset: object, config: object, device: torch.device, team: Team):
        seen.devices.append(device)
        raise KeyboardInterrupt

    monkeypatch.setenv("WORLD_SIZE", str(size))
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda it: seen.calls.append(("set_device", it)))
    monkeypatch.setattr(dist, "init_process_group", join)
    monkeypatch.setattr(dist, "new_group", lambda **options: None)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    monkeypatch.setattr(dist, "broadcast_object_list", lambda *arguments, **options: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(pipeline, "_follow", follow)
    monkeypatch.setattr(pipeline, "learning_stages", stages)
    return seen


def _train_arguments(folder: Path, device: str) -> argparse.Namespace:
    pushing_dataset(folder / "data")
    plain = tiny_experiment(device=device).model_dump(mode="json")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain))
    return argparse.Namespace(
        config=folder / "tiny.yaml",
        data=folder / "data",
        run=folder / "run",
        overrides=[],
        until=None,
        progress="none",
    )


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.parametrize("rank", [0, 1])
def test_process_works_on_its_own_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, rank: int
) -> None:
    arguments = _train_arguments(tmp_path, name)
    seen = _two_gpus(monkeypatch, rank)
    with suppress(KeyboardInterrupt):
        pipeline.main_train(arguments)
    assert seen.calls[:2] == [("set_device", rank), ("init_process_group", "nccl")]
    assert seen.devices == [torch.device("cuda", rank)]


def test_gpu_that_is_missing_or_shared_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _two_gpus(monkeypatch, rank=2, size=3)
    with pytest.raises(ConfigError, match="no GPU 2 for this process"):
        own_device(torch.device("cuda"))
    with pytest.raises(ConfigError, match="cannot share one GPU"):
        own_device(torch.device("cuda:0"))
    assert own_device(torch.device("cpu")) == torch.device("cpu")


def test_gpu_that_is_named_is_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _two_gpus(monkeypatch, rank=0, size=1)
    run = Run(tmp_path)
    for name in ("cuda:1", "cuda"):
        assert pipeline.prepare_run(run, tiny_experiment(device=name)) == torch.device(name)
    assert seen.calls == [("set_device", 1)]
    with pytest.raises(ConfigError, match="no GPU 2"):
        pipeline.prepare_run(run, tiny_experiment(device="cuda:2"))


@pytest.mark.parametrize("stop", [False, True])
def test_gpu_finishes_the_step_before_its_process_leaves(
    monkeypatch: pytest.MonkeyPatch, stop: bool
) -> None:
    waits: list[bool] = []

    def hear(box: list[object], source: int, group: object) -> None:
        box[0] = stop

    monkeypatch.setattr(dist, "broadcast_object_list", hear)
    monkeypatch.setattr(dist, "get_backend", lambda: "nccl")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(True))
    assert Team(1, 2).agree(False) is stop
    assert waits == [True] * stop


def test_error_of_this_process_stays_what_it_is() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), Team(1, 2).together():
        raise Interrupted("SIGTERM")


class _Speaker(Team):
    """A leader that remembers what it announced, to nobody."""

    def __init__(self) -> None:
        super().__init__(0, 2)
        self.orders: list[dict[str, Any]] = []

    def announce(self, order: Mapping[str, Any]) -> None:
        self.orders.append(dict(order))


def test_every_world_model_is_trained_by_the_team(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, Team | None]] = []

    def train(context: object, data: object, config: Any, device: object, team: Team | None = None):
        trained.append((config.seed, team))
        return {}

    monkeypatch.setattr(pipeline, "train_world_model", train)
    config = tiny_experiment(referee={"seed": 99})
    dataset, team, run = pushing_dataset(tmp_path / "data"), _Speaker(), Run(tmp_path / "run")
    stages = pipeline.learning_stages(run, dataset, config, torch.device("cpu"), team)
    for stage in stages:
        if stage.name.endswith("world_model"):
            folder = run.stage_dir(stage.name)
            stage.run(StageContext(folder, NullProgress(), MetricsLog(folder), StopFlag()))
    assert trained == [(config.seed, team), (config.seed + 99, team)]
    assert [it["stage"] for it in team.orders] == ["world_model", "referee_world_model"]
