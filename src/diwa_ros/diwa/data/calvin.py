# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""CALVIN's published data to a dataset: play in pieces, and demonstrations by annotation.

Frames go through `compose_observation`, as live ones do. Long play becomes episodes of a few
thousand frames; neighbours share their border frame, so that no transition is lost. Every
episode is on disk when it is done: a broken-off import goes on with the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diwa.data.calvin_frames import RATE_HZ, check_contract, check_frame, observe_frame
from diwa.data.calvin_layout import (
    CalvinSplit,
    Demonstration,
    open_split,
    read_frame,
    read_published_statistics,
)
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.episode import Kind, Outcome
from diwa.data.importing import ImportProgress, begin_import, proprio_columns
from diwa.data.manifest import read_record
from diwa.data.statistics import merge, statistics_of
from diwa.errors import ConfigError

PIECE = 3000  # frames of an episode of play: 100 s
# Of robot_obs, what proprioception holds unchanged: part of the contract, entries of robot_obs.
COMPARABLE = {"position": range(3), "gripper_width": range(6, 7), "arm_joints": range(7, 14)}


@dataclass(frozen=True, slots=True)
class CalvinImport:
    """What an import has made.

    Attributes:
        dataset: finished, with everything that its folder holds.
        play_frames: of this import.
        demonstrations: how many per skill, of this import.
        off_by: largest difference between our mean of robot_obs and the published one, in
            published standard deviations; None for a subset, or where none are published.
    """

    dataset: Dataset
    play_frames: int
    demonstrations: dict[str, int]
    off_by: float | None


@dataclass(frozen=True, slots=True)
class _Piece:
    id: str
    kind: Kind
    task: str
    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    @property
    def outcome(self) -> Outcome:
        return "success" if self.kind == "demo" else "unknown"


def import_calvin(
    source: Path,
    out: Path,
    contract: Contract,
    *,
    split: str = "training",
    subset: int | None = None,
    tasks: Sequence[str] | None = None,
    demos: int | None = None,
    workers: int = 2,
    progress: ImportProgress | None = None,
    piece: int = PIECE,
) -> CalvinImport:
    """Add a split of CALVIN's to a dataset folder; episodes that are there are not read again.

    Args:
        source: the split's folder, or the one above it.
        out: dataset folder, new or from an earlier call.
        contract: with CALVIN's rate and units; its image keys are the names in the files.
        split: which one, if `source` has several.
        subset: at most so many frames of play, from the start; None: all.
        tasks: skills whose demonstrations to take; None: all.
        demos: at most so many demonstrations per skill, the first ones; None: all.
        workers: threads that read frames.
        progress: is told of every finished frame.
        piece: longest episode of play [frames].

    Raises:
        ConfigError: names the file, or what in the contract does not fit.
    """
    check_contract(contract)
    calvin = open_split(source, split)
    chosen = _choose_demonstrations(calvin, tasks, demos)
    spans = _play_spans(calvin, subset)
    play = [item for span in spans for item in _play_pieces(calvin.name, *span, piece)]
    pieces = [*play, *map(_demonstration_piece, [calvin.name] * len(chosen), chosen)]
    pieces = list({item.id: item for item in pieces}.values())
    writer = DatasetWriter(out, contract)
    begin_import(out, f"calvin-{calvin.name}", contract, {"piece": piece})
    if progress is not None:
        progress.start(f"calvin {calvin.name}", sum(item.length for item in pieces))
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for item in pieces:
            if not writer.has(item.id):
                arrays = _read_piece(calvin, contract, item, pool)
                source_name = f"CALVIN {calvin.name} {item.first}-{item.last}"
                writer.add_episode(item.id, item.kind, item.task, item.outcome, arrays, source_name)
            if progress is not None:
                progress.advance(item.length)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if progress is not None:
        progress.finish()
    return CalvinImport(
        dataset=writer.finish(),
        play_frames=sum(last - first + 1 for first, last in spans),
        demonstrations=dict(Counter(item.task for item in pieces if item.kind == "demo")),
        off_by=_off_by(out, contract, calvin, play) if subset is None else None,
    )


def _choose_demonstrations(
    calvin: CalvinSplit, tasks: Sequence[str] | None, demos: int | None
) -> list[Demonstration]:
    known = {item.task for item in calvin.demonstrations}
    unknown = sorted(set(tasks or ()) - known)
    if unknown:
        raise ConfigError(
            f"{calvin.folder}: no demonstrations of {', '.join(unknown)}",
            expected=", ".join(sorted(known)) or "a split with lang_annotations",
        )
    taken: Counter[str] = Counter()
    chosen = []
    for item in calvin.demonstrations:
        wanted = tasks is None or item.task in tasks
        if wanted and (demos is None or taken[item.task] < demos):
            taken[item.task] += 1
            chosen.append(item)
    return chosen


def _play_spans(calvin: CalvinSplit, subset: int | None) -> list[tuple[int, int]]:
    """First and last frame of the play to take, two frames or more each."""
    left = subset if subset is not None else sum(b - a + 1 for a, b in calvin.intervals)
    spans = []
    for first, last in calvin.intervals:
        last = min(last, first + left - 1)
        if last > first:
            spans.append((first, last))
            left -= last - first + 1
    return spans


def _play_pieces(split: str, first: int, last: int, piece: int) -> Iterable[_Piece]:
    while first < last:
        end = min(last, first + piece - 1)
        yield _Piece(f"calvin_{split}_{first:07d}_{end:07d}", "play", "", first, end)
        first = end


def _demonstration_piece(split: str, item: Demonstration) -> _Piece:
    name = f"calvin_{split}_{item.task}_{item.first:07d}_{item.last:07d}"
    return _Piece(name, "demo", item.task, item.first, item.last)


def _read_piece(
    calvin: CalvinSplit, contract: Contract, item: _Piece, pool: ThreadPoolExecutor
) -> dict[str, np.ndarray]:
    """Arrays of an episode, as `DatasetWriter.add_episode` takes them."""
    scenes = any(stream.kind == "scene" for stream in contract.observations.values())
    keys = ("robot_obs", "rel_actions", *contract.image_keys, *(("scene_obs",) if scenes else ()))

    def load(index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        path = calvin.frame_path(index)
        frame = read_frame(path, keys)
        check_frame(path, frame, contract)
        return observe_frame(frame, contract), frame["rel_actions"].astype(np.float32)

    frames = list(pool.map(load, range(item.first, item.last + 1)))
    indices = np.arange(item.first, item.last + 1)
    return {
        "stamp_ns": np.round(indices * 1e9 / RATE_HZ).astype(np.int64),
        "action": np.stack([action for _, action in frames[:-1]]),
        **{key: np.stack([frame[key] for frame, _ in frames]) for key in frames[0][0]},
    }


def _off_by(
    out: Path, contract: Contract, calvin: CalvinSplit, play: Sequence[_Piece]
) -> float | None:
    """See `CalvinImport.off_by`."""
    published = read_published_statistics(calvin.folder)
    if published is None or not play:
        return None
    ours = statistics_of(merge([read_record(out, item.id).moments["proprio"] for item in play]))
    mean, std = published
    off = [0.0]
    for part, entries in COMPARABLE.items():
        if part in contract.proprio:
            columns = proprio_columns(contract, part)
            distance = np.abs(ours.mean[columns] - mean[list(entries)])
            off.append(float((distance / np.maximum(std[list(entries)], 1e-9)).max()))
    return max(off)
