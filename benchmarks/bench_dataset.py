# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How fast episodes are written, opened and read in random windows, with and without cameras.

Prints a table and keeps the figures under "dataset" in runs/bench.json.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diwa.data.arrays import array_specs
from diwa.data.contract import Contract, load_contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.files import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
EPISODES = 24
LENGTH = 600  # frames, 20 s
BATCH, WINDOW = 32, 32


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def write(folder: Path, contract: Contract) -> Dataset:
    """A dataset of random episodes."""
    rng = np.random.default_rng(0)
    writer = DatasetWriter(folder, contract)
    for index in range(EPISODES):
        arrays = {}
        for key, (dtype, shape) in array_specs(contract).items():
            length = LENGTH - 1 if key == "action" else LENGTH
            if dtype == np.uint8:
                arrays[key] = rng.integers(0, 256, (length, *shape), dtype=np.uint8)
            elif key != "stamp_ns":
                arrays[key] = rng.normal(size=(length, *shape)).astype(dtype)
        writer.add_episode(f"episode-{index:03}", "play", "", "unknown", arrays)
    return writer.finish()


def read_batch(dataset: Dataset, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random windows of every key, stacked as training wants them."""
    ids = [info.id for info in dataset.episodes]
    picks = [
        (ids[rng.integers(len(ids))], int(rng.integers(LENGTH - WINDOW))) for _ in range(BATCH)
    ]
    return {
        key: np.stack([dataset.array(name, key)[t : t + WINDOW] for name, t in picks])
        for key in dataset.keys
    }


def measure(contract: Contract) -> dict[str, float]:
    """Frames per second of writing and reading, and the time to open."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        start = time.perf_counter()
        dataset = write(folder, contract)
        writing = time.perf_counter() - start
        read_batch(dataset, rng)
        reading = seconds(lambda: read_batch(dataset, rng), repeats=20)
        opening = seconds(lambda: Dataset.open(folder), repeats=5)
        size = sum(path.stat().st_size for path in folder.rglob("*.npy"))
    return {
        "write_frames_per_second": EPISODES * LENGTH / writing,
        "read_frames_per_second": BATCH * WINDOW / reading,
        "read_megabytes_per_second": BATCH * WINDOW * size / EPISODES / LENGTH / reading / 1e6,
        "open_milliseconds": opening * 1e3,
    }


def main() -> None:
    """Measure each contract and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs/bench.json")
    arguments = parser.parse_args()
    figures = {}
    for name in ("panda_calvin_lowdim", "panda_calvin"):
        figures[name] = measure(load_contract(ROOT / f"config/contracts/{name}.yaml"))
        print(f"dataset, {name}")
        for key, value in figures[name].items():
            print(f"  {key.replace('_', ' '):<28}{value:12,.1f}")
    kept = read_json(arguments.out) if arguments.out.is_file() else {}
    kept["dataset"] = figures
    kept["machine"] = {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    write_json(arguments.out, kept)
    print(f"kept in {arguments.out}")


if __name__ == "__main__":
    main()
