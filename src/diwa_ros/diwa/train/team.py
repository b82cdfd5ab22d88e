# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one world model, as `torchrun` starts them.

Every process computes the loss of its share of a batch; DistributedDataParallel averages the
gradients, so all of them take the same step. The first one, the leader, runs the stages as ever,
and alone writes anything; the others wait for it to begin a stage that is shared.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from diwa.errors import ConfigError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SEED_STRIDE = 1_000_003  # between the processes' random numbers


class Team:
    """The processes of this training; alone, every call is trivial.

    Attributes:
        rank: of this process; 0 leads.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @classmethod
    def join(cls, device: torch.device) -> Team:
        """The team that the environment names (`torchrun`), or a team of one."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if os.environ.get("MASTER_ADDR") in LOOPBACK:  # nothing beyond this machine
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        try:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                "the processes do not find each other",
                got=str(error).splitlines()[0],
                hint="start them with `torchrun --nproc-per-node=N -m diwa.cli train ...`",
            ) from error
        return cls(dist.get_rank(), size)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def leave(self) -> None:
        """Say good-bye to the others."""
        if self.size > 1:
            gc.collect()  # a wrapped model that lives on would hold the threads of the group
            dist.destroy_process_group()

    def share(self, batch: int) -> int:
        """This process's part of a batch."""
        if batch % self.size:
            raise ConfigError(
                f"a batch of {batch} cannot be shared by {self.size} processes",
                expected="a multiple of the number of processes",
                hint="set world_model_training.batch accordingly",
            )
        return batch // self.size

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module`, with gradients averaged over the team; weights as the leader has them."""
        return DistributedDataParallel(module) if self.size > 1 else module

    def agree(self, stop: bool) -> bool:
        """Whether the leader wants to stop; every process gets the same answer."""
        if self.size == 1:
            return stop
        flag = torch.tensor([float(stop)])
        if dist.get_backend() == "nccl":
            flag = flag.cuda()
        dist.broadcast(flag, 0)
        return bool(flag.item())

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        """The parts (n, ...) of all processes, one after the other: (size * n, ...)."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def seed(self, seed: int, step: int) -> int:
        """Of the random numbers of one step: others in every process, the same after a stop."""
        return seed + SEED_STRIDE * (self.size * step + self.rank)

    def announce(self, order: Mapping[str, Any] | None) -> None:
        """The leader begins a shared stage (or, with None, lets the others go)."""
        if self.size > 1 and self.leads:
            dist.broadcast_object_list([order], 0)

    def follow(self, work: Mapping[str, Callable[[Mapping[str, Any]], None]]) -> None:
        """Do what the leader announces, until it lets go: `work` by name of the stage."""
        while True:
            box: list[Any] = [None]
            try:
                dist.broadcast_object_list(box, 0)
            except RuntimeError:  # the leader has ended, and said why
                return
            if box[0] is None:
                return
            work[box[0]["stage"]](box[0])
