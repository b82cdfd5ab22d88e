# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Robots' limits: what we ship loads, stays below the arm's own limits, and mistakes are told."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from diwa.control import robots
from diwa.control.robots import load_robot
from diwa.errors import ConfigError


@pytest.fixture
def written(root, tmp_path):
    """Writes a changed copy of fr3.yaml: a function of the section, key and value."""

    def write(section, key, value):
        raw = yaml.safe_load((root / "config/robots/fr3.yaml").read_text())
        raw[section][key] = value
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(raw))
        return path

    return write


@pytest.mark.parametrize("name", ["fr3", "panda"])
def test_robot_we_ship_loads_by_name_and_by_path(root, name):
    limits = load_robot(name)
    assert limits.name == name
    assert limits == load_robot(root / f"config/robots/{name}.yaml")
    assert limits.motion.max_speed <= 0.25
    assert limits.motion.max_deceleration < limits.arm.translation_acceleration


def test_robots_differ_in_what_the_arm_can_do_and_not_in_how_it_is_used():
    fr3, panda = load_robot("fr3"), load_robot("panda")
    assert fr3.arm != panda.arm
    assert fr3.model_copy(update={"name": "", "arm": None}) == panda.model_copy(
        update={"name": "", "arm": None}
    )


def test_every_default_is_in_the_files_we_ship(root):
    # A lab that opens the file sees every figure that is used.
    raw = yaml.safe_load((root / "config/robots/fr3.yaml").read_text())
    assert raw == yaml.safe_load(yaml.safe_dump(load_robot("fr3").model_dump(mode="json")))


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("motion", "max_speed", 3.5, "max_speed is beyond what the arm can do"),
        ("motion", "max_deceleration", 9.5, "max_deceleration is beyond"),
        ("motion", "max_speed", 0.0, "max_speed"),
        ("motion", "max_speed", float("inf"), "max_speed"),
        ("motion", "leash_m", float("nan"), "leash_m"),
        ("motion", "max_sped", 0.1, "max_sped"),
        ("home", "joints", [0.0] * 7, "home.joints"),
        ("home", "joints", [0.0] * 6, "joints"),
        ("guard", "stretch", 0.5, "stretch"),
    ],
)
def test_mistake_in_a_robot_file_names_file_and_key(written, section, key, value, message):
    path = written(section, key, value)
    with pytest.raises(ConfigError, match=message) as error:
        load_robot(path)
    assert str(path) in str(error.value)


def test_unknown_robot_names_those_we_ship():
    with pytest.raises(ConfigError, match=re.compile("ur5.*fr3, panda", re.DOTALL)):
        load_robot("ur5")


def test_robot_is_found_below_the_prefix_of_an_installation(root, tmp_path, monkeypatch):
    folder = tmp_path / "share/diwa_ros/config/robots"
    folder.mkdir(parents=True)
    (folder / "fr3.yaml").write_text((root / "config/robots/fr3.yaml").read_text())
    package = tmp_path / "lib/python3.11/site-packages/diwa/control"
    monkeypatch.setattr(robots, "__file__", str(package / "robots.py"))
    monkeypatch.setattr(sys, "prefix", str(Path("/nowhere")))
    assert load_robot("fr3").name == "fr3"
