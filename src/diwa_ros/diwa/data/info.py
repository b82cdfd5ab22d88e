# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa info PATH`: what a dataset, bag, checkpoint or run folder holds, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diwa.data.arrays import array_specs
from diwa.data.bags import BagReader
from diwa.data.build_report import as_text, read_reports
from diwa.data.dataset import Dataset
from diwa.data.edit import edits_of
from diwa.data.episode import FILE_NAME, EpisodeRecord, find_bags, read_episode
from diwa.data.manifest import MANIFEST, read_manifest
from diwa.errors import ConfigError
from diwa.files import read_json

METADATA = "metadata.yaml"
CHECKPOINT = "checkpoint.json"
STAGES = "stages"
MOST_ROWS = 40


def describe(path: Path) -> str:
    """Several lines about whatever `path` is.

    Raises:
        ConfigError: it is nothing of ours, or it is damaged.
    """
    kinds: dict[str, Callable[[Path], str]] = {
        MANIFEST: _describe_dataset,
        METADATA: _describe_bag,
        CHECKPOINT: _describe_checkpoint,
        STAGES: _describe_run,
    }
    for name, describe_kind in kinds.items():
        if (path / name).exists():
            return describe_kind(path)
    if path.is_dir() and find_bags(path):
        return _describe_bags(path)
    raise ConfigError(
        f"{path}: nothing that is known here",
        got="no such folder" if not path.exists() else "none of " + ", ".join(kinds),
        expected="a dataset, a bag, a folder of bags, a checkpoint or a run",
    )


def list_episodes(path: Path) -> str:
    """Every episode of a dataset or a folder of bags, with its labels."""
    if (path / MANIFEST).exists():
        rows = [
            (i.id, i.kind, i.task or "-", i.outcome, i.length, "deleted" if i.deleted else "")
            for i in read_manifest(path).episodes
        ]
        return _table(("episode", "kind", "task", "outcome", "frames", ""), rows, most=None)
    return _list_bags(path, most=None)


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
    return _table(("time (UTC)", "episode", "change", "reason", ""), rows, most=None)


def facts_of(path: Path) -> dict[str, Any]:
    """What programs may want to know of a dataset or of bags, as plain JSON data."""
    if (path / MANIFEST).exists():
        manifest = read_manifest(path)
        plain: dict[str, Any] = manifest.model_dump(mode="json")
        edits = [{"episode": name, **edit.model_dump(mode="json")} for name, edit in edits_of(path)]
        return {"path": str(path), **plain, "edits": edits}
    bags = {str(bag): read_episode(bag).model_dump(mode="json") for bag in find_bags(path)}
    return {"path": str(path), "format": "bags", "bags": bags}


def _describe_dataset(path: Path) -> str:
    dataset = Dataset.open(path)
    rate = dataset.contract.rate_hz
    frames = sum(info.length for info in dataset.episodes)
    deleted = len(dataset.manifest.episodes) - len(dataset.episodes)
    size = sum(file.stat().st_size for file in (path / "shards").rglob("*.npy"))
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
    built = "\n  ".join(["", "", "built from bags", *as_text(reports).splitlines()])
    return "\n".join(
        [
            f"dataset {path}",
            f"  contract   {dataset.contract.name}, {rate:g} Hz, hash {dataset.contract.hash}",
            f"  hash       {dataset.hash}",
            f"  episodes   {len(dataset.episodes)}" + (f" and {deleted} deleted" * bool(deleted)),
            f"  frames     {frames} ({_duration(frames / rate)})",
            f"  on disk    {_size(size)}",
            "",
            _table(("kind", "task", "outcome", "episodes", "frames"), rows),
            "",
            _table(("key", "per frame", "range", ""), arrays) + built * bool(reports),
        ]
    )


def _describe_bag(path: Path) -> str:
    lines = [f"bag {path}"]
    if (path / FILE_NAME).is_file():
        record = read_episode(path)
        lines += [
            f"  episode    {record.id}, {record.kind}, contract {record.contract.name}",
            f"  task       {record.task or '-'}",
            f"  outcome    {_outcome(record)}",
        ]
        if record.note:
            lines.append(f"  note       {record.note}")
    with BagReader(path) as reader:
        lines.append(f"  duration   {_duration(reader.duration_s)}")
        rows = [
            (name, kind, count, f"{count / max(reader.duration_s, 1e-9):.1f}")
            for name, (kind, count) in sorted(reader.topics.items())
        ]
    return "\n".join([*lines, "", _table(("topic", "type", "messages", "per second"), rows)])


def _describe_bags(path: Path) -> str:
    bags = find_bags(path)
    total = sum(read_episode(bag).duration_s for bag in bags)
    lines = [f"{len(bags)} bags in {path}, {_duration(total)} together", ""]
    return "\n".join([*lines, _list_bags(path, MOST_ROWS)])


def _list_bags(path: Path, most: int | None) -> str:
    records = [read_episode(bag) for bag in find_bags(path)]
    rows = [(r.id, r.kind, r.task or "-", _outcome(r), _duration(r.duration_s)) for r in records]
    return _table(("episode", "kind", "task", "outcome", "duration"), rows, most)


def _describe_checkpoint(path: Path) -> str:
    header = read_json(path / CHECKPOINT)
    weights = path / str(header.get("weights", {}).get("file", ""))
    size = _size(weights.stat().st_size) if weights.is_file() else "missing"
    lines = [f"checkpoint {path}", f"  kind       {header.get('kind')}", f"  weights    {size}"]
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
        memory = _size(record.get("peak_memory_bytes", 0))
        rows.append((done.parent.name, _duration(record.get("seconds", 0)), memory, shown))
    finished = {row[0] for row in rows}
    begun = {folder.name for folder in (path / STAGES).iterdir() if folder.is_dir()} - finished
    rows += [(name, "begun", "", "") for name in sorted(begun)]
    return "\n".join([f"run {path}", "", _table(("stage", "time", "memory", "result"), rows)])


def _outcome(record: EpisodeRecord) -> str:
    return f"{record.outcome} ({record.reason})" if record.reason else record.outcome


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02d} s"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], most: int | None = MOST_ROWS
) -> str:
    """Text columns; numbers to the right, and at most so many rows."""
    body = [[str(cell) for cell in row] for row in rows]
    numeric = [all(isinstance(row[i], int) for row in rows) for i in range(len(header))]
    left_out = 0 if most is None else len(body) - most
    lines = [list(header), *body[:most]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    ]
    if left_out > 0:
        text.append(f"... and {left_out} more")
    return "\n".join(f"  {line}" for line in text)
