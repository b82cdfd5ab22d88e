# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one world model, as `torchrun` starts them.

Every process computes the loss of its share of a batch; DistributedDataParallel averages the
gradients, so all of them take the same step. The first one, the leader, runs the stages as ever,
and alone writes anything; the others wait for it to begin a stage that is shared.

What the leader says goes through a group of its own: the others wait for a word through hours of
stages that the leader runs alone, but a gradient that does not come for minutes is an error.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from diwa.errors import ConfigError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PATIENCE = timedelta(days=365)  # of a process that waits for the leader's word
SEED_STRIDE = 1_000_003  # between the processes' random numbers


def own_device(device: torch.device) -> torch.device:
    """The device of this process, in a team one GPU each; the current one from now on.

    Raises:
        ConfigError: there is no such GPU, or several processes are told to use the same.
    """
    alone = _world_size() == 1
    if device.type != "cuda" or (alone and device.index is None):
        return device
    if not alone and device.index is not None:
        raise ConfigError(
            "several processes cannot share one GPU",
            got=f"device {device}",
            expected="device auto or cuda: each process then takes its own",
        )
    index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise ConfigError(
            f"there is no GPU {index} for this process",
            got=f"{torch.cuda.device_count()} GPUs, counted from 0",
            hint="start at most one process per GPU, or set device=cpu",
        )
    torch.cuda.set_device(index)  # NCCL and CUDA graphs work on the current device
    return torch.device("cuda", index)


class Team:
    """The processes of this training; alone, every call is trivial.

    Attributes:
        rank: of this process; 0 leads.
        size: number of processes.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, control: dist.ProcessGroup | None = None
    ) -> None:
        self.rank = rank
        self.size = size
        self._control = control  # for what the leader says; None: the group of the gradients

    @classmethod
    def join(cls, device: torch.device) -> Team:
        """The team that the environment names (`torchrun`), or a team of one.

        Args:
            device: of this process, see `own_device`.
        """
        size = _world_size()
        if size == 1:
            return cls()
        if os.environ.get("MASTER_ADDR") in LOOPBACK:  # nothing beyond this machine
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        try:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            control = dist.new_group(backend="gloo", timeout=PATIENCE)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                "the processes do not find each other",
                got=str(error).splitlines()[0],
                hint="start them with `torchrun --nproc-per-node=N -m -- diwa.cli train ...`",
            ) from error
        return cls(dist.get_rank(), size, control)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def leave(self) -> None:
        """Say good-bye; when the leader does, the others stop waiting for it."""
        if self.size == 1:
            return
        if self.leads:
            with suppress(ConfigError):  # who has ended already needs no word
                self._word(None)
        self._control = None
        gc.collect()  # a wrapped model that lives on would hold the threads of the group
        dist.destroy_process_group()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work that needs all processes.

        Raises:
            ConfigError: another process has ended, or does not answer.
        """
        try:
            yield
        except RuntimeError as error:
            if not _lost(error):
                raise
            raise ConfigError(
                "another process of this training has ended or does not answer",
                got=str(error).splitlines()[0],
                hint="see what that one said; the same command goes on from what was saved",
            ) from error

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
        word = self._word(stop)
        if word is None:
            raise ConfigError("the leading process has ended", hint="see what that one said")
        if word and dist.get_backend() == "nccl":
            torch.cuda.synchronize()  # the others still need this process's part of the last step
        return bool(word)

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

    def announce(self, order: Mapping[str, Any]) -> None:
        """The leader begins a shared stage."""
        if self.size > 1 and self.leads:
            self._word(order)

    def follow(self, work: Mapping[str, Callable[[Mapping[str, Any]], None]]) -> None:
        """Do what the leader announces, until it leaves: `work` by name of the stage."""
        while (order := self._word(None)) is not None:
            work[order["stage"]](order)

    def _word(self, word: object) -> Any:
        """What the leader says, in every process; None: that it leaves."""
        box = [word if self.leads else None]
        with self.together():
            dist.broadcast_object_list(box, 0, group=self._control)
        return box[0]


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _lost(error: RuntimeError) -> bool:
    """Whether it says that the connection to another process is gone; gloo has no type for it."""
    return isinstance(error, dist.DistError) or "gloo/" in str(error)
