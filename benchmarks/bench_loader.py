# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Random training windows from disk, against torchrl's memory-mapped replay and zarr's default.

50 windows of 50 frames: two 64x64 cameras, proprioception and actions, images out as uint8. All
three read the same episodes from this machine's page cache, in one thread, in turn. Then the
memory that reading costs, in a process of its own, with datasets of two sizes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import torch
from side_by_side import FIGURES, Comparison, compare, keep, threads
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, ReplayBuffer
from torchrl.data.replay_buffers.samplers import SliceSampler

from diwa.data.arrays import array_specs
from diwa.data.contract import load_contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.files import read_json, write_json
from diwa.train.windows import WindowSampler

ROOT = Path(__file__).resolve().parent.parent
LENGTH = 600  # frames of an episode, 20 s
BATCH, WINDOW = 50, 50
KEYS = ("rgb_static", "rgb_gripper", "proprio")
ALL_KEYS = (*KEYS, "action")

Load = Callable[[], object]


def write(folder: Path, episodes: int) -> Dataset:
    """A dataset of random episodes; noise cannot be compressed, which spares zarr some work."""
    contract = load_contract(ROOT / "config/contracts/panda_calvin.yaml")
    rng = np.random.default_rng(0)
    writer = DatasetWriter(folder, contract)
    for index in range(episodes):
        arrays = {}
        for key, (dtype, shape) in array_specs(contract).items():
            length = LENGTH - (key == "action")
            if dtype == np.uint8:
                arrays[key] = rng.integers(0, 256, (length, *shape), dtype=np.uint8)
            elif key != "stamp_ns":
                arrays[key] = rng.normal(size=(length, *shape)).astype(dtype)
        writer.add_episode(f"episode_{index:04}", "play", "", "unknown", arrays)
    return writer.finish()


def our_loader(dataset: Dataset) -> Load:
    """The training stages' own sampler."""
    sampler = WindowSampler(dataset, [info.id for info in dataset.episodes], KEYS, WINDOW)
    generator = torch.Generator().manual_seed(0)
    return lambda: sampler.sample(BATCH, generator)


def torchrl_loader(dataset: Dataset, folder: Path) -> Load:
    """Slices of trajectories from a memory-mapped storage."""
    frames = sum(info.length for info in dataset.episodes)
    buffer = ReplayBuffer(
        storage=LazyMemmapStorage(frames, scratch_dir=str(folder)),
        sampler=SliceSampler(slice_len=WINDOW, traj_key="episode", cache_values=True),
        batch_size=BATCH * WINDOW,
    )
    for index, info in enumerate(dataset.episodes):
        data = {key: torch.from_numpy(np.array(dataset.array(info.id, key))) for key in ALL_KEYS}
        data["episode"] = torch.full((info.length,), index)
        buffer.extend(TensorDict(data, batch_size=[info.length]))
    return buffer.sample


def zarr_loader(dataset: Dataset, folder: Path) -> Load:
    """One array per key over all episodes, in the chunks and with the codec that zarr chooses."""
    import zarr  # its version 3 needs Python 3.11

    group = zarr.open_group(folder, mode="w")
    frames = sum(info.length for info in dataset.episodes)
    for key, (dtype, shape) in array_specs(dataset.contract).items():
        if key not in ALL_KEYS:
            continue
        array = group.create_array(key, shape=(frames, *shape), dtype=dtype)
        array[:] = np.concatenate([dataset.array(info.id, key) for info in dataset.episodes])
    rng = np.random.default_rng(0)

    def load() -> dict[str, np.ndarray]:
        episode = rng.integers(len(dataset.episodes), size=BATCH)
        starts = episode * LENGTH + rng.integers(LENGTH - WINDOW + 1, size=BATCH)
        return {key: np.stack([group[key][s : s + WINDOW] for s in starts]) for key in ALL_KEYS}

    return load


def compare_loaders(folder: Path, episodes: int, rounds: int) -> list[Comparison]:
    """Frames per second of all three."""
    dataset = write(folder / "data", episodes)
    ours = our_loader(dataset)
    options = {"per_second": BATCH * WINDOW, "unit": "frames/s"}
    rows = []
    with threads(1):
        for peer, make_loader, target, count in (
            ("torchrl, memory-mapped", torchrl_loader, ">= 4", rounds),
            ("zarr, default", zarr_loader, ">= 30", max(3, rounds // 5)),
        ):
            if make_loader is zarr_loader and find_spec("zarr") is None:
                print("zarr is not installed: left out")
                continue
            theirs = make_loader(dataset, folder / peer.split(",")[0])
            name = "random windows"
            rows.append(compare(name, ours, peer, theirs, target, rounds=count, **options))
    return rows


def resident_growth(path: Path) -> float:
    """How much larger this process is after reading windows of the whole dataset [MB]."""
    load = our_loader(Dataset.open(path))
    load()
    before = psutil.Process().memory_info().rss
    for _ in range(60):
        load()
    return max(0, psutil.Process().memory_info().rss - before) / 1e6


def measure_memory(folder: Path, episodes: int) -> dict[str, dict[str, float]]:
    """Growth of a fresh process, by dataset."""
    figures = {}
    context = multiprocessing.get_context("spawn")
    for factor in (1, 4):
        path = folder / f"data{factor}"
        write(path, factor * episodes)
        size = sum(file.stat().st_size for file in path.rglob("*.npy")) / 1e6
        with context.Pool(1) as pool:
            growth = pool.apply(resident_growth, (path,))
        figures[f"{size:.0f} MB"] = {"dataset_mb": size, "growth_mb": growth}
        print(f"dataset of {size:.0f} MB: {growth:.1f} MB more resident after 60 batches")
    return figures


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = compare_loaders(Path(name), arguments.episodes, arguments.rounds)
        memory = measure_memory(Path(name) / "memory", arguments.episodes)
    keep("loader", rows)
    figures = read_json(FIGURES)
    figures["loader_memory"] = memory
    write_json(FIGURES, figures)


if __name__ == "__main__":
    main()
