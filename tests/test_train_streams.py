# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Consecutive windows: every frame in turn, borders where episodes really begin, state carried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.train.experiment import ExperimentConfig, WorldModelTraining
from diwa.train.metrics import MetricsLog
from diwa.train.progress import NullProgress
from diwa.train.run import Interrupted, StageContext, StopFlag
from diwa.train.streams import StreamFeed, StreamSampler
from diwa.train.team import Team
from diwa.train.windows import gripper_entry
from diwa.train.world_model_stage import train_world_model
from diwa.world_model.rssm import State
from learning_fixtures import pushing_dataset, tiny_experiment, tiny_world_model

CPU = torch.device("cpu")
KEYS = ["proprio", "scene_state"]
NAMES = ["play-0", "demo-1", "play-1", "demo-0"]
LENGTHS = [160, 40, 160, 40]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pushing_dataset(tmp_path_factory.mktemp("streams"))


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _sampler(dataset: Dataset, rows: int = 3, seq_len: int = 11, seed: int = 5) -> StreamSampler:
    return StreamSampler(dataset, NAMES, KEYS, seq_len, rows, seed)


def _pass(sampler: StreamSampler, rows: int, number: int = 0):
    """All windows of one pass, joined along time."""
    steps = range(number * sampler.steps_per_pass, (number + 1) * sampler.steps_per_pass)
    batches = [sampler.windows(step, range(rows), 0.0, _generator()) for step in steps]
    joined = {key: torch.cat([b.observation[key] for b in batches], 1) for key in KEYS}
    action = torch.cat([b.previous_action for b in batches], 1)
    return joined, action, torch.cat([b.is_first for b in batches], 1), batches


@pytest.mark.parametrize(("rows", "seq_len", "number"), [(1, 7, 0), (3, 11, 1), (5, 50, 2)])
def test_rows_go_through_all_episodes_frame_by_frame(
    dataset: Dataset, rows: int, seq_len: int, number: int
) -> None:
    sampler = _sampler(dataset, rows, seq_len)
    observation, action, first, batches = _pass(sampler, rows, number)
    places = [(e, t) for e, length in enumerate(LENGTHS) for t in range(length)]
    neutral = list(dataset.contract.action.neutral)
    entry = gripper_entry(dataset.contract)
    seen = set()
    for row in range(rows):
        begin = (int(batches[0].episode[row]), int(batches[0].start[row]))
        index = places.index(begin)
        for t in range(first.shape[1]):
            episode, frame = places[(index + t) % len(places)]
            seen.add((episode, frame))
            name = NAMES[episode]
            border = frame == 0 or t == 0
            assert bool(first[row, t]) == border
            expected = neutral if border else dataset.array(name, "action")[frame - 1].tolist()
            assert action[row, t].tolist() == expected
            proprio = np.array(dataset.array(name, "proprio")[frame])
            if border:
                proprio[entry] = neutral[-1]
            np.testing.assert_array_equal(observation["proprio"][row, t].numpy(), proprio)
            scene = dataset.array(name, "scene_state")[frame]
            np.testing.assert_array_equal(observation["scene_state"][row, t].numpy(), scene)
    assert seen == set(places), "a pass shows every frame"


def test_every_pass_begins_elsewhere_and_depends_on_the_seed_only(dataset: Dataset) -> None:
    sampler = _sampler(dataset)
    steps = [number * sampler.steps_per_pass for number in range(6)]
    starts = [sampler.windows(step, range(1), 0.0, _generator()).start[0] for step in steps]
    assert len(set(starts)) > 3
    again = _sampler(dataset)
    assert starts == [again.windows(step, range(1), 0.0, _generator()).start[0] for step in steps]
    other = _sampler(dataset, seed=6)
    assert starts != [other.windows(step, range(1), 0.0, _generator()).start[0] for step in steps]


def test_a_state_is_forgotten_at_random_frames_too(dataset: Dataset) -> None:
    sampler = _sampler(dataset, rows=8, seq_len=40)
    entry = gripper_entry(dataset.contract)
    shares = []
    for step in range(200):
        batch = sampler.windows(step, range(8), 0.1, _generator(step))
        assert batch.previous_action[batch.is_first].unique(dim=0).tolist() == [
            list(dataset.contract.action.neutral)
        ]
        assert bool((batch.observation["proprio"][batch.is_first][:, entry] == 1).all())
        shares.append(float(batch.is_first.float().mean()))
    assert np.mean(shares) == pytest.approx(0.1, abs=0.03)


def test_rows_of_two_processes_are_those_of_one(dataset: Dataset) -> None:
    sampler = _sampler(dataset, rows=4)
    whole = sampler.windows(3, range(4), 0.0, _generator())
    parts = [sampler.windows(3, range(r, r + 2), 0.0, _generator()) for r in (0, 2)]
    joined = torch.cat([part.observation["proprio"] for part in parts])
    assert torch.equal(whole.observation["proprio"], joined)


def test_carried_windows_are_filtered_like_one_long_sequence(dataset: Dataset) -> None:
    model = tiny_world_model(start_from_observation=True)
    sampler = _sampler(dataset)
    feed = StreamFeed(sampler, 3, 0.0, Team(), CPU)
    observation, action, first, _ = _pass(sampler, 3)
    with torch.no_grad():
        whole = model.observe(observation, action, first, generator=_generator(4)).state.feat
        random, parts = _generator(4), []
        for step in range(sampler.steps_per_pass):
            batch, before = feed.next(step, _generator())
            seen = model.observe(
                batch.observation, batch.previous_action, batch.is_first, before, random
            )
            parts.append(seen.state.feat)
            feed.keep(seen.state.at(-1))
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert bool(first[:, 1:].any()), "borders lie inside windows"


def test_nothing_from_before_a_border_is_known_after_it(dataset: Dataset) -> None:
    model = tiny_world_model()
    batch = _sampler(dataset).windows(2, range(3), 0.2, _generator())
    assert bool(batch.is_first[:, 1:].any())
    filtered = []
    for scale in (0.0, 3.0):
        state = State(scale * torch.ones(3, 24), torch.zeros(3, 4, 6))
        changed = {key: value.clone() for key, value in batch.observation.items()}
        for row in range(3):
            (borders,) = np.nonzero(batch.is_first[row].numpy())
            changed["proprio"][row, : borders[-1] if len(borders) else 0] += scale
        seen = model.observe(changed, batch.previous_action, batch.is_first, state, _generator(3))
        filtered.append(seen.state.feat.detach())
    for row in range(3):
        (borders,) = np.nonzero(batch.is_first[row].numpy())
        if len(borders):
            assert torch.equal(filtered[0][row, borders[-1] :], filtered[1][row, borders[-1] :])
            if borders[-1] > 0:
                assert not torch.equal(filtered[0][row, 0], filtered[1][row, 0])


def test_loss_of_a_window_depends_on_the_state_before_it(dataset: Dataset) -> None:
    model = tiny_world_model()
    sampler = _sampler(dataset, seq_len=8)
    batch = sampler.windows(1, range(3), 0.0, _generator())
    arguments = (batch.observation, batch.previous_action, batch.is_first)
    first = model.loss(*arguments, _generator(2))
    assert not first.last.deter.requires_grad
    other = model.loss(*arguments, _generator(2), first.last)
    assert float(first.total.detach()) != float(other.total.detach())


def _train(dataset: Dataset, directory: Path, config: ExperimentConfig, stop: StopFlag) -> None:
    directory.mkdir(exist_ok=True)
    metrics = MetricsLog(directory)
    resumed = (directory / "state").exists()
    try:
        context = StageContext(directory, NullProgress(), metrics, stop, resumed)
        train_world_model(context, dataset, config, CPU)
    finally:
        metrics.close()


class _StopAfter(StopFlag):
    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def __bool__(self) -> bool:
        self.looks -= 1
        if self.looks == 0:
            self.set("test")
        return bool(self.reason)


def _config(**changes: object) -> ExperimentConfig:
    training = tiny_experiment().world_model_training.model_dump()
    return tiny_experiment(
        world_model_training={**training, "steps": 24, "windows": "consecutive", **changes}
    )


def _weights(directory: Path) -> bytes:
    (path,) = (directory / "model").glob("weights-*.safetensors")
    return path.read_bytes()


def test_interrupted_training_carries_its_state_on(dataset: Dataset, tmp_path: Path) -> None:
    whole, cut, forgetful = (tmp_path / name for name in ("whole", "cut", "forgetful"))
    _train(dataset, whole, _config(), StopFlag())
    for looks in (5, 1, 9):
        with pytest.raises(Interrupted):
            _train(dataset, cut, _config(), _StopAfter(looks))
        torch.manual_seed(999)  # a new process has other global random numbers
    _train(dataset, cut, _config(), StopFlag())
    assert _weights(cut) == _weights(whole)
    _train(dataset, forgetful, _config(reset_rate=1.0), StopFlag())
    assert _weights(forgetful) != _weights(whole), "the carried state matters"


def test_no_episode_is_a_clear_error(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="no episodes"):
        StreamSampler(dataset, [], KEYS, 5, 2, 0)


def test_random_windows_are_the_default_and_the_paper_carries_states(root: Path) -> None:
    text = (root / "config/experiments/calvin_vision.yaml").read_text()
    assert "windows: consecutive" in text
    assert WorldModelTraining().windows == "random"
