# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Facts that a report states beside its figures: the data, the software, the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

import diwa
from diwa.config import Config
from diwa.data.manifest import Manifest

VERSIONED = ("torch", "numpy", "pybullet", "safetensors", "gymnasium")


class Machine(Config):
    """Where the run was made."""

    system: str
    processor: str
    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


def machine() -> Machine:
    """This machine."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(count)),
    )


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"diwa": diwa.__version__, "python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def dataset_facts(manifest: Manifest) -> dict[str, Any]:
    """How much play and how many demonstrations there are, and which dataset it is exactly."""
    episodes = [info for info in manifest.episodes if not info.deleted]
    play = [info for info in episodes if info.kind == "play"]
    demos = Counter(info.task for info in episodes if info.kind == "demo")
    frames = sum(info.length for info in play)
    return {
        "play_episodes": len(play),
        "play_frames": frames,
        "play_minutes": round(frames / manifest.contract.rate_hz / 60, 1),
        "demonstrations": dict(sorted(demos.items())),
        "contract": manifest.contract.name,
        "rate_hz": manifest.contract.rate_hz,
        "hash": manifest.hash,
    }
