# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Which recorded frames are successes, and which ones a dream may start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diwa.data.contract import PROPRIO_SIZES, Contract
from diwa.data.dataset import Dataset
from diwa.data.manifest import EpisodeInfo
from diwa.errors import ConfigError
from diwa.sim.tasks import find_task, task_succeeded
from diwa.train.experiment import StartConfig


def demos_of(dataset: Dataset, task: str, limit: int | None = None) -> list[EpisodeInfo]:
    """The successful demonstrations of a task, in recorded order, at most `limit`."""
    demos = [
        episode
        for episode in dataset.episodes
        if episode.kind == "demo" and episode.task == task and episode.outcome == "success"
    ]
    if not demos:
        known = sorted({e.task for e in dataset.episodes if e.kind == "demo"})
        raise ConfigError(
            f"{dataset.path}: no successful demonstration of {task}",
            got=f"demonstrations of: {', '.join(known) or 'nothing'}",
            hint="record some, or label the outcome of recorded ones",
        )
    return demos[:limit]


def scene_key(contract: Contract) -> str | None:
    """The observation key that holds the scene, None when the contract has none."""
    keys = [key for key, stream in contract.observations.items() if stream.kind == "scene"]
    return keys[0] if keys else None


def proprio_slice(contract: Contract, part: str) -> slice:
    """Where a part of proprioception stands."""
    if part not in contract.proprio:
        raise ConfigError(f"contract {contract.name}: proprio", expected=f"{part} among the parts")
    offset = 0
    for name in contract.proprio:
        if name == part:
            break
        offset += PROPRIO_SIZES[name]
    return slice(offset, offset + PROPRIO_SIZES[part])


@dataclass(frozen=True, slots=True)
class SceneLabeller:
    """Success by the task's condition, against the scenes in which demonstrations start.

    Demonstrations start in slightly different scenes; a frame is a success only if it would be one
    from each of them.
    """

    task: str
    key: str
    references: np.ndarray  # (demos, 24) float32

    @classmethod
    def of(cls, dataset: Dataset, task: str) -> SceneLabeller:
        """The labeller for a task of a dataset that records the scene."""
        key = scene_key(dataset.contract)
        if key is None:
            raise ConfigError(
                f"contract {dataset.contract.name}: no scene is recorded",
                hint="set classifier_training.labels to outcome and starts.source to demo",
            )
        firsts = [dataset.array(demo.id, key)[0] for demo in demos_of(dataset, task)]
        return cls(task, key, np.stack(firsts))

    def success(self, scene: np.ndarray) -> np.ndarray:
        """(T, 24) -> bool (T,)."""
        solved = task_succeeded(self.task, self.references[:, None], scene[None])
        return np.asarray(solved.all(axis=0))

    def unsolved(self, scene: np.ndarray, tolerance: float) -> np.ndarray:
        """(T, 24) -> bool (T,): the task's entry is where demonstrations find it."""
        entry = find_task(self.task).index
        known = self.references[:, entry]
        value = scene[:, entry]
        return (value >= known.min() - tolerance) & (value <= known.max() + tolerance)


def outcome_labels(length: int, tail: int) -> np.ndarray:
    """(length,) bool: the last `tail` frames of a successful demonstration."""
    labels = np.zeros(length, dtype=bool)
    labels[max(0, length - tail) :] = True
    return labels


def start_frames(
    dataset: Dataset, task: str, episode_ids: list[str], config: StartConfig
) -> list[tuple[str, int]]:
    """Recorded frames from which the task could begin: (episode id, frame).

    From play: the task's own part of the scene is as demonstrations find it, the TCP hardly moves
    and is near where demonstrations start. Broad on purpose: with demonstration starts alone,
    dreams look far better than reality and fine-tuning learns nothing.
    """
    demos = demos_of(dataset, task)
    if config.source == "demo":
        return [(demo.id, 0) for demo in demos]
    labeller = SceneLabeller.of(dataset, task)
    position = proprio_slice(dataset.contract, "position")
    rotation = proprio_slice(dataset.contract, "rotation_6d")
    firsts = np.stack([dataset.array(demo.id, "proprio")[0] for demo in demos])
    low = firsts[:, position].min(axis=0) - config.margin
    high = firsts[:, position].max(axis=0) + config.margin
    chosen: list[tuple[str, int]] = []
    for name in episode_ids:
        proprio = np.asarray(dataset.array(name, "proprio"))
        tcp = proprio[:, position]
        step = np.linalg.norm(np.diff(tcp, axis=0, prepend=tcp[:1]), axis=1)
        fits = (tcp >= low).all(axis=1) & (tcp <= high).all(axis=1) & (step <= config.max_step)
        fits &= _near(proprio[:, rotation], firsts[:, rotation], config.rotation_margin)
        scene = np.asarray(dataset.array(name, labeller.key))
        fits &= labeller.unsolved(scene, config.scene_tolerance)
        chosen += [(name, int(frame)) for frame in np.flatnonzero(fits)]
    if not chosen:
        raise ConfigError(
            f"{dataset.path}: no play frame is a possible start of {task}",
            hint="record more play, or widen starts.margin, starts.max_step",
        )
    return chosen


def _near(rotation: np.ndarray, references: np.ndarray, limit: float) -> np.ndarray:
    """(N, 6), (M, 6) -> bool (N,): turned at most `limit` [rad] from some reference."""
    matrices, known = _matrices(rotation), _matrices(references)
    trace = np.einsum("nij,mij->nm", matrices, known)
    angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    return np.asarray(angle.min(axis=1) <= limit)


def _matrices(rotation_6d: np.ndarray) -> np.ndarray:
    first, second = rotation_6d[:, :3], rotation_6d[:, 3:]
    return np.stack((first, second, np.cross(first, second)), axis=-1)


def start_observations(
    dataset: Dataset, starts: list[tuple[str, int]], keys: list[str]
) -> dict[str, np.ndarray]:
    """The observations of start frames, as first frames of an episode: per key (N, ...)."""
    result = {
        key: np.stack([dataset.array(name, key)[frame] for name, frame in starts]) for key in keys
    }
    if "proprio" in result and "gripper_action" in dataset.contract.proprio:
        entry = proprio_slice(dataset.contract, "gripper_action")
        result["proprio"][:, entry] = dataset.contract.action.neutral[-1]
    return result
