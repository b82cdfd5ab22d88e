# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""CALVIN's published folders: one `.npz` per frame, intervals of play, annotated demonstrations.

::

    SPLIT/episode_0000000.npz                 one frame: images, robot_obs, scene_obs, rel_actions
    SPLIT/ep_start_end_ids.npy                rows [first, last] of uninterrupted play, inclusive
    SPLIT/lang_annotations/auto_lang_ann.npy  which frames show which skill
    SPLIT/statistics.yaml                     mean and spread of robot_obs, as published
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diwa.config import read_yaml
from diwa.data.object_arrays import read_object
from diwa.errors import ConfigError

SPLITS = ("training", "validation")
INTERVALS = "ep_start_end_ids.npy"
ANNOTATIONS = "lang_annotations/auto_lang_ann.npy"
STATISTICS = "statistics.yaml"
ROBOT_SIZE = 15  # TCP position 3 [m] and Euler 3 [rad], width [m], joints 7 [rad], gripper {-1, 1}


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Frames `first` to `last`, inclusive, that the annotations call an example of `task`."""

    task: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class CalvinSplit:
    """One split on disk.

    Attributes:
        folder: with the frames.
        name: "training" or "validation", or what the folder is called.
        intervals: first and last frame of every stretch of play, inclusive.
        demonstrations: in the order of the annotations; none where there is no such file.
    """

    folder: Path
    name: str
    intervals: tuple[tuple[int, int], ...]
    demonstrations: tuple[Demonstration, ...]

    def frame_path(self, index: int) -> Path:
        """File of frame `index`."""
        return self.folder / f"episode_{index:07d}.npz"


def is_calvin(path: Path) -> bool:
    """Whether `path` is a split of CALVIN's, or a folder with splits."""
    return any((folder / INTERVALS).is_file() for folder in (path, *(path / s for s in SPLITS)))


def open_split(path: Path, split: str) -> CalvinSplit:
    """Read what a split says about itself.

    Args:
        path: the split's folder, or the one above it.
        split: which one to take from a folder of several.

    Raises:
        ConfigError: names the file that is missing or damaged.
    """
    folder = path if (path / INTERVALS).is_file() else path / split
    if not (folder / INTERVALS).is_file():
        raise ConfigError(
            f"{folder}: no split of CALVIN's",
            expected=f"a folder with {INTERVALS} and episode_XXXXXXX.npz",
            hint="give the folder that `training` and `validation` are in, or one of these",
        )
    intervals = _read_intervals(folder / INTERVALS)
    annotations = folder / ANNOTATIONS
    demonstrations = _read_demonstrations(annotations) if annotations.is_file() else ()
    name = "".join(c if c.isalnum() or c == "_" else "-" for c in folder.resolve().name)
    return CalvinSplit(folder, name, intervals, demonstrations)


def _read_intervals(path: Path) -> tuple[tuple[int, int], ...]:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read", got=error, hint="copy it again") from error
    sound = rows.ndim == 2 and rows.shape[1] == 2 and rows.dtype.kind in "iu" and len(rows) > 0
    rows = rows[np.argsort(rows[:, 0], kind="stable")] if sound else rows
    if not sound or (rows[:, 0] > rows[:, 1]).any() or (rows[1:, 0] <= rows[:-1, 1]).any():
        raise ConfigError(
            f"{path}: no list of intervals",
            got=f"{rows.dtype} {rows.shape}",
            expected="rows of two whole numbers, first <= last, that do not overlap",
        )
    return tuple((int(first), int(last)) for first, last in rows)


def _read_demonstrations(path: Path) -> tuple[Demonstration, ...]:
    content = read_object(path)
    try:
        tasks, spans = list(content["language"]["task"]), list(content["info"]["indx"])
        found = tuple(
            Demonstration(str(task), int(span[0]), int(span[1]))
            for task, span in zip(tasks, spans, strict=True)
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: no annotations that are known here",
            got=repr(error),
            expected="language.task and info.indx, of equal length",
        ) from error
    for item in found:
        if not item.task.isidentifier() or not 0 <= item.first < item.last:
            raise ConfigError(f"{path}: an annotation that makes no sense", got=item)
    return found


def read_frame(path: Path, keys: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays `keys` of one frame's file.

    Raises:
        ConfigError: names the file, and the array that is missing.
    """
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = sorted(set(keys) - set(archive.files))
            if missing:
                raise ConfigError(
                    f"{path}: arrays missing",
                    got=", ".join(sorted(archive.files)),
                    expected=", ".join(sorted(keys)),
                    hint="use a contract without the observations that are not there",
                )
            return {key: archive[key] for key in keys}
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file",
            expected="every frame of the intervals and annotations",
            hint="copy it again, or import less with --subset, --tasks or --demos",
        ) from error
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ConfigError(f"{path}: damaged", got=error, hint="copy it again") from error


def read_published_statistics(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Published mean and standard deviation of robot_obs (15,), or None where there are none."""
    path = folder / STATISTICS
    if not path.is_file():
        return None
    content = read_yaml(path)
    entries = content.get("robot_obs", []) if isinstance(content, dict) else []
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, dict) or not {"mean", "std"} <= set(entry):
            continue
        try:
            mean, std = (np.asarray(entry[key], dtype=np.float64) for key in ("mean", "std"))
        except (TypeError, ValueError):
            continue
        if mean.shape == std.shape == (ROBOT_SIZE,):
            return mean, std
    return None
