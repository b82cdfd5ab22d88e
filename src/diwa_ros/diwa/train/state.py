# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a stage needs to go on exactly where it was: optimisers, samplers, random generators.

A state is nested dicts, lists, tuples, numbers, strings, None, tensors and arrays. It becomes one
safetensors file whose header carries the structure as JSON and a checksum: one file, so that a
crash cannot leave a mixture, and nothing to unpickle.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError

from diwa.errors import ConfigError
from diwa.files import atomic_path
from diwa.train.checkpoint import packed

FORMAT = "diwa-state"
VERSION = "1"
_HINT = "delete this file; the stage then starts from its beginning"


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the file by `state` in one step.

    Raises:
        TypeError: something in `state` is not plain data; the message says where.
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_encode(dict(state), tensors, "state"))
    tensors = packed(tensors)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "structure": structure,
        "sha256": _digest(structure, tensors),
    }
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=header)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; tensors come back on the CPU.

    Raises:
        ConfigError: the file is missing, damaged, newer, or something else.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file", expected="a saved state")
    try:
        with safetensors.safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ConfigError(f"{path}: damaged", got=error, hint=_HINT) from error
    if header.get("format") != FORMAT:
        raise ConfigError(f"{path}: not a saved state", expected=f"format {FORMAT}")
    if header.get("version") != VERSION:
        raise ConfigError(
            f"{path}: made by another version",
            got=header.get("version"),
            expected=VERSION,
            hint=_HINT,
        )
    structure = header.get("structure", "")
    if _digest(structure, tensors) != header.get("sha256"):
        raise ConfigError(f"{path}: damaged", got="another checksum than it says", hint=_HINT)
    state: dict[str, Any] = _decode(json.loads(structure), tensors)
    return state


def rng_state(**generators: np.random.Generator | torch.Generator) -> dict[str, Any]:
    """State of torch's global generators and of the named ones, for `save_state`."""
    named = {
        name: generator.get_state()
        if isinstance(generator, torch.Generator)
        else dict(generator.bit_generator.state)
        for name, generator in generators.items()
    }
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda, "named": named}


def set_rng_state(
    state: Mapping[str, Any], **generators: np.random.Generator | torch.Generator
) -> None:
    """Put the generators where `rng_state` found them. The names must be the same."""
    if set(state["named"]) != set(generators):
        raise ConfigError(
            "the saved random state is of another stage",
            got=sorted(state["named"]),
            expected=", ".join(sorted(generators)),
            hint=_HINT,
        )
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    for name, generator in generators.items():
        if isinstance(generator, torch.Generator):
            generator.set_state(state["named"][name])
        else:
            generator.bit_generator.state = state["named"][name]


def _encode(value: Any, tensors: dict[str, torch.Tensor], where: str) -> Any:
    """`value` as JSON; what JSON cannot say is a list that begins with its kind."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else ["float", repr(value)]
    if isinstance(value, torch.Tensor | np.ndarray):
        name = str(len(tensors))
        if isinstance(value, torch.Tensor):
            tensors[name] = value
            return ["tensor", name]
        tensors[name] = torch.from_numpy(np.array(value))
        return ["array", name]
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, [_encode(v, tensors, f"{where}[{i}]") for i, v in enumerate(value)]]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str | int):
                raise TypeError(f"{where}: a key is {type(key).__name__}, expected str or int")
        return [
            "dict",
            [[key, _encode(item, tensors, f"{where}[{key!r}]")] for key, item in value.items()],
        ]
    raise TypeError(f"{where}: {type(value).__name__} cannot be saved; make it plain data first")


def _decode(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind == "float":
        return float(content)
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    items = [_decode(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)


def _digest(structure: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
