# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A training step of the paper's world model: steps a second, time outside matrix kernels, memory.

On a GPU in float32 and bfloat16, step by step and from a recorded graph, at 50 windows of 50
frames. On a CPU a small batch, once, so that the same code has run.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from side_by_side import FIGURES
from torch.profiler import ProfilerActivity, profile

from diwa.config import load_config
from diwa.files import read_json, write_json
from diwa.train.experiment import ExperimentConfig
from diwa.train.step_graph import WARM_UP
from diwa.train.team import Team
from diwa.train.windows import Batch
from diwa.train.world_model_stage import NOWHERE, WorldModelStep
from diwa.world_model.model import WorldModel

ROOT = Path(__file__).resolve().parent.parent
MATRIX = ("gemm", "cutlass", "xmma", "conv", "winograd", "wgrad", "dgrad", "splitk", "cudnn")
MATRIX_CPU = ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn", "aten::convolution")
PROPRIO = 18


@dataclass(frozen=True, slots=True)
class Row:
    """One way to take a step."""

    device: str
    precision: str
    graph: bool
    batch: int
    length: int
    steps_per_s: float
    outside_matrix_kernels: float  # share of the step's time
    peak_memory_bytes: int | None  # on the GPU


def windows(batch: int, length: int, device: torch.device) -> Batch:
    """Noise of the shapes of two cameras and proprioception."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (batch, length, 64, 64, 3), generator=generator, dtype=torch.uint8)
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    observation = {
        "rgb_static": image,
        "rgb_gripper": image.flip(1),
        "proprio": torch.rand(batch, length, PROPRIO, generator=generator),
    }
    action = torch.rand(batch, length, 7, generator=generator) * 2 - 1
    return Batch(observation, action, first, NOWHERE, NOWHERE).to(device)


def measure(
    device: torch.device, precision: str, graph: bool, batch: int, length: int, steps: int
) -> Row:
    """Time `steps` steps after warming up, then look at one of them in detail."""
    paper = load_config(ExperimentConfig, ROOT / "config/experiments/calvin_vision.yaml")
    unit = {"min": np.zeros(PROPRIO), "max": np.ones(PROPRIO)}
    torch.manual_seed(0)
    model = WorldModel(paper.world_model, {"proprio": unit}, torch.zeros(7)).to(device)
    changes = {"precision": precision, "graph": graph}
    settings = paper.world_model_training.model_copy(update=changes)
    generator = torch.Generator(device=device).manual_seed(0)
    learn = WorldModelStep(model, settings, generator, Team())
    data = windows(batch, length, device)
    _wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2 * WARM_UP):
            learn(data, None)
        _wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        learn(data, None)
    _wait(device)
    seconds = (time.perf_counter() - started) / steps
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    busy, all_calls = _matrix_seconds(lambda: learn(data, None), device)
    outside = max(0.0, 1 - busy / (seconds if device.type == "cuda" else all_calls))
    return Row(str(device), precision, graph, batch, length, 1 / seconds, outside, peak)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _matrix_seconds(step: object, device: torch.device) -> tuple[float, float]:
    """Time of one step inside matrix products and convolutions, and inside all calls."""
    assert callable(step)
    kinds = [ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(ProfilerActivity.CUDA)
    with profile(activities=kinds) as found:
        step()
        _wait(device)
    total = everything = 0.0
    for event in found.key_averages():
        everything += event.self_cpu_time_total
        name = event.key.lower()
        if device.type == "cuda" and any(part in name for part in MATRIX):
            total += event.self_device_time_total
        elif device.type == "cpu" and any(part in name for part in MATRIX_CPU):
            total += event.self_cpu_time_total
    return total / 1e6, everything / 1e6


def main() -> None:
    """Print a table and write the figures to `runs/bench.json`."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if torch.cuda.is_available():
        device = torch.device("cuda")
        ways = [(name, graph) for name in ("fp32", "bf16") for graph in (False, True)]
        rows = [measure(device, name, graph, 50, 50, 20) for name, graph in ways]
        print(f"\ntraining step: {torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    else:
        rows = [measure(torch.device("cpu"), "fp32", False, 2, 8, 1)]
        print("\ntraining step: no GPU here; a small batch on the CPU, no figure to compare")
    for row in rows:
        memory = "" if row.peak_memory_bytes is None else f", {row.peak_memory_bytes / 1e9:.1f} GB"
        how = "recorded" if row.graph else "step by step"
        print(
            f"  {row.precision}, {row.batch} x {row.length}, {how}: {row.steps_per_s:.2f} steps/s, "
            f"{row.outside_matrix_kernels:.0%} outside matrix kernels{memory}"
        )
    figures = read_json(FIGURES) if FIGURES.exists() else {}
    write_json(FIGURES, {**figures, "training step": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
