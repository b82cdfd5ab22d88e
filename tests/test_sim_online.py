# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The simulator as an environment: the same episodes as the evaluation, and counted steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from diwa.agent import Agent
from diwa.data.contract import load_contract
from diwa.policy.actions import executable
from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.sim.evaluate import run_episode
from diwa.sim.online import SimulatorEnvironment
from diwa.sim.play_table import PlayTableEnv
from diwa.sim.pool import SimulatorPool
from diwa.train.run import Run
from learning_fixtures import pushing_dataset, tiny_experiment, tiny_world_model

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = load_contract(ROOT / "config" / "contracts" / "panda_calvin_lowdim.yaml")
TASK = "open_drawer"


@pytest.fixture(scope="module")
def pool():
    with SimulatorPool(CONTRACT, TASK, count=3, workers=2) as pool:
        yield pool


class Scripted:
    """Replays chunks; keeps what it is shown."""

    def __init__(self, actions: np.ndarray) -> None:
        self.actions = actions
        self.seen: list[dict[str, np.ndarray]] = []

    def reset(self, seed: int | None = None) -> None:
        self.seen.clear()

    def act(self, observation: dict[str, np.ndarray], previous_action: np.ndarray) -> np.ndarray:
        self.seen.append(observation)
        return self.actions[len(self.seen) - 1]


def test_pool_sees_what_the_evaluation_sees(pool: SimulatorPool) -> None:
    rng = np.random.default_rng(0)
    chunks = rng.uniform(-1, 1, (2, 3, 4, 7)).astype(np.float32)
    seeds = {0: 11, 1: 12, 2: 13}
    first = pool.reset(seeds)
    rows = [pool.execute(chunk) for chunk in chunks]
    env = PlayTableEnv()
    for table, seed in seeds.items():
        script = Scripted(chunks[:, table].reshape(8, 7))
        run_episode(env, script, TASK, seed, CONTRACT, 8)
        for key in ("proprio", "scene_state"):
            assert np.array_equal(script.seen[0][key], first[key][table])
            frames = np.concatenate([row.observation[key][table] for row in rows])
            expected = np.stack([seen[key] for seen in script.seen[1:]])
            assert np.array_equal(frames[:7], expected), key
    env.close()


def test_tables_can_begin_anew_one_by_one(pool: SimulatorPool) -> None:
    before = pool.reset({0: 1, 1: 2, 2: 3})
    again = pool.reset({1: 7})
    assert len(again["proprio"]) == 1
    fresh = pool.reset({2: 7, 0: 3})
    assert np.array_equal(fresh["proprio"][0], again["proprio"][0])
    assert np.array_equal(fresh["proprio"][1], before["proprio"][2])


def test_environment_filters_counts_and_cuts(pool: SimulatorPool) -> None:
    model = tiny_world_model(classes=1).eval()
    environment = SimulatorEnvironment(pool, model, max_chunks=2, first_seed=50)
    generator = torch.Generator().manual_seed(0)
    start = environment.reset(generator)
    chunk = executable(torch.rand(3, 4, 7, generator=generator) * 2 - 1)
    first = environment.step(chunk, generator)
    assert environment.steps == 12
    assert not bool(first.truncated.any()) and torch.equal(first.latent, first.final_latent)
    second = environment.step(chunk, generator)
    assert bool(second.truncated.all()) and environment.steps == 24
    assert not torch.equal(second.latent, second.final_latent)
    assert environment.state() == {"steps": 24, "next_seed": 56}
    again = SimulatorEnvironment(pool, model, max_chunks=2, first_seed=0)
    again.load({"steps": 0, "next_seed": 50})
    assert torch.equal(again.reset(generator), start)
    repeated = again.step(chunk, generator)
    assert torch.equal(repeated.final_latent, first.final_latent)


def test_latents_are_those_of_the_agent_that_is_served(pool: SimulatorPool) -> None:
    model = tiny_world_model(classes=1).eval()
    torch.manual_seed(0)
    policy = DiffusionPolicy(PolicyConfig(hidden=16, steps=4, finetune_steps=2), model.config.feat)
    meta = {"contract": CONTRACT.model_dump(mode="json"), "task": TASK}
    agent = Agent(model, policy, torch.nn.Identity(), meta)  # type: ignore[arg-type]
    environment = SimulatorEnvironment(pool, model, max_chunks=9, first_seed=70)
    generator = torch.Generator().manual_seed(0)
    environment.reset(generator)
    chunk = executable(torch.rand(3, 4, 7, generator=generator) * 2 - 1)
    latent = environment.step(chunk, generator).final_latent
    frames = pool.reset({0: 70, 1: 71, 2: 72})
    executed = pool.execute(chunk.numpy())
    for table in range(3):
        agent.reset(0)
        agent.observe({k: v[table] for k, v in frames.items()}, np.zeros(7, dtype=np.float32))
        for step in range(4):
            seen = {k: v[table, step] for k, v in executed.observation.items()}
            agent.observe(seen, executed.action[table, step])
        torch.testing.assert_close(agent._state.feat[0], latent[table])


def test_online_stage_comes_after_the_offline_ones_and_counts_its_steps(tmp_path: Path) -> None:
    pushing_dataset(tmp_path / "data")
    online = {"tables": 2, "workers": 1, "iterations": 2, "chunks": 2, "eval_every": 1}
    config = tiny_experiment(online={**online, "judge_rounds": 1})
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    where = ["--config", "tiny.yaml", "--data", "data", "--run", "run", "--progress", "none"]
    command = [sys.executable, "-m", "diwa.cli", "train", *where]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    run = Run(tmp_path / "run")
    result = run.done("online").result
    steps = [point[0] for point in result["curve"]]
    assert steps[0] == 0 and result["simulator_steps"] == steps[-1] > 0
    assert result["steps_to_match"] in (None, *steps)
    assert run.done("finetune").result["simulator_steps"] == 0
