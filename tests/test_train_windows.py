# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from diwa.data import shard_reader
from diwa.data.arrays import array_specs
from diwa.data.dataset import DatasetWriter
from diwa.data.manifest import shard_path
from diwa.errors import ConfigError
from diwa.train.windows import WindowSampler, gripper_entry

LENGTHS = {"a": 40, "b": 12, "c": 7, "d": 3}
KEYS = ("rgb_static", "scene_state", "proprio")


def write_dataset(folder, contract, lengths):
    rng = np.random.default_rng(0)
    writer = DatasetWriter(folder, contract)
    for name, length in lengths.items():
        arrays = {}
        for key, (dtype, shape) in array_specs(contract).items():
            if dtype == np.uint8:
                arrays[key] = rng.integers(0, 256, (length, *shape), dtype=np.uint8)
            elif key != "stamp_ns":
                arrays[key] = rng.normal(size=(length - (key == "action"), *shape)).astype(dtype)
        writer.add_episode(name, "play", "", "unknown", arrays)
    return writer.finish()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, camera_contract):
    return write_dataset(tmp_path_factory.mktemp("windows"), camera_contract, LENGTHS)


def test_windows_are_pieces_of_the_episodes(dataset):
    sampler = WindowSampler(dataset, list(LENGTHS), KEYS, 7)
    assert sampler.episode_ids == ["a", "b", "c"]
    batch = sampler.windows(np.array([0, 2, 1]), np.array([33, 0, 2]))
    entry = gripper_entry(dataset.contract)
    neutral = list(dataset.contract.action.neutral)
    for row, (name, start) in enumerate([("a", 33), ("c", 0), ("b", 2)]):
        for key in KEYS:
            expected = np.array(dataset.array(name, key)[start : start + 7])
            if key == "proprio":
                expected[0, entry] = neutral[-1]
            np.testing.assert_array_equal(batch.observation[key][row].numpy(), expected)
        assert batch.previous_action[row, 0].tolist() == neutral
        action = dataset.array(name, "action")[start : start + 6]
        np.testing.assert_array_equal(batch.previous_action[row, 1:].numpy(), action)
    assert batch.is_first.sum(dim=1).tolist() == [1, 1, 1]
    assert batch.is_first[:, 0].all()
    assert batch.observation["rgb_static"].dtype == torch.uint8


def test_every_start_is_drawn_equally_often(dataset):
    sampler = WindowSampler(dataset, ["b", "c"], ["proprio"], 7)
    batch = sampler.sample(7000, torch.Generator().manual_seed(0))
    pairs, counts = np.unique(np.stack([batch.episode, batch.start]), axis=1, return_counts=True)
    assert [tuple(pair) for pair in pairs.T] == [*((0, n) for n in range(6)), (1, 0)]
    assert counts.min() > 850


@pytest.mark.parametrize("seq_len", [1, 2])
def test_short_windows_hold_only_what_is_known(dataset, seq_len):
    sampler = WindowSampler(dataset, ["d"], ["scene_state"], seq_len)
    batch = sampler.windows(np.array([0]), np.array([1]))
    assert batch.previous_action.shape == (1, seq_len, 7)
    assert batch.previous_action[0, 0].tolist() == list(dataset.contract.action.neutral)


def test_batches_do_not_share_memory(dataset):
    sampler = WindowSampler(dataset, ["a"], KEYS, 7)
    first = sampler.windows(np.array([0]), np.array([3]))
    kept = first.observation["rgb_static"].clone()
    sampler.windows(np.array([0]), np.array([20]))
    assert torch.equal(first.observation["rgb_static"], kept)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_files_are_open_and_none_afterwards(dataset, monkeypatch):
    monkeypatch.setattr(shard_reader, "MOST_OPEN", 3)
    before = open_files()
    sampler = WindowSampler(dataset, ["a", "b", "c"], KEYS, 7)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        sampler.sample(16, generator)
        assert open_files() <= before + 3
    del sampler
    assert open_files() == before


def file_memory_kib():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssFile:")[1].split()[0])


def test_reading_everything_leaves_no_file_in_this_process_memory(tmp_path, camera_contract):
    dataset = write_dataset(tmp_path, camera_contract, {"a": 700, "b": 700})
    sampler = WindowSampler(dataset, ["a", "b"], ["rgb_static", "rgb_gripper", "proprio"], 50)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.npy"))
    assert size > 30e6
    sampler.windows(np.array([0]), np.array([0]))
    before = file_memory_kib()
    for start in range(0, 650, 50):
        sampler.windows(np.array([0, 1]), np.array([start, start]))
    assert (file_memory_kib() - before) * 1024 < size / 10


@pytest.fixture
def fresh(tmp_path, camera_contract):
    return write_dataset(tmp_path, camera_contract, {"a": 12})


def rewrite(path, array):
    np.save(path, array)


DAMAGE = {
    "missing": (lambda path: path.unlink(), "cannot be read"),
    "not an array": (lambda path: path.write_bytes(b"hello" * 100), "cannot be read"),
    "short": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "ends too early"),
    "shape": (lambda path: rewrite(path, np.zeros((12, 5), np.float32)), r"float32 \(12, 5\)"),
    "type": (lambda path: rewrite(path, np.zeros((12, 24))), r"float64 \(12, 24\)"),
    "length": (lambda path: rewrite(path, np.zeros((9, 24), np.float32)), r"float32 \(9, 24\)"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_shards_are_named_before_training_starts(case, fresh):
    change, expected = DAMAGE[case]
    path = shard_path(fresh.path, "scene_state", "a")
    change(path)
    with pytest.raises(ConfigError, match=expected) as caught:
        WindowSampler(fresh, ["a"], KEYS, 7)
    assert str(path) in str(caught.value)


def test_shard_cut_during_training_is_named(fresh):
    sampler = WindowSampler(fresh, ["a"], KEYS, 7)
    path = shard_path(fresh.path, "scene_state", "a")
    os.truncate(path, 400)
    with pytest.raises(ConfigError, match="ends too early"):
        sampler.windows(np.array([0]), np.array([5]))
