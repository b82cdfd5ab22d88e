# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""docs/nodes.md and config/nodes/ say what the nodes declare."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NODES = sorted(path.stem for path in (ROOT / "config" / "nodes").glob("*.yaml"))
# Other modules that declare parameters of a node.
ELSEWHERE = {
    "franka_bridge": ("lifecycle", "arm_settings"),
    "play_recorder": ("lifecycle", "recorder_settings"),
    "policy_server": ("lifecycle", "serving_settings"),
}
TYPES = {bool: "bool", int: "int", float: "double", str: "string"}


def declared(node):
    """Default of every parameter that a node's module declares."""
    found = {}
    for name in (node, *ELSEWHERE.get(node, ())):
        tree = ast.parse((ROOT / "src" / "diwa_ros" / "diwa_ros" / f"{name}.py").read_text())
        for call in (item for item in ast.walk(tree) if isinstance(item, ast.Call)):
            function = getattr(call.func, "id", "")
            arguments = call.args[1:3] if function == "declare" else call.args[:2]
            if function not in ("declare", "seconds") or not isinstance(arguments[0], ast.Constant):
                continue
            found[arguments[0].value] = ast.literal_eval(arguments[1])
    return found


def documented(node):
    """Type and default in the parameter table of a node's section."""
    text = (ROOT / "docs" / "nodes.md").read_text()
    section = text.split(f"\n## {node}\n")[1].split("\n## ")[0]
    row = re.compile(r"^\| `(\w+)` \| (bool|int|double|string) \| (.+?) \|", re.MULTILINE)
    return {name: (kind, default) for name, kind, default in row.findall(section)}


@pytest.mark.parametrize("node", NODES)
def test_every_parameter_is_documented_with_type_and_default(node):
    expected = {}
    for name, default in declared(node).items():
        text = str(default).lower() if isinstance(default, bool) else str(default)
        expected[name] = (TYPES[type(default)], f"`{text}`" if text else "empty")
    assert expected
    assert documented(node) == expected


@pytest.mark.parametrize("node", NODES)
def test_settings_are_the_declared_defaults(node):
    settings = yaml.safe_load((ROOT / "config" / "nodes" / f"{node}.yaml").read_text())
    known = declared(node)
    for name, value in settings["/**"]["ros__parameters"].items():
        assert (type(value), value) == (type(known[name]), known[name]), name
