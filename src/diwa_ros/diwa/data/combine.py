# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Datasets made of others: merged, or split in parts. Arrays are shared by hard links.

Files of a dataset are only ever replaced, never written into, so that datasets which share them
stay independent. Where links are not possible (another disk), files are copied.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diwa.data.arrays import array_specs
from diwa.data.build_report import read_reports, write_report
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset
from diwa.data.manifest import (
    MANIFEST,
    EpisodeFile,
    EpisodeInfo,
    read_record,
    shard_path,
    write_manifest,
    write_record,
)
from diwa.errors import ConfigError
from diwa.files import atomic_path, fsync_path

NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)
Origin = tuple[Path, str]  # a dataset folder, and the id of an episode there


def merge_datasets(folders: Sequence[Path], out: Path, *, rename: bool = False) -> Dataset:
    """Put the episodes of several datasets into a new one, deleted ones included.

    An episode that is in several of them with the same arrays is taken once, with the labels of
    the first.

    Args:
        folders: datasets of one contract.
        out: folder to make.
        rename: give another id to an episode whose id stands for other arrays in an earlier
            dataset, instead of refusing.

    Raises:
        ConfigError: contracts that differ, with the difference; ids that clash.
    """
    datasets = [Dataset.open(folder) for folder in folders]
    if not datasets:
        raise ConfigError("merge: no datasets given")
    first = datasets[0]
    chosen: dict[str, Origin] = {}
    contents: dict[str, str] = {}
    for dataset in datasets:
        first.contract.require_same(dataset.contract, str(first.path), str(dataset.path))
        for info in dataset.manifest.episodes:
            name = info.id
            if contents.get(name) == info.content:
                continue
            if name in contents:
                if not rename:
                    raise ConfigError(
                        f"{dataset.path}: episode {name} is another one than in {chosen[name][0]}",
                        hint="give --rename to keep both",
                    )
                name = _free_name(name, info.content, contents)
                if name in contents:
                    continue
            chosen[name] = (dataset.path, info.id)
            contents[name] = info.content
    return _link(first.contract, chosen, out)


def split_dataset(
    folder: Path, parts: Mapping[str, Sequence[str]], out: Path
) -> dict[str, Dataset]:
    """Write each part of a dataset's episodes as a dataset `out/PART`.

    Args:
        folder: of the dataset.
        parts: ids by name of the part.
        out: folder to make the parts in.
    """
    dataset = Dataset.open(folder)
    empty = [name for name, ids in parts.items() if not ids]
    if empty:
        raise ConfigError(
            f"{folder}: no episode is left for part {empty[0]!r}",
            got=f"{len(dataset.episodes)} episodes",
            hint="choose other parts",
        )
    _require_new([out / name for name in parts])
    return {
        name: _link(dataset.contract, {i: (folder, i) for i in ids}, out / name)
        for name, ids in parts.items()
    }


def parts_by_share(
    episodes: Sequence[EpisodeInfo], shares: Mapping[str, float], seed: int = 0
) -> dict[str, list[str]]:
    """Draw episodes for parts of given shares, alike in kind, task and outcome.

    What was recorded in one bag stays together, since its pieces are much alike.

    Args:
        episodes: to choose from.
        shares: by part, above 0, with a sum of 1.
        seed: of the draw; the same seed gives the same parts.
    """
    if any(share <= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(
            "split: shares", got=dict(shares), expected="positive numbers with a sum of 1"
        )
    rng = np.random.default_rng(seed)
    parts: dict[str, list[str]] = {name: [] for name in shares}
    owed = dict.fromkeys(shares, 0.0)  # frames that a part should have and has not
    groups: dict[tuple[object, ...], dict[str, list[EpisodeInfo]]] = {}
    for info in episodes:
        group = groups.setdefault((info.deleted, info.kind, info.task, info.outcome), {})
        group.setdefault(info.source or info.id, []).append(info)
    for label in sorted(groups, key=str):
        owed = dict.fromkeys(shares, 0.0) if label[0] else owed
        sources = sorted(groups[label])
        for index in rng.permutation(len(sources)):
            together = groups[label][sources[index]]
            length = sum(info.length for info in together)
            owed = {name: owed[name] + shares[name] * length for name in owed}
            name = max(owed, key=lambda part: owed[part] / shares[part])
            owed[name] -= length
            parts[name] += [info.id for info in together]
    return {name: sorted(ids) for name, ids in parts.items()}


def parts_by_label(episodes: Sequence[EpisodeInfo], field: str) -> dict[str, list[str]]:
    """Parts by the value of kind, task or outcome; without a task: `no_task`."""
    parts: dict[str, list[str]] = {}
    for info in episodes:
        parts.setdefault(str(getattr(info, field)) or f"no_{field}", []).append(info.id)
    return parts


def _free_name(name: str, content: str, contents: Mapping[str, str]) -> str:
    """`NAME-b2`, `NAME-b3`...: the first that is free or stands for the same arrays."""
    number = 2
    while contents.get(f"{name}-b{number}", content) != content:
        number += 1
    return f"{name}-b{number}"


def _link(contract: Contract, chosen: Mapping[str, Origin], out: Path) -> Dataset:
    """A dataset of the chosen episodes; what a broken-off call has done is used."""
    _require_new([out])
    rows = []
    for name, (folder, origin) in chosen.items():
        record = read_record(folder, origin)
        row = record.info.model_copy(update={"id": name})
        for key in array_specs(contract):
            link_file(shard_path(folder, key, origin), shard_path(out, key, name))
        write_record(out, EpisodeFile(info=row, moments=record.moments, history=record.history))
        rows.append(row)
    for key in array_specs(contract):
        fsync_path(out / "shards" / key)
    for folder in {folder for folder, _ in chosen.values()}:
        for name, report in read_reports(folder).items():
            if all(chosen.get(episode) == (folder, episode) for episode in report.episodes):
                write_report(out, name, report)
    rows.sort(key=lambda row: row.id)
    return Dataset(out, write_manifest(out, contract, rows))


def _require_new(folders: Sequence[Path]) -> None:
    for folder in folders:
        if (folder / MANIFEST).exists():
            raise ConfigError(f"{folder}: is a dataset already", hint="choose another folder")


def link_file(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where that is not possible."""
    if not source.is_file():
        raise ConfigError(
            f"{source}: no such file",
            hint="see what is wrong with `diwa dataset doctor`",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if target.samefile(source):
            return
        target.unlink()
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
