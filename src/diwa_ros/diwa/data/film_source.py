# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What there is to show of an episode, from a dataset or from a bag."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diwa.data.build import build_dataset
from diwa.data.dataset import Dataset
from diwa.data.episode import FILE_NAME
from diwa.data.film import EpisodeFilm
from diwa.data.importing import proprio_columns
from diwa.data.manifest import MANIFEST
from diwa.errors import ConfigError

MOST_NAMES = 12


def find_film(path: Path) -> EpisodeFilm:
    """The episode that `path` names.

    Args:
        path: a bag folder, or a dataset folder and the id of an episode, as one path.

    Raises:
        ConfigError: it is neither; says which episodes there are.
    """
    if (path / FILE_NAME).is_file():
        return _bag_film(path)
    if (path / MANIFEST).is_file():
        raise ConfigError(
            f"{path}: a dataset; which episode?",
            expected=_examples(path, [info.id for info in Dataset.open(path).episodes]),
        )
    if not (path.parent / MANIFEST).is_file():
        raise ConfigError(
            f"{path}: no episode",
            expected="a bag folder, or DATASET/ID with the id of an episode",
            hint=f"see `diwa info {path.parent}`",
        )
    dataset = Dataset.open(path.parent)
    names = [info.id for info in dataset.manifest.episodes]
    if path.name not in names:
        alike = [name for name in names if path.name in name] or names
        raise ConfigError(
            f"{path.parent}: no episode {path.name!r}", expected=_examples(path.parent, alike)
        )
    return episode_film(dataset, path.name)


def _examples(dataset: Path, names: Sequence[str]) -> str:
    shown = [str(dataset / name) for name in names[:MOST_NAMES]]
    rest = len(names) - len(shown)
    return "one of " + ", ".join(shown) + (f" and {rest} more" if rest else "")


def _bag_film(bag: Path) -> EpisodeFilm:
    """A bag as training would see it: the longest of the parts that it falls into."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = build_dataset([bag], Path(folder) / "dataset", workers=0)
        longest = max(dataset.episodes, key=lambda info: info.length)
        film = episode_film(dataset, longest.id)
        # The folder goes away: nothing may stay mapped from it.
        film.images.update({key: np.array(images) for key, images in film.images.items()})
        return film


def episode_film(dataset: Dataset, episode_id: str) -> EpisodeFilm:
    """What there is to show of an episode of a dataset, deleted ones included."""
    info = next(info for info in dataset.manifest.episodes if info.id == episode_id)
    contract = dataset.contract
    proprio = dataset.array(episode_id, "proprio")
    parts = {
        part: proprio[:, proprio_columns(contract, part)]
        for part in ("position", "gripper_width")
        if part in contract.proprio
    }
    seconds = info.length / contract.rate_hz
    labels = [info.kind, info.task or "no task", f"outcome {info.outcome}"]
    labels += [f"{info.length} frames", f"{seconds:.1f} s", f"contract {contract.name}"]
    width = parts.get("gripper_width")
    return EpisodeFilm(
        title=f"{episode_id}{'  (deleted)' if info.deleted else ''}",
        labels="   ".join(labels),
        rate_hz=contract.rate_hz,
        images={key: dataset.array(episode_id, key) for key in contract.image_keys},
        action=np.asarray(dataset.array(episode_id, "action")[:-1]),
        position=parts.get("position"),
        width=None if width is None else width[:, 0],
    )
