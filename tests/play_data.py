# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A small dataset from the play table: what bags of it become, without the bags."""

from pathlib import Path

import numpy as np

from diwa.data.contract import Contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.observations import compose_observation
from diwa.sim.play import PlayGenerator
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv

EPISODES = (
    ("play_0001_20261122T100000Z", "play", "", "unknown", 60),
    ("demo_0002_20261122T100100Z", "demo", "open_drawer", "success", 40),
    ("demo_0003_20261122T100200Z", "demo", "open_drawer", "failure", 33),
    ("demo_0004_20261122T100300Z", "demo", "turn_on_led", "success", 41),
)


def play_arrays(env: PlayTableEnv, contract: Contract, seed: int, length: int):
    """Frames of scripted play, composed as live ones are."""
    rng = np.random.default_rng(seed)
    play = PlayGenerator(rng)
    observation, _ = env.reset(seed=seed)
    previous = np.array(contract.action.neutral, np.float32)
    frames, actions = [], []
    for _ in range(length):
        pose, joints = env.tcp_pose, env.joint_positions
        raw = {"ee_pose": pose, "joint_states": joints, "scene_state": observation["scene_obs"]}
        raw |= {key: observation[key] for key in contract.image_keys}
        frames.append(compose_observation(contract, raw, previous))
        previous = play.act(observation["robot_obs"], observation["scene_obs"])
        observation, *_ = env.step(previous)
        actions.append(previous)
    start = 1_700_000_000_000_000_000 + seed * 10**12
    return {
        "stamp_ns": start + np.round(np.arange(length) * 1e9 / contract.rate_hz).astype(np.int64),
        "action": np.stack(actions[:-1]),
        **{key: np.stack([frame[key] for frame in frames]) for key in frames[0]},
    }


def write_play(folder: Path, contract: Contract) -> Dataset:
    """A dataset of four short episodes, with images where the contract has them."""
    env = PlayTableEnv(PlayTableConfig(cameras=bool(contract.image_keys)))
    writer = DatasetWriter(folder, contract)
    for seed, (name, kind, task, outcome, length) in enumerate(EPISODES):
        arrays = play_arrays(env, contract, seed, length)
        writer.add_episode(name, kind, task, outcome, arrays, source=name)
    env.close()
    return writer.finish()
