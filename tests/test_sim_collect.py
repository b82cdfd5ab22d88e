# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Datasets straight from the simulator: exact, resumable, and what recording would give."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from diwa import cli
from diwa.data.contract import load_contract
from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.sim.collect import CollectConfig, collect_dataset
from diwa.sim.evaluate import raw_observation
from diwa.sim.play_table import PlayTableEnv
from diwa.sim.tasks import task_succeeded
from diwa.train.stop import Interrupted, StopFlag

CONTRACT_FILE = Path(__file__).resolve().parents[1] / "config/contracts/panda_calvin_lowdim.yaml"
CONTRACT = load_contract(CONTRACT_FILE)
SMALL = CollectConfig(
    play_episodes=2, play_steps=40, skills=("open_drawer", "turn_on_led"), demos=2, seed=3
)


class _StopAfter(StopFlag):
    """Stops a job after so many looks at the flag."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            self.set("test")
        super().check()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return collect_dataset(tmp_path_factory.mktemp("collected"), CONTRACT, SMALL)


def test_demonstrations_end_in_success_and_play_has_the_wanted_length(dataset: Dataset) -> None:
    assert [e.length for e in dataset.episodes if e.kind == "play"] == [41, 41]
    for task in SMALL.skills:
        demos = [e for e in dataset.episodes if e.task == task]
        assert len(demos) == 2
        for demo in demos:
            scene = dataset.array(demo.id, "scene_state")
            solved = [bool(task_succeeded(task, scene[0], row)) for row in scene]
            assert not solved[0] and solved[-1]
            assert solved.index(True) >= demo.length - 1 - SMALL.linger - 1


def test_actions_lead_from_each_frame_to_the_next(dataset: Dataset) -> None:
    env = PlayTableEnv()
    env.reset(seed=SMALL.seed)
    proprio = dataset.array("play_0000", "proprio")
    action = dataset.array("play_0000", "action")
    assert proprio[0, 17] == CONTRACT.action.neutral[6]
    assert np.array_equal(proprio[1:, 17], action[:-1, 6])
    for step in range(SMALL.play_steps):
        observation, *_ = env.step(action[step])
        raw = raw_observation(env, observation, CONTRACT)
        assert np.allclose(proprio[step + 1, :3], raw["ee_pose"][:3], atol=1e-6), step
    env.close()


def test_workers_make_the_same_dataset(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):  # workers end with the job
        collect_dataset(tmp_path, CONTRACT, SMALL, stop=_StopAfter(1), workers=2)
    more = SMALL.model_copy(update={"play_episodes": 3})
    made = collect_dataset(tmp_path, CONTRACT, more, workers=2)
    for name in ("play_0000", "play_0001"):
        for key in ("proprio", "scene_state", "action"):
            assert np.array_equal(made.array(name, key), dataset.array(name, key))
    assert not multiprocessing.active_children()


def test_interrupted_collection_ends_with_the_same_arrays(dataset: Dataset, tmp_path: Path) -> None:
    for looks in (1, 3):  # in play, in demonstrations
        with pytest.raises(Interrupted):
            collect_dataset(tmp_path, CONTRACT, SMALL, stop=_StopAfter(looks))
    again = collect_dataset(tmp_path, CONTRACT, SMALL)
    assert again.hash == dataset.hash
    for episode in dataset.episodes:
        for key in ("proprio", "scene_state", "action"):
            assert np.array_equal(again.array(episode.id, key), dataset.array(episode.id, key))


def test_hopeless_demonstrations_are_a_clear_error(tmp_path: Path) -> None:
    hopeless = SMALL.model_copy(update={"play_episodes": 0, "demo_noise": 30.0})
    with pytest.raises(ConfigError, match="open_drawer failed"):
        collect_dataset(tmp_path, CONTRACT, hopeless)


def test_command_line_takes_settings(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    where = ["dataset", "simulate", "--contract", str(CONTRACT_FILE), "--out", str(tmp_path / "d")]
    settings = ["play_episodes=1", "play_steps=5", "demos=0", "--progress", "none"]
    assert cli.main([*where, *settings]) == 0
    assert "1 episodes, 6 frames" in capsys.readouterr().out
    assert cli.main([*where, "plays=1"]) == 2
    assert "plays" in capsys.readouterr().err
    assert cli.main([*where, "skills=[fly]"]) == 2
