# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Message definitions for writing bags; read from files, so that no ROS code is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from diwa.errors import ConfigError


def typestore_for(types: Collection[str]) -> Typestore:
    """A type store that knows `types` and everything that they contain.

    Standard messages are built in; others are looked up as ``share/PACKAGE/msg/NAME.msg`` in
    every ``AMENT_PREFIX_PATH`` entry, in this Python's environment and in the source tree.

    Raises:
        ConfigError: a type that is nowhere.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    waiting = [name for name in types if name not in store.fielddefs]
    found: dict[str, tuple[list, list]] = {}
    while waiting:
        name = waiting.pop()
        if name in found or name in store.fielddefs:
            continue
        parsed = get_types_from_msg(_definition(name).read_text(encoding="utf-8"), name)
        found.update(parsed)
        for _, fields in parsed.values():
            waiting += [inner for inner in (_type_inside(field) for _, field in fields) if inner]
    if found:
        store.register(found)
    return store


def _type_inside(field: tuple) -> str | None:
    """Name of the message type in a field's description; None for a plain value."""
    kind, value = field
    if kind == Nodetype.NAME:
        return str(value)
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return _type_inside(value[0])
    return None


def _definition(name: str) -> Path:
    package, _, short = name.partition("/msg/")
    tried = [folder / package / "msg" / f"{short}.msg" for folder in _share_folders()]
    for path in tried:
        if path.is_file():
            return path
    raise ConfigError(
        f"message type {name}: no definition found",
        got="none of " + ", ".join(map(str, tried)),
        expected="package/msg/Name of an installed package",
        hint="install or build the package, and source its setup file",
    )


def _share_folders() -> list[Path]:
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    source_tree = Path(__file__).resolve().parents[3]
    return [*(prefix / "share" for prefix in (*prefixes, Path(sys.prefix))), source_tree]
