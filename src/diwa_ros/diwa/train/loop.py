# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The loop that all gradient stages share: progress, saving, stopping, resuming exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from diwa.train.run import StageContext
from diwa.train.state import load_state, save_state
from diwa.train.stop import Interrupted
from diwa.train.team import Team


def cosine(start: float, end: float, step: int, steps: int) -> float:
    """Half a cosine from `start` at step 0 to `end` at `steps`: for learning rates."""
    share = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return end + (start - end) * share


class Stateful(Protocol):
    """Something small and plain that must survive a restart."""

    def state(self) -> dict[str, Any]:
        """Plain data and tensors."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        ...


class Randomness:
    """The random sources of one stage: `cpu` for sampling data, `device` for everything else."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.cpu = torch.Generator().manual_seed(seed)
        self.device = torch.Generator(device=device).manual_seed(seed + 1)

    def restart(self, seed: int) -> None:
        """Begin again from another seed."""
        self.cpu.manual_seed(seed)
        self.device.manual_seed(seed + 1)

    def state(self) -> dict[str, Any]:
        """Both generators' states."""
        return {"cpu": self.cpu.get_state(), "device": self.device.get_state()}

    def load(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self.cpu.set_state(state["cpu"])
        self.device.set_state(state["device"])


class LoopState:
    """Everything that a stage needs to go on as if it had never been stopped."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        optimisers: Mapping[str, torch.optim.Optimizer],
        others: Mapping[str, Stateful],
    ) -> None:
        self.modules = modules
        self.optimisers = optimisers
        self.others = others
        self.step = 0

    def save(self, path: Path) -> None:
        """Write everything, atomically."""
        save_state(
            path,
            {
                "step": self.step,
                "modules": {name: dict(m.state_dict()) for name, m in self.modules.items()},
                "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
                "others": {name: other.state() for name, other in self.others.items()},
            },
        )

    def load(self, path: Path) -> None:
        """Restore what `save` wrote."""
        state = load_state(path)
        self.step = int(state["step"])
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        for name, other in self.others.items():
            other.load(state["others"][name])


def run_loop(
    context: StageContext,
    name: str,
    total: int,
    state: LoopState,
    step: Callable[[int], Mapping[str, float]],
    team: Team | None = None,
) -> None:
    """Call `step(index)` for all steps that are left; `step` may set `state.step` to `total`.

    In a team all processes take the same steps; the leader saves, and says when to stop.

    The state is saved every `context.save_every_s` seconds, at the end, and when asked to stop.

    Raises:
        Interrupted: after saving, when a stop was asked for.
    """
    team = team if team is not None else Team()
    path = context.directory / "state"
    if context.resumed and path.exists():
        state.load(path)
    context.metrics.resume(state.step - 1)
    context.progress.start(name, total, state.step)
    saved = time.monotonic()
    while state.step < total:
        index = state.step
        shown = step(index)
        context.progress.advance(1, **shown)
        state.step = max(state.step, index) + 1
        stop = team.agree(bool(context.stop))
        if team.leads and (stop or time.monotonic() - saved > context.save_every_s):
            state.save(path)
            saved = time.monotonic()
        if stop:
            raise Interrupted(context.stop.reason or "the leading process was stopped")
    if team.leads:
        state.save(path)
    context.progress.finish()
