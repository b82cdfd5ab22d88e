# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A training step as one CUDA graph: recorded once, then replayed without a call per kernel.

A recurrent model launches thousands of small kernels a step, and a GPU waits for most of them. The
step runs as it is on other devices, and for its first few times on a GPU, where libraries choose
their kernels. A graph reads and writes the same memory every time: inputs are copied into place,
and results must be read before the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

WARM_UP = 3  # steps before the recording

Work = Callable[[Sequence[Tensor]], Sequence[Tensor]]


class Recorder(Protocol):
    """How work is recorded on a device."""

    def warm_up(self, work: Work, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Do the work as it will be recorded."""
        ...

    def record(
        self, work: Work, inputs: Sequence[Tensor]
    ) -> tuple[Callable[[], None], list[Tensor]]:
        """Record without doing: what replays it, and where the results will be."""
        ...


class CudaRecorder:
    """CUDA graphs.

    Args:
        generators: that the work draws from.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators
        self._stream = torch.cuda.Stream()

    def warm_up(self, work: Work, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """On a stream of its own, as graphs want it."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            results = work(inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return results

    def record(
        self, work: Work, inputs: Sequence[Tensor]
    ) -> tuple[Callable[[], None], list[Tensor]]:
        """Capture one step."""
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._stream):
            results = list(work(inputs))
        return graph.replay, results


class StepGraph:
    """Does the same work on every call, from a recording after the first few.

    Args:
        work: tensors in, tensors out; shapes never change. It may draw random numbers and step an
            optimiser, but must not look at a tensor's content.
        recorder: of the device; None: the work is simply done.
    """

    def __init__(self, work: Work, recorder: Recorder | None) -> None:
        self._work = work
        self._recorder = recorder
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._results: list[Tensor] = []
        self._replay: Callable[[], None] | None = None

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """One step; the results are overwritten by the next one."""
        if self._recorder is None:
            return self._work(inputs)
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._recorder.warm_up(self._work, inputs)
        if self._replay is None:
            self._inputs = [value.clone() for value in inputs]
            self._replay, self._results = self._recorder.record(self._work, self._inputs)
        for place, value in zip(self._inputs, inputs, strict=True):
            assert place.shape == value.shape, (place.shape, value.shape)
            place.copy_(value)
        self._replay()
        return self._results


def recorder_for(
    wanted: bool, device: torch.device, generators: Sequence[torch.Generator]
) -> Recorder | None:
    """What records on this device; None where nothing does, or nothing should."""
    return CudaRecorder(generators) if wanted and device.type == "cuda" else None


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float, device: torch.device) -> None:
    """Change the rate of all groups: in place where a recorded step reads it from the device."""
    for group in optimiser.param_groups:
        if not group.get("capturable"):
            group["lr"] = rate
        elif isinstance(group["lr"], Tensor) and group["lr"].device.type == device.type:
            group["lr"].fill_(rate)
        else:
            group["lr"] = torch.tensor(rate, device=device)
