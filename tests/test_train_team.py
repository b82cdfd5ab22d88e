# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes, one world model: the same gradients, the same weights, exact resuming."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from diwa.errors import ConfigError
from diwa.train.run import Run
from diwa.train.team import Team
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


def _members() -> list[dict[str, str]]:
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
    members = [subprocess.Popen(command, env={**os.environ, **it}) for it in _members()]
    return [process.wait(200) for process in members]


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


@pytest.mark.timeout(600)
def test_interrupted_team_ends_with_the_same_weights(tmp_path: Path) -> None:
    pushing_dataset(tmp_path / "data")
    plain = tiny_experiment(referee={"steps": 6}, save_every_s=1e-3).model_dump(mode="json")
    # Windows whose state is carried along: that of all processes must survive.
    plain["world_model_training"] |= {"steps": 40, "windows": "consecutive"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(plain))

    def words(run: str) -> list[str]:
        where = ["--config", tmp_path / "tiny.yaml", "--data", tmp_path / "data"]
        where += ["--run", tmp_path / run, "--until", "referee_world_model"]
        return ["train", *map(str, where), "--progress", "none"]

    assert _run_together([sys.executable, "-m", "diwa.cli", *words("whole")]) == [0, 0]
    team = [start_diwa(words("cut"), it) for it in _members()]
    state = tmp_path / "cut" / "stages" / "world_model" / "state"
    deadline = time.monotonic() + 120
    while not state.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    team[0].terminate()
    assert [wait_for(process, 60) for process in team] == [130, 130]
    team = [start_diwa(words("cut"), it) for it in _members()]
    assert [wait_for(process, 200) for process in team] == [0, 0]
    for stage in ("world_model", "referee_world_model"):
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
