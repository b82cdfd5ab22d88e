# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A LeRobotDataset v3 to a dataset: what we exported, exactly; others under a given contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diwa.data.arrays import array_specs
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.episode import Kind
from diwa.data.importing import ImportProgress, begin_import
from diwa.data.lerobot_folder import (
    LeRobotFolder,
    decode_picture,
    open_lerobot,
    read_rows,
    read_video,
)
from diwa.data.lerobot_layout import PLAY, SIDECAR, feature_names
from diwa.data.lerobot_tables import column_array
from diwa.errors import ConfigError


def import_lerobot(
    source: Path,
    out: Path,
    contract: Contract | None = None,
    *,
    features: Mapping[str, str] | None = None,
    kind: Kind = "demo",
    progress: ImportProgress | None = None,
) -> Dataset:
    """Add the episodes of a LeRobotDataset; those that are there are not read again.

    Args:
        source: its folder.
        out: dataset folder, new or from an earlier call.
        contract: what the data mean; None: the one that our export has left in it.
        features: name of a feature by our key ("proprio", "action" or an observation), where it
            is not the one that our export gives it.
        kind: of episodes that do not say it themselves.
        progress: is told of every finished frame.

    Raises:
        ConfigError: names the file or the feature that does not fit.
    """
    folder = open_lerobot(source)
    if contract is None:
        if folder.sidecar is None:
            raise ConfigError(
                f"{source}: what its features mean is not known",
                expected=f"{SIDECAR}, which our export writes, or a contract",
                hint="give --contract, and --feature KEY=NAME where names differ",
            )
        contract = folder.sidecar.contract
    elif folder.sidecar is not None:
        contract.require_same(folder.sidecar.contract, "the given contract", str(source))
    names = {**feature_names(contract), **(features or {})}
    _check_features(folder, contract, names)
    writer = DatasetWriter(out, contract)
    settings = {"features": dict(sorted(names.items())), "kind": kind}
    begin_import(out, f"lerobot-{source.resolve().name}", contract, settings)
    if progress is not None:
        progress.start("import", sum(row["length"] for row in folder.episodes))
    for row in folder.episodes:
        labels = _labels(folder, row, kind)
        if not writer.has(labels["episode_id"]):
            writer.add_episode(**labels, arrays=_arrays(folder, contract, names, row))
        if progress is not None:
            progress.advance(row["length"])
    if progress is not None:
        progress.finish()
    return writer.finish()


def task_name(text: str) -> str:
    """A task's text as a name: "Open the drawer." becomes "open_the_drawer"."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return "" if name == PLAY else name


def _check_features(folder: LeRobotFolder, contract: Contract, names: Mapping[str, str]) -> None:
    specs = array_specs(contract)
    unknown = sorted(set(names) - set(specs))
    if unknown:
        raise ConfigError(
            f"contract {contract.name}: no key {', '.join(unknown)}", expected=", ".join(specs)
        )
    if abs(folder.info["fps"] - contract.rate_hz) > 1e-6:
        raise ConfigError(
            f"{folder.path}: another rate than the contract's",
            got=f"{folder.info['fps']} Hz",
            expected=f"{contract.rate_hz:g} Hz",
        )
    for key, (_, shape) in specs.items():
        entry = folder.info["features"].get(names[key])
        if entry is None and key == "stamp_ns":
            continue
        image = key in contract.image_keys
        given = None if entry is None else entry["dtype"] if image else tuple(entry["shape"])
        if given not in (("video", "image") if image else (shape or (1,),)):
            raise ConfigError(
                f"{folder.path}: feature {names[key]} for {key} does not fit",
                got=given or "features " + ", ".join(folder.info["features"]),
                expected="a video" if image else f"shape {shape or (1,)}",
                hint="give --feature KEY=NAME, or another --contract",
            )


def _labels(folder: LeRobotFolder, row: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Arguments of `DatasetWriter.add_episode` but for the arrays."""
    if "diwa/id" in row:
        return {
            "episode_id": row["diwa/id"],
            **{name: row[f"diwa/{name}"] for name in ("kind", "task", "outcome", "source")},
        }
    outcome = "unknown"
    if "next.success" in folder.info["features"]:
        ends = read_rows(folder, row, ["next.success"])["next.success"].to_pylist()
        outcome = "success" if np.ravel(ends)[-1] else "failure"
    return {
        "episode_id": f"lerobot_{row['episode_index']:06d}",
        "kind": kind,
        "task": task_name((row.get("tasks") or [""])[0]) if kind == "demo" else "",
        "outcome": outcome,
        "source": f"LeRobot {folder.path.resolve().name} episode {row['episode_index']}",
    }


def _arrays(
    folder: LeRobotFolder, contract: Contract, names: Mapping[str, str], row: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Arrays of one episode, as `DatasetWriter.add_episode` takes them."""
    ours = "diwa/id" in row
    features = folder.info["features"]
    present = [key for key in array_specs(contract) if names[key] in features]
    stored = [key for key in present if features[names[key]]["dtype"] != "video"]
    table = read_rows(folder, row, [names[key] for key in stored])
    arrays = {}
    for key in present:
        if key not in contract.image_keys:
            arrays[key] = column_array(table[names[key]], array_specs(contract)[key][0])
            continue
        if key in stored:
            images = [decode_picture(cell["bytes"]) for cell in table[names[key]].to_pylist()]
        else:
            images = list(read_video(folder, names[key], row))
        size = array_specs(contract)[key][1][:2]
        arrays[key] = np.stack([_fit(image, (size[0], size[1])) for image in images])
    if not ours:
        # What their last action led to was not recorded; ours has a neutral one there.
        arrays["action"] = arrays["action"][:-1]
        if not np.abs(arrays["action"]).max(initial=0.0) <= 1.0:
            raise ConfigError(
                f"{folder.path}: actions of episode {row['episode_index']} outside [-1, 1]",
                got=f"up to {np.abs(arrays['action']).max():.3g}",
                expected="relative poses of the end effector, in the contract's units",
            )
    return arrays


def _fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Image at the stored size (height, width), averaged over areas."""
    if image.shape[:2] == size:
        return image
    small = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)
