# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A dataset straight from the simulator, without nodes and bags: for experiments by the dozen.

Frames, actions and labels are those that the recorder and the dataset builder would give: the
scripts are the same, the safety filter is in the loop, and observations are composed by the same
code. An episode depends on its seed alone, and one that is on disk is not simulated again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic

from diwa.config import Config
from diwa.control.filter import SafetyFilter, SafetyLimits
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.frames import compose_observation
from diwa.errors import ConfigError
from diwa.sim.evaluate import raw_observation, with_contract
from diwa.sim.play import PlayGenerator
from diwa.sim.play_table import PlayTableEnv
from diwa.sim.skills import ScriptedSkill, SkillStyle
from diwa.sim.tasks import SKILLS, find_task, task_succeeded
from diwa.train.progress import NullProgress, Progress
from diwa.train.stop import StopFlag

ATTEMPTS = 10  # per demonstration that is wanted
DEMO_STEPS = 240  # most that a demonstration may take

Count = Annotated[int, pydantic.Field(ge=0)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Arrays = dict[str, np.ndarray]  # of an episode
Act = Callable[[dict[str, np.ndarray]], np.ndarray]  # observation of the simulator -> action (7,)


class CollectConfig(Config):
    """How much to simulate, and how it is played."""

    play_episodes: Count = 30
    play_steps: Annotated[int, pydantic.Field(ge=2)] = 2000  # control steps of each
    skills: tuple[str, ...] = SKILLS
    clumsy: Share = 0.5  # of the skills tried in play, those that are tried centimetres off
    wander: Share = 0.2
    poke: Share = 0.0  # of what is done in play: moving about near handles, for no purpose
    shaky: Share = 0.0  # of what is done in play: with a shaking hand, as weak policies do it
    demos: Count = 10  # successful demonstrations per skill
    demo_noise: Annotated[float, pydantic.Field(ge=0)] | None = None  # on actions; None: varied
    linger: Count = 8  # control steps that a demonstration goes on after its success
    seed: Count = 1


class Rollout:
    """Records frames of the simulator while something acts."""

    def __init__(self, env: PlayTableEnv, contract: Contract) -> None:
        self._env = env
        self._contract = contract
        self._safety = SafetyFilter(SafetyLimits.from_contract(contract))
        self._rows: dict[str, list[np.ndarray]] = defaultdict(list)
        self._action = np.array(contract.action.neutral, dtype=np.float32)
        self.observation: dict[str, np.ndarray] = {}

    def begin(self, seed: int, task: str) -> None:
        """Reset the simulator and look."""
        self._rows.clear()
        self._safety = SafetyFilter(SafetyLimits.from_contract(self._contract))
        self._action = np.array(self._contract.action.neutral, dtype=np.float32)
        options = {"task": task} if task else None
        self.observation, _ = self._env.reset(seed=seed, options=options)
        self._look()

    def step(self, act: Act) -> None:
        """One control step."""
        env = self._env
        requested = act(self.observation)
        self._action = self._safety.filter(requested, env.target_pose, env.tcp_pose).action
        self._rows["action"].append(self._action)
        self.observation, *_ = env.step(self._action)
        self._look()

    def arrays(self) -> dict[str, np.ndarray]:
        """What was seen and done, as `DatasetWriter.add_episode` takes it."""
        return {key: np.stack(rows) for key, rows in self._rows.items()}

    def _look(self) -> None:
        raw = raw_observation(self._env, self.observation, self._contract)
        for key, value in compose_observation(self._contract, raw, self._action).items():
            self._rows[key].append(value)


def collect_dataset(
    out: Path,
    contract: Contract,
    config: CollectConfig,
    *,
    progress: Progress | None = None,
    stop: StopFlag | None = None,
    workers: int = 1,
) -> Dataset:
    """Simulate play and demonstrations into a dataset folder; goes on where it was cut.

    Args:
        out: the folder.
        contract: what is recorded.
        config: how much, and how it is played.
        progress: of episodes.
        stop: looked at between episodes.
        workers: processes that simulate play; the dataset is the same for any number.

    Raises:
        ConfigError: unknown skills, another contract in `out`, or a script that keeps failing.
        Interrupted: `stop` was set.
    """
    for skill in config.skills:
        find_task(skill)
    writer = DatasetWriter(out, contract)
    progress = progress if progress is not None else NullProgress()
    stop = stop if stop is not None else StopFlag()
    plays = [f"play_{index:04}" for index in range(config.play_episodes)]
    names = [f"demo_{skill}_{i:04}" for skill in config.skills for i in range(config.demos)]
    progress.start("simulated play and demonstrations", len(plays) + len(names))
    missing = [index for index, name in enumerate(plays) if not writer.has(name)]
    progress.advance(len(plays) - len(missing))
    try:
        with contextlib.closing(_played(config, contract, missing, workers)) as played:
            for index in missing:
                stop.check()
                writer.add_episode(plays[index], "play", "", "unknown", next(played))
                progress.advance()
        with contextlib.closing(PlayTableEnv(with_contract(None, contract))) as env:
            rollout = Rollout(env, contract)
            for skill in config.skills:
                _demonstrate(writer, rollout, config, skill, progress, stop)
    finally:
        progress.finish()
    return writer.finish(only=[*plays, *names])


def _played(
    config: CollectConfig, contract: Contract, indices: Sequence[int], workers: int
) -> Generator[Arrays, None, None]:
    """Episodes of play in the order of `indices`, simulated here or by workers that take turns."""
    if workers <= 1 or len(indices) <= 1:
        yield from _play_all(config, contract, indices)
        return
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for worker in range(workers):
        here, there = context.Pipe(duplex=False)
        mine = indices[worker::workers]
        process = context.Process(target=_work, args=(there, config, contract, mine), daemon=True)
        process.start()
        there.close()
        ends.append(here)
        processes.append(process)
    try:
        for position in range(len(indices)):
            yield ends[position % workers].recv()
    except EOFError:
        raise ConfigError("a process that simulates play ended", hint="fewer workers") from None
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work(
    connection: Connection, config: CollectConfig, contract: Contract, indices: Sequence[int]
) -> None:
    """A worker: ends with its work, or when nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        for arrays in _play_all(config, contract, indices):
            connection.send(arrays)


def _play_all(
    config: CollectConfig, contract: Contract, indices: Sequence[int]
) -> Generator[Arrays, None, None]:
    """One episode of play after the other, each of its own seed."""
    with contextlib.closing(PlayTableEnv(with_contract(None, contract))) as env:
        rollout = Rollout(env, contract)
        for index in indices:
            _play(rollout, config, contract, index)
            yield rollout.arrays()


def _play(rollout: Rollout, config: CollectConfig, contract: Contract, index: int) -> None:
    rng = np.random.default_rng([config.seed, index])
    player = PlayGenerator(
        rng,
        config.skills,
        config.wander,
        config.clumsy,
        action=contract.action,
        poke=config.poke,
        shaky=config.shaky,
    )
    rollout.begin(config.seed + index, "")
    for _ in range(config.play_steps):
        rollout.step(lambda seen: player.act(seen["robot_obs"], seen["scene_obs"]))


def _demonstrate(
    writer: DatasetWriter,
    rollout: Rollout,
    config: CollectConfig,
    skill: str,
    progress: Progress,
    stop: StopFlag,
) -> None:
    """The wanted number of demonstrations of one skill."""
    for index in range(config.demos):
        name = f"demo_{skill}_{index:04}"
        seeds = ([config.seed, SKILLS.index(skill), index, attempt] for attempt in range(ATTEMPTS))
        if not writer.has(name):
            stop.check()
            if not any(_demonstrate_once(rollout, config, skill, seed) for seed in seeds):
                raise ConfigError(
                    f"{ATTEMPTS} demonstrations of {skill} failed one after the other",
                    got=f"demo_noise {config.demo_noise}",
                    hint="less noise",
                )
            writer.add_episode(name, "demo", skill, "success", rollout.arrays())
        progress.advance()


def _demonstrate_once(
    rollout: Rollout, config: CollectConfig, skill: str, seed: Sequence[int]
) -> bool:
    rng = np.random.default_rng(seed)
    style = SkillStyle.sample(rng, noise=config.demo_noise)
    script = ScriptedSkill(skill, style, rng)
    rollout.begin(int(rng.integers(2**31)), skill)
    start = rollout.observation["scene_obs"]
    lingered = 0
    for _ in range(DEMO_STEPS):
        rollout.step(lambda seen: script.act(seen["robot_obs"], seen["scene_obs"]))
        done = bool(task_succeeded(skill, start, rollout.observation["scene_obs"]))
        lingered = lingered + 1 if done or lingered else 0
        if lingered > config.linger:
            return done
        if script.finished and not lingered:
            return False
    return False
