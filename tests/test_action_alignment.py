# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The action that led to a frame enters with that frame: from samples to what is served.

A made-up robot shows in each observation the number of the action that led to it, so that a shift
by one frame, anywhere on the way, is seen at once. Whole steps and actions get lost.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diwa.agent import Agent
from diwa.data.contract import Contract, load_contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.frames import Frame, FrameBuilder
from diwa.data.segments import SegmentWriter
from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.train.latents import filter_episode, observed_and_dreamed
from diwa.train.policy_stage import chunk_pairs
from diwa.train.streams import StreamSampler
from diwa.train.windows import Batch, WindowSampler
from diwa.world_model.config import InputConfig
from learning_fixtures import ROOT, tiny_experiment, tiny_world_model

KEYS = ["proprio", "scene_state"]
MARK = 6  # entry of the scene that shows the number of the action that led here
UNIT = 1e-3  # of an action's first component per number
ROUNDS = settings(max_examples=15, deadline=None, derandomize=True)


def _contract() -> Contract:
    plain = load_contract(ROOT / "config/contracts/panda_calvin_lowdim.yaml")
    streams = {
        key: stream.model_copy(update={"tolerance_s": 0.01})
        for key, stream in plain.observations.items()
    }
    return plain.model_copy(update={"observations": streams})


CONTRACT = _contract()


class Recording(NamedTuple):
    """What a recording is made of."""

    steps: int
    phase_ns: int  # of the actions' stamps
    lost_steps: set[int]
    lost_actions: set[int]

    def frames(self) -> list[Frame]:
        return _frames(*self)


def _action(number: int) -> np.ndarray:
    """The action that leads to step `number`."""
    gripper = 1.0 if number % 3 else -1.0
    return np.array([UNIT * number, 0.5, -0.5, 0, 0, 0, gripper], dtype=np.float32)


def _frames(steps: int, phase_ns: int, lost_steps: set[int], lost_actions: set[int]) -> list[Frame]:
    builder = FrameBuilder(CONTRACT)
    frames: list[Frame] = []
    for step in range(steps):
        stamp = 10**9 + round(step * 1e9 / CONTRACT.rate_hz)
        if step and step not in lost_actions:
            before = 10**9 + round((step - 1) * 1e9 / CONTRACT.rate_hz)
            builder.push("action", before + phase_ns, _action(step))
        if step not in lost_steps:
            scene = np.zeros(24, dtype=np.float32)
            scene[MARK] = step
            pose = np.array([0.01 * step, 0, 0.5, 0, 0, 0, 1.0])
            builder.push("ee_pose", stamp, pose)
            builder.push("joint_states", stamp, np.full(9, 0.02))
            builder.push("scene_state", stamp, scene)
        frames += builder.pop()
    return frames


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    steps = draw(st.integers(12, 30))
    lost = st.sets(st.integers(1, steps - 1), max_size=3)
    phase = draw(st.sampled_from([0, 0, 2_000_000, -9_000_000, 12_000_000]))
    return Recording(steps, phase, draw(lost), draw(lost))


def _built(frames: list[Frame], folder: Path, kind: str = "play") -> Dataset:
    with SegmentWriter(folder, CONTRACT, "episode") as writer:
        for frame in frames:
            writer.add(frame)
        writer.end_segment()
        for episode in writer.written:
            episode.enter(folder, kind, "open_drawer" if kind == "demo" else "", "success", "")
    return DatasetWriter(folder, CONTRACT).finish()


def _require_aligned(batch: Batch) -> None:
    mark = batch.observation["scene_state"][..., MARK]
    known = ~batch.is_first
    torch.testing.assert_close(batch.previous_action[..., 0][known], UNIT * mark[known])
    neutral = torch.tensor(CONTRACT.action.neutral)
    assert bool((batch.previous_action[batch.is_first] == neutral).all())
    gripper = batch.observation["proprio"][..., -1]
    assert torch.equal(gripper, batch.previous_action[..., -1]), "proprioception knows it as well"


@ROUNDS
@given(recordings(), st.integers(2, 6), st.integers(0, 2**31))
def test_action_before_a_frame_stands_beside_it_in_every_window(recording, seq_len, seed) -> None:
    frames = recording.frames()
    for frame in frames:
        if not frame.is_first:
            mark = frame.observation["scene_state"][MARK]
            assert round(float(frame.previous_action[0]) / UNIT) == mark
    lengths = [len(segment) for segment in _segments(frames)]
    if max(lengths, default=0) < seq_len:
        return
    with tempfile.TemporaryDirectory() as folder:
        dataset = _built(frames, Path(folder))
        names = [episode.id for episode in dataset.episodes]
        assert [episode.length for episode in dataset.episodes] == [n for n in lengths if n > 1]
        for name in names:
            action = np.asarray(dataset.array(name, "action"))
            mark = np.asarray(dataset.array(name, "scene_state"))[:, MARK]
            np.testing.assert_allclose(action[:-1, 0], UNIT * mark[1:], rtol=1e-6)
        sampler = WindowSampler(dataset, names, KEYS, seq_len)
        _require_aligned(sampler.sample(20, torch.Generator().manual_seed(seed)))
        streams = StreamSampler(dataset, names, KEYS, seq_len, 2, seed)
        for step in range(2 * streams.steps_per_pass):
            _require_aligned(
                streams.windows(step, range(2), 0.1, torch.Generator().manual_seed(seed))
            )


def _segments(frames: list[Frame]) -> list[list[Frame]]:
    found: list[list[Frame]] = []
    for frame in frames:
        if frame.is_first:
            found.append([])
        found[-1].append(frame)
    return found


@ROUNDS
@given(recordings(), st.integers(0, 2**31), st.booleans())
def test_world_model_and_agent_act_on_the_action_before_the_frame(recording, seed, start) -> None:
    frames = recording.frames()
    model = tiny_world_model(seed % 7, start_from_observation=start)
    policy = DiffusionPolicy(PolicyConfig(hidden=16, steps=3, finetune_steps=2), model.config.feat)
    meta = {"contract": CONTRACT.model_dump(mode="json"), "task": "open_drawer"}
    agent = Agent(model, policy, nn.Identity(), meta)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        dataset = _built(frames, Path(folder))
        segments = [segment for segment in _segments(frames) if len(segment) > 1]
        for episode, segment in zip(dataset.episodes, segments, strict=True):
            feat = filter_episode(model, dataset, episode.id, torch.Generator().manual_seed(seed))
            agent.reset(seed)
            for t, frame in enumerate(segment):
                agent.observe(frame.observation, frame.previous_action)
                torch.testing.assert_close(agent._feat[0], feat[0, t], atol=1e-4, rtol=1e-4)
            _require_transitions(model, dataset, episode.id, seed)


def _require_transitions(model, dataset: Dataset, name: str, seed: int) -> None:
    """Filtering and dreaming both step from t-1 to t by what was executed in between."""
    length = len(dataset.array(name, "action"))
    zeros = np.zeros(1, dtype=np.int64)
    batch = WindowSampler(dataset, [name], KEYS, length).windows(zeros, zeros)
    executed = torch.from_numpy(np.array(dataset.array(name, "action")))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        seen = model.observe(batch.observation, batch.previous_action, batch.is_first)
        for t in range(1, length):
            stepped = model.rssm.imagine_step(seen.state.at(t - 1), executed[t - 1 : t], generator)
            torch.testing.assert_close(stepped.deter, seen.state.deter[:, t], atol=1e-5, rtol=1e-5)
            shifted = model.rssm.imagine_step(seen.state.at(t - 1), executed[t : t + 1], generator)
            assert not torch.equal(shifted.deter, stepped.deter)
        filtered, dreamed = observed_and_dreamed(model, batch, 1, generator)
        size = model.config.deter
        torch.testing.assert_close(dreamed[:, 0, :size], filtered[:, 1, :size])


class _Marked(nn.Module):
    """Latents that show which frame they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.config = tiny_world_model().config.model_copy(
            update={"inputs": (InputConfig(key="proprio"), InputConfig(key="scene_state"))}
        )
        self.device = torch.device("cpu")

    def observe(self, observation, previous_action, is_first, generator=None):
        class Seen(NamedTuple):
            state: object

        class Latent(NamedTuple):
            feat: torch.Tensor

        return Seen(Latent(observation["scene_state"][..., MARK : MARK + 1]))


@ROUNDS
@given(st.integers(8, 25), st.integers(1, 4))
def test_policy_learns_the_actions_that_follow_a_frame(steps: int, horizon: int) -> None:
    frames = _frames(steps, 0, set(), set())
    policy = {"pred_horizon": horizon, "act_horizon": horizon, "hidden": 8}
    with tempfile.TemporaryDirectory() as folder:
        dataset = _built(frames, Path(folder), "demo")
        latents, chunks = chunk_pairs(
            _Marked(),  # type: ignore[arg-type]
            dataset,
            tiny_experiment(policy=policy),
            torch.Generator(),
        )
    assert len(chunks) == steps - horizon
    for latent, chunk in zip(latents[0, :, 0].tolist(), chunks, strict=True):
        numbers = (chunk[:, 0] / UNIT).round().tolist()
        assert numbers == [latent + 1 + ahead for ahead in range(horizon)]
    assert all(b == a + 1 for a, b in itertools.pairwise(latents[0, :, 0].tolist()))
