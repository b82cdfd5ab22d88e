# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Simulated tables side by side, shared out over worker processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np

from diwa.control.filter import SafetyFilter, SafetyLimits
from diwa.data.contract import Contract
from diwa.data.frames import compose_observation
from diwa.sim.evaluate import raw_observation, with_contract
from diwa.sim.play_table import PlayTableEnv

Observation = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Executed:
    """Chunks as they were executed in N tables."""

    observation: Observation  # per key (N, Ta, ...), after each action
    action: np.ndarray  # (N, Ta, 7) float32, what the safety filter let through
    solved: np.ndarray  # (N,) bool, at any step


class _Table:
    """One table in a worker: the loop of `diwa.sim.evaluate.run_episode`, a chunk at a time."""

    def __init__(self, contract: Contract, task: str) -> None:
        self._contract = contract
        self._task = task
        self._env = PlayTableEnv(with_contract(None, contract))
        self._safety = SafetyFilter(SafetyLimits.from_contract(contract))

    def reset(self, seed: int) -> Observation:
        self._safety = SafetyFilter(SafetyLimits.from_contract(self._contract))
        seen, _ = self._env.reset(seed=seed, options={"task": self._task})
        neutral = np.array(self._contract.action.neutral, dtype=np.float32)
        return self._compose(seen, neutral)

    def execute(self, chunk: np.ndarray) -> tuple[list[Observation], np.ndarray, bool]:
        frames, actions, solved = [], [], False
        for requested in chunk:
            safe = self._safety.filter(requested, self._env.target_pose, self._env.tcp_pose)
            seen, _, succeeded, _, _ = self._env.step(safe.action)
            solved = solved or bool(succeeded)
            frames.append(self._compose(seen, safe.action))
            actions.append(safe.action)
        return frames, np.stack(actions), solved

    def _compose(self, seen: Observation, action: np.ndarray) -> Observation:
        raw = raw_observation(self._env, seen, self._contract)
        return compose_observation(self._contract, raw, action)


def _serve(connection: Connection, contract: Contract, task: str, count: int) -> None:
    """A worker's life: until the other end is closed."""
    tables = [_Table(contract, task) for _ in range(count)]
    while True:
        try:
            order = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        answers = []
        for index, what in order:
            table = tables[index]
            answers.append(table.reset(what) if isinstance(what, int) else table.execute(what))
        connection.send(answers)


class SimulatorPool:
    """N tables for one task; use it in a `with` statement.

    Args:
        contract: how observations are composed and what is a safe action.
        task: a skill of `diwa.sim.tasks`.
        count: N.
        workers: processes.
    """

    def __init__(self, contract: Contract, task: str, count: int, workers: int = 2) -> None:
        workers = min(workers, count)
        context = multiprocessing.get_context("spawn")
        self.count = count
        self.contract = contract
        self._place = [(index % workers, index // workers) for index in range(count)]
        self._connections: list[Connection] = []
        self._processes = []
        for worker in range(workers):
            ours, theirs = context.Pipe()
            mine = sum(place[0] == worker for place in self._place)
            process = context.Process(
                target=_serve, args=(theirs, contract, task, mine), daemon=True
            )
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def __enter__(self) -> SimulatorPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join()

    def reset(self, seeds: Mapping[int, int]) -> Observation:
        """Begin new episodes: seed by table. Observations per key (len(seeds), ...), in order."""
        answers: dict[int, Observation] = self._ask(seeds)
        return _stack([answers[index] for index in seeds])

    def execute(self, chunks: np.ndarray) -> Executed:
        """Execute the chunks (N, Ta, 7) in all tables."""
        answers = self._ask(dict(enumerate(chunks)))
        frames, actions, solved = zip(*[answers[i] for i in range(self.count)], strict=True)
        return Executed(
            _stack([_stack(row) for row in frames]), np.stack(actions), np.array(solved)
        )

    def _ask(self, orders: Mapping[int, int | np.ndarray]) -> dict[int, Any]:
        by_worker: dict[int, list[int]] = {}
        for index in orders:
            by_worker.setdefault(self._place[index][0], []).append(index)
        for worker, indices in by_worker.items():
            order = [(self._place[index][1], orders[index]) for index in indices]
            self._connections[worker].send(order)
        answers: dict[int, Any] = {}
        for worker, indices in by_worker.items():
            answers.update(zip(indices, self._connections[worker].recv(), strict=True))
        return answers


def _stack(rows: Sequence[Observation]) -> Observation:
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
