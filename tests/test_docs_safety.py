# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""docs/safety.md gives every figure that a robot's file has, as it is there."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
FR3 = yaml.safe_load((ROOT / "config/robots/fr3.yaml").read_text(encoding="utf-8"))
SECTIONS = ("motion", "guard", "gripper", "stiffness", "home")
FIGURES = [(section, key) for section in SECTIONS for key in FR3[section] if key != "joints"]


def table_rows():
    """Names in backticks of a row's first cell, and the numbers of its second."""
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) >= 2:
            yield re.findall(r"`(\w+)`", cells[0]), re.findall(r"-?\d+(?:\.\d+)?", cells[1])


@pytest.mark.parametrize(("section", "key"), FIGURES)
def test_figure_is_in_a_table_with_its_value(section, key):
    found = [
        (names, numbers)
        for names, numbers in table_rows()
        if key in names and len(numbers) in (1, len(names))
    ]
    values = [
        float(numbers[names.index(key) if len(numbers) > 1 else 0]) for names, numbers in found
    ]
    assert float(FR3[section][key]) in values, (key, values)


def test_every_key_of_the_arm_is_explained():
    for key in FR3["arm"]:
        assert f"`{key}`" in TEXT


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([\w.]+)(?:#[\w-]+)?\)", TEXT):
        if target not in ("faults.md", "deploy.md"):
            assert (ROOT / "docs" / target).is_file(), target
