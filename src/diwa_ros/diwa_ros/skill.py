# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One run of a skill: frames in, chunks out, and when to stop. No ROS in here.

The rules are those of the evaluation loop, with chunks on the way: every frame goes through the
recurrent filter, and a new chunk is planned at the frame where the last one has been executed, or
where few of its actions are left.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

import numpy as np

from diwa.data.contract import Contract
from diwa.data.frames import Frame, compose_observation
from diwa.errors import ConfigError

HELD_FRAMES = 15  # frames without an executed action after which a chunk counts as lost
LATENCIES = 1000  # chunks over which percentiles are taken


class Agent(Protocol):
    """What a skill needs of `diwa.agent.Agent`."""

    contract: Contract

    def reset(self, seed: int | None = None) -> None:
        """Forget everything."""

    def observe(self, observation: dict[str, np.ndarray], previous_action: np.ndarray) -> None:
        """Filter one frame."""

    def plan(self) -> np.ndarray:
        """A chunk (Ta, 7) for the newest frame."""

    def success_probability(self) -> float:
        """Of the newest frame."""


class SkillRun:
    """Feeds an agent; used by one thread.

    Args:
        agent: reset here.
        seed: of the policy's noise; None: the agent's own.
        plan_ahead: actions of a chunk that may be left when the next one is planned.
        dry: nothing will be executed; every frame counts as if an action had been.

    Attributes:
        frames: frames observed.
        chunks: chunks planned.
        actions: actions executed up to the latest frame.
        probability: success probability of the latest frame.
        first_ns: stamp of the first frame [ns]; None before it.
        last_ns: stamp of the latest frame [ns].
        epoch: episode epoch of the latest frame.
    """

    def __init__(
        self, agent: Agent, seed: int | None = None, plan_ahead: int = 0, *, dry: bool = False
    ) -> None:
        self._agent = agent
        self._seed = seed
        self._plan_ahead = plan_ahead
        self._dry = dry
        self._slack = agent.contract.period_ns // 2
        self.restart()

    def restart(self) -> None:
        """Begin again, as if nothing had been seen."""
        self.frames = 0
        self.chunks = 0
        self.actions = 0
        self.probability = 0.0
        self.first_ns: int | None = None
        self.last_ns = 0
        self.epoch = 0
        self._executed: deque[int] = deque()  # stamps of actions that no frame has followed yet
        self._length = 0  # actions of the last chunk
        self._pending = 0  # those of them that are not executed yet
        self._planned_at = 0
        self._agent.reset(self._seed)

    @property
    def elapsed_s(self) -> float:
        """Observation time since the first frame [s]."""
        return (self.last_ns - self.first_ns) / 1e9 if self.first_ns is not None else 0.0

    def executed(self, stamp_ns: int) -> None:
        """An action that began at `stamp_ns` was executed, and not merely held."""
        self._executed.append(stamp_ns)

    def observe(self, frame: Frame) -> None:
        """Filter a frame. After a break in the frames the filter starts anew."""
        if frame.is_first and self.frames:
            self._agent.reset(self._seed)
        self._agent.observe(frame.observation, frame.previous_action)
        self.probability = self._agent.success_probability()
        self.frames += 1
        self.last_ns = frame.stamp_ns
        self.epoch = frame.epoch or 0
        if self.first_ns is None:
            self.first_ns = frame.stamp_ns
        if self._dry and self.chunks:
            self._pending -= 1
        while self._executed and self._executed[0] < frame.stamp_ns - self._slack:
            self._executed.popleft()
            self._pending -= 1
            self.actions += 1

    @property
    def needs_plan(self) -> bool:
        """Whether the last chunk has been executed but for a rest, or seems to be lost."""
        executed = self._length - self._pending
        held = self.frames - self._planned_at - executed
        ahead = min(self._plan_ahead, self._length - 1)
        return self._pending <= max(ahead, 0) or held >= HELD_FRAMES

    def plan(self) -> np.ndarray:
        """A chunk for the latest frame, (Ta, 7) float32.

        Raises:
            FloatingPointError: the policy's output is not finite.
        """
        chunk = self._agent.plan()
        if not np.isfinite(chunk).all():
            raise FloatingPointError("the policy's output is not finite")
        self.chunks += 1
        self._pending = self._length = len(chunk)
        self._planned_at = self.frames
        return chunk


class Percentiles(NamedTuple):
    """Of latencies [s]."""

    p50: float
    p95: float
    p99: float


class Latencies:
    """The latest latencies."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=LATENCIES)

    def add(self, seconds: float) -> None:
        """Count one."""
        self._values.append(seconds)

    @property
    def last(self) -> float:
        """The latest one [s]; 0 before the first."""
        return self._values[-1] if self._values else 0.0

    def percentiles(self) -> Percentiles:
        """Zeros before the first."""
        if not self._values:
            return Percentiles(0.0, 0.0, 0.0)
        return Percentiles(*np.percentile(list(self._values), [50, 95, 99]).tolist())


def warm_up(agent: Agent) -> None:
    """Run the models on an empty observation, twice: the first inference is the slowest.

    Raises:
        ConfigError: what comes out is not finite, or not the same both times.
    """
    contract = agent.contract
    raw = {
        key: {
            "pose": lambda _: np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
            "joints": lambda stream: np.zeros(len(stream.names)),
            "scene": lambda stream: np.zeros(stream.size, dtype=np.float32),
            "image": lambda stream: np.zeros((stream.height, stream.width, 3), dtype=np.uint8),
        }[stream.kind](stream)
        for key, stream in contract.observations.items()
    }
    action = np.array(contract.action.neutral, dtype=np.float32)
    frame = compose_observation(contract, raw, action)
    first, second = (_outputs(agent, frame, action) for _ in range(2))
    agent.reset()
    if not np.isfinite(first).all():
        raise ConfigError(
            "the checkpoint's models give numbers that are not finite",
            hint="train again; was the training stable?",
        )
    if not np.array_equal(first, second):
        raise ConfigError(
            "the checkpoint's models are not deterministic",
            got=f"outputs that differ by {np.abs(first - second).max():.3g} for the same input",
            hint="try another device, or fewer threads",
        )


def _outputs(agent: Agent, frame: dict[str, np.ndarray], action: np.ndarray) -> np.ndarray:
    """What the models say to three frames: probabilities and a chunk, flat."""
    agent.reset()
    values = []
    for _ in range(3):
        agent.observe(frame, action)
        values.append(agent.success_probability())
    return np.array([*values, *agent.plan().ravel().tolist()])
