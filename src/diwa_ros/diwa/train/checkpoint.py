# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Weights as safetensors + JSON; nothing here is ever unpickled. Resume states: `train/state.py`.

A checkpoint folder holds `checkpoint.json` and the `weights-<hash>.safetensors` that it names with
its checksum. The JSON is renamed into place last, so a crash leaves the old pair or the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError

from diwa.errors import ConfigError
from diwa.files import atomic_path, read_json, sha256_file, write_json

FORMAT = "diwa-checkpoint"
VERSION = 1
FILE_NAME = "checkpoint.json"


class Checkpoint(NamedTuple):
    """What `load_weights` returns."""

    tensors: dict[str, torch.Tensor]  # on the CPU
    meta: dict[str, Any]


def save_weights(
    directory: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
) -> None:
    """Replace the checkpoint in `directory` in one step.

    Args:
        directory: made where it is missing; holds one checkpoint.
        tensors: any device; tied and non-contiguous tensors are copied.
        meta: JSON data; `meta["kind"]` says what the weights are for, and `load_weights` asks.
    """
    kind = meta["kind"]
    data = safetensors.torch.save(packed(tensors))
    digest = hashlib.sha256(data).hexdigest()
    name = f"weights-{digest[:8]}.safetensors"
    with atomic_path(directory / name) as temporary:
        temporary.write_bytes(data)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "weights": {"file": name, "sha256": digest},
        "meta": dict(meta),
    }
    write_json(directory / FILE_NAME, header)
    for old in directory.glob("weights-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def load_weights(directory: Path, kind: str) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        ConfigError: it is missing, damaged, from something else, newer, or of another kind.
    """
    header = _read_header(directory, kind)
    try:
        tensors = _read_tensors(directory, header)
    except FileNotFoundError:  # replaced between the two reads: the new pair is complete
        header = _read_header(directory, kind)
        try:
            tensors = _read_tensors(directory, header)
        except FileNotFoundError as error:
            raise ConfigError(
                f"{directory}: the checkpoint is incomplete",
                got=f"no {error.filename}",
                hint="copy the whole folder, or train this stage again",
            ) from error
    return Checkpoint(tensors, header["meta"])


def _read_header(directory: Path, kind: str) -> dict[str, Any]:
    path = directory / FILE_NAME
    if not path.exists():
        raise ConfigError(
            f"{directory}: no checkpoint here",
            expected=f"a folder with {FILE_NAME}",
            hint="name the folder that a training run wrote",
        )
    header = read_json(path)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ConfigError(f"{path}: not a checkpoint of this project", expected=f"format {FORMAT}")
    if header.get("version") != VERSION:
        raise ConfigError(
            f"{path}: made by another version",
            got=f"version {header.get('version')}",
            expected=f"version {VERSION}",
            hint="update this software, or load the checkpoint where it was made",
        )
    if header.get("kind") != kind:
        raise ConfigError(
            f"{path}: wrong kind of checkpoint", got=header.get("kind"), expected=kind
        )
    weights = header.get("weights")
    sound = isinstance(weights, dict) and {"file", "sha256"} <= weights.keys()
    if not sound or not isinstance(header.get("meta"), dict):
        raise ConfigError(f"{path}: damaged", hint="copy it again, or train this stage again")
    return header


def _read_tensors(directory: Path, header: dict[str, Any]) -> dict[str, torch.Tensor]:
    path = directory / Path(str(header["weights"]["file"])).name  # never outside the folder
    if sha256_file(path) != header["weights"]["sha256"]:
        raise ConfigError(
            f"{path}: damaged",
            got="another checksum than checkpoint.json says",
            hint="copy it again, or train this stage again",
        )
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ConfigError(f"{path}: not a safetensors file", got=error) from error


def packed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous copies on the CPU that share no memory, as safetensors wants them."""
    return {
        name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
