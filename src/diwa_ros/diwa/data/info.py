# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa info PATH`: what a dataset, bag, checkpoint or run folder holds, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diwa.data.arrays import array_specs
from diwa.data.bag_tools import broken_bags
from diwa.data.build_report import as_text, read_reports
from diwa.data.dataset import Dataset
from diwa.data.edit import edits_of
from diwa.data.episode import UNFINISHED, find_bags, read_episode
from diwa.data.info_bags import describe_bag, describe_bags, describe_unfinished, list_bags
from diwa.data.manifest import MANIFEST, read_manifest
from diwa.data.text_table import duration, size, table
from diwa.errors import ConfigError
from diwa.files import read_json

METADATA = "metadata.yaml"
CHECKPOINT = "checkpoint.json"
STAGES = "stages"


def describe(path: Path) -> str:
    """Several lines about whatever `path` is.

    Raises:
        ConfigError: it is nothing of ours, or it is damaged.
    """
    kinds: dict[str, Callable[[Path], str]] = {
        MANIFEST: _describe_dataset,
        UNFINISHED: describe_unfinished,
        METADATA: describe_bag,
        CHECKPOINT: _describe_checkpoint,
        STAGES: _describe_run,
    }
    for name, describe_kind in kinds.items():
        if (path / name).exists():
            return describe_kind(path)
    if path.is_dir() and (find_bags(path) or broken_bags(path)):
        return describe_bags(path)
    got = "none of " + ", ".join(kinds) if path.exists() else "no such folder"
    raise _unknown(path, got, "a dataset, a bag, a folder of bags, a checkpoint or a run")


def _unknown(path: Path, got: str, expected: str) -> ConfigError:
    return ConfigError(f"{path}: nothing that is known here", got=got, expected=expected)


def list_episodes(path: Path) -> str:
    """Every episode of a dataset or a folder of bags, with its labels."""
    if (path / MANIFEST).exists():
        rows = [
            (i.id, i.kind, i.task or "-", i.outcome, i.length, "deleted" if i.deleted else "")
            for i in read_manifest(path).episodes
        ]
        return table(("episode", "kind", "task", "outcome", "frames", ""), rows, most=None)
    if not find_bags(path):
        raise _unknown(path, "no episodes", "a dataset, a bag or a folder of bags")
    return list_bags(path, most=None)


def list_edits(path: Path) -> str:
    """What was relabelled or deleted in a dataset, oldest first."""
    rows = [
        (
            edit.at[:19].replace("T", " "),
            name,
            ", ".join(f"{field} {a!r} -> {b!r}" for field, (a, b) in edit.changes.items()),
            edit.reason,
            "taken back" if edit.undone else "",
        )
        for name, edit in edits_of(path)
    ]
    return table(("time (UTC)", "episode", "change", "reason", ""), rows, most=None)


def facts_of(path: Path) -> dict[str, Any]:
    """What programs may want to know of a dataset or of bags, as plain JSON data."""
    if (path / MANIFEST).exists():
        manifest = read_manifest(path)
        plain: dict[str, Any] = manifest.model_dump(mode="json")
        edits = [{"episode": name, **edit.model_dump(mode="json")} for name, edit in edits_of(path)]
        return {"path": str(path), **plain, "edits": edits}
    if not find_bags(path):
        raise _unknown(path, "no episodes", "a dataset, a bag or a folder of bags")
    bags = {str(bag): read_episode(bag).model_dump(mode="json") for bag in find_bags(path)}
    return {"path": str(path), "format": "bags", "bags": bags}


def _describe_dataset(path: Path) -> str:
    dataset = Dataset.open(path)
    rate = dataset.contract.rate_hz
    frames = sum(info.length for info in dataset.episodes)
    deleted = len(dataset.manifest.episodes) - len(dataset.episodes)
    on_disk = sum(file.stat().st_size for file in (path / "shards").rglob("*.npy"))
    groups: Counter[tuple[str, str, str]] = Counter()
    lengths: Counter[tuple[str, str, str]] = Counter()
    for info in dataset.episodes:
        group = (info.kind, info.task or "-", info.outcome)
        groups[group] += 1
        lengths[group] += info.length
    rows = [(*group, groups[group], lengths[group]) for group in sorted(groups)]
    arrays = []
    for key, (dtype, shape) in array_specs(dataset.contract).items():
        text = f"{dtype} {'x'.join(map(str, shape)) or 'scalar'}"
        known = dataset.statistics.get(key)
        spread = f"{known.min.min():.4g} to {known.max.max():.4g}" if known else ""
        unchanging = int(np.sum(known.std == 0)) if known else 0
        arrays.append((key, text, spread, f"{unchanging} never change" if unchanging else ""))
    reports = [
        report
        for report in read_reports(path).values()
        if {info.id for info in dataset.episodes} & set(report.episodes)
    ]
    lines = ["", "", "  built from bags", *(f"  {line}" for line in as_text(reports).splitlines())]
    built = "\n".join(line.rstrip() for line in lines)
    return "\n".join(
        [
            f"dataset {path}",
            f"  contract   {dataset.contract.name}, {rate:g} Hz, hash {dataset.contract.hash}",
            f"  hash       {dataset.hash}",
            f"  episodes   {len(dataset.episodes)}" + (f" and {deleted} deleted" * bool(deleted)),
            f"  frames     {frames} ({duration(frames / rate)})",
            f"  on disk    {size(on_disk)}",
            "",
            table(("kind", "task", "outcome", "episodes", "frames"), rows),
            "",
            table(("key", "per frame", "range", ""), arrays) + built * bool(reports),
        ]
    )


def _describe_checkpoint(path: Path) -> str:
    header = read_json(path / CHECKPOINT)
    weights = path / str(header.get("weights", {}).get("file", ""))
    on_disk = size(weights.stat().st_size) if weights.is_file() else "missing"
    lines = [f"checkpoint {path}", f"  kind       {header.get('kind')}", f"  weights    {on_disk}"]
    for name, value in sorted(header.get("meta", {}).items()):
        if isinstance(value, dict):
            value = value.get("name") or f"{len(value)} entries"
        lines.append(f"  {name:<10} {value}")
    return "\n".join(lines)


def _describe_run(path: Path) -> str:
    rows = []
    for done in sorted((path / STAGES).glob("*/done.json"), key=lambda file: file.stat().st_mtime):
        record = read_json(done)
        result = record.get("result", {}).items()
        shown = ", ".join(f"{k} {v:.4g}" for k, v in result if isinstance(v, int | float))
        memory = size(record.get("peak_memory_bytes", 0))
        rows.append((done.parent.name, duration(record.get("seconds", 0)), memory, shown))
    finished = {row[0] for row in rows}
    begun = {folder.name for folder in (path / STAGES).iterdir() if folder.is_dir()} - finished
    rows += [(name, "begun", "", "") for name in sorted(begun)]
    return "\n".join([f"run {path}", "", table(("stage", "time", "memory", "result"), rows)])
