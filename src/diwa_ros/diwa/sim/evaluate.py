# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Success of an actor in the simulator, episode by episode, on given seeds.

The loop is the one that serving runs: 30 observations a second composed under the contract, the
safety filter last before the arm, and the action that was really executed as the next
`previous_action`. An episode depends on its seed alone, so two actors evaluated on the same seeds
are paired, and an evaluation that was cut goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from diwa.control.filter import SafetyFilter, SafetyLimits
from diwa.data.contract import Contract
from diwa.data.frames import compose_observation
from diwa.files import write_text
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv
from diwa.train.progress import NullProgress, Progress
from diwa.train.stop import StopFlag


class Actor(Protocol):
    """What is evaluated: called once per control step, it hides chunks and filtering."""

    def reset(self, seed: int | None = None) -> None:
        """An episode begins; an actor's own random numbers start from `seed`."""

    def act(self, observation: dict[str, np.ndarray], previous_action: np.ndarray) -> np.ndarray:
        """The action (7,) in [-1, 1] for this frame, after `previous_action` (7,)."""


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One episode."""

    seed: int
    success: bool
    steps: int  # control steps taken


class Recorder(Protocol):
    """Looks on; renders only the steps that it wants."""

    def __call__(self, episode: int, step: int, render: Callable[[], np.ndarray]) -> None:
        """Step `step` of the `episode`-th seed is about to be acted on."""


def evaluate(
    actor: Actor,
    task: str,
    seeds: Sequence[int],
    *,
    contract: Contract,
    max_steps: int,
    env_config: PlayTableConfig | None = None,
    progress: Progress | None = None,
    name: str = "evaluation",
    stop: StopFlag | None = None,
    results_path: Path | None = None,
    recorder: Recorder | None = None,
) -> list[EpisodeResult]:
    """Run one episode per seed.

    Args:
        actor: what acts.
        task: a skill of `diwa.sim.tasks`; every episode starts with it undone and feasible.
        seeds: draw the starts; one episode each, in this order.
        contract: how observations are composed and what is a safe action.
        max_steps: control steps until an episode counts as failed.
        env_config: what to simulate; None: what the contract needs.
        progress: shows episodes and the success rate so far.
        name: of this job in the progress.
        stop: looked at between two episodes.
        results_path: a file that keeps every finished episode; seeds found there are not run.
        recorder: sees every step.

    Raises:
        Interrupted: `stop` was set.
    """
    progress = progress if progress is not None else NullProgress()
    kept = _Results(results_path)
    todo = [(index, seed) for index, seed in enumerate(seeds) if seed not in kept.by_seed]
    progress.start(name, len(seeds), len(seeds) - len(todo))
    env = PlayTableEnv(with_contract(env_config, contract))
    try:
        for index, seed in todo:
            if stop is not None:
                stop.check()
            look = _watch(recorder, index, env)
            kept.add(run_episode(env, actor, task, seed, contract, max_steps, look))
            progress.advance(success=kept.rate(seeds))
    finally:
        env.close()
        progress.finish()
    return [kept.by_seed[seed] for seed in seeds]


def run_episode(
    env: PlayTableEnv,
    actor: Actor,
    task: str,
    seed: int,
    contract: Contract,
    max_steps: int,
    look: Callable[[int], None] = lambda step: None,
) -> EpisodeResult:
    """One episode from the start that `seed` draws, until success or `max_steps`."""
    safety = SafetyFilter(SafetyLimits.from_contract(contract))
    observation, _ = env.reset(seed=seed, options={"task": task})
    actor.reset(seed)
    action = np.array(contract.action.neutral, dtype=np.float32)
    for step in range(max_steps):
        look(step)
        seen = compose_observation(contract, raw_observation(env, observation, contract), action)
        requested = actor.act(seen, action)
        action = safety.filter(requested, env.target_pose, env.tcp_pose).action
        observation, _, succeeded, _, _ = env.step(action)
        if succeeded:
            return EpisodeResult(seed, True, step + 1)
    return EpisodeResult(seed, False, max_steps)


def raw_observation(
    env: PlayTableEnv, observation: dict[str, np.ndarray], contract: Contract
) -> dict[str, np.ndarray]:
    """What the contract's topics would carry now, by observation key."""
    by_kind = {
        "pose": lambda key: env.tcp_pose,
        "joints": lambda key: env.joint_positions,
        "scene": lambda key: observation["scene_obs"],
        "image": lambda key: observation[key],
    }
    return {key: by_kind[stream.kind](key) for key, stream in contract.observations.items()}


def with_contract(config: PlayTableConfig | None, contract: Contract) -> PlayTableConfig:
    """`config` with the contract's action and, where it has images, its cameras."""
    changes: dict[str, object] = {"action": contract.action}
    for key, size in (("rgb_static", "static_size"), ("rgb_gripper", "gripper_size")):
        if key in contract.image_keys:
            stream = contract.observations[key]
            changes |= {"cameras": True, size: (stream.height, stream.width)}
    return (config or PlayTableConfig()).model_copy(update=changes)


def _watch(recorder: Recorder | None, episode: int, env: PlayTableEnv) -> Callable[[int], None]:
    if recorder is None:
        return lambda step: None
    return lambda step: recorder(episode, step, env.render)


class _Results:
    """Finished episodes by seed, and their file: one JSON object per line."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.by_seed: dict[int, EpisodeResult] = {}
        if path is None or not path.exists():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                result = EpisodeResult(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue  # cut by a crash: that episode runs again
            self.by_seed[result.seed] = result

    def add(self, result: EpisodeResult) -> None:
        """Keep a finished episode."""
        self.by_seed[result.seed] = result
        if self._path is not None:
            lines = (json.dumps(asdict(item)) + "\n" for item in self.by_seed.values())
            write_text(self._path, "".join(lines))

    def rate(self, seeds: Sequence[int]) -> float:
        """Success rate of those of `seeds` that are finished."""
        found = [self.by_seed[seed].success for seed in seeds if seed in self.by_seed]
        return sum(found) / len(found)
