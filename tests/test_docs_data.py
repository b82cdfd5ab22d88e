# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""docs/data.md names what there is: commands, checks, policies, codecs, files, pictures."""

import re
from typing import get_args
from xml.etree import ElementTree

import pytest

from diwa.commands import NAMES
from diwa.data.contract import PROPRIO_SIZES, Stream
from diwa.data.episode import EpisodeRecord
from diwa.data.lerobot_layout import Codec


@pytest.fixture(scope="module")
def text(root) -> str:
    return (root / "docs/data.md").read_text(encoding="utf-8")


def test_every_command_for_datasets_is_named(text):
    table = text.partition("## The contract")[0]
    for name in NAMES:
        group, _, action = name.rpartition(" ")
        if group == "dataset" and action != "simulate":  # makes data; it belongs to the simulator
            assert f"`{action}" in table, name


def test_every_check_of_the_doctor_is_listed_and_no_other(text, root):
    source = "".join(p.read_text() for p in (root / "src/diwa_ros/diwa/data").rglob("*.py"))
    patterns = (r'check="([a-z-]+)"', r'\.finding\(\s*"([a-z-]+)"', r'from_error\(\s*"([a-z-]+)"')
    made = {name for pattern in patterns for name in re.findall(pattern, source)}
    assert len(made) > 15
    table = text.partition("## What the doctor looks for")[2].partition("\n\nDamaged bags")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)} == made


def test_every_policy_and_codec_is_explained(text):
    for name in get_args(Stream.model_fields["alignment"].annotation):
        assert f"| `{name}`" in text, name
    for name in get_args(Codec):
        assert f"| `{name}`" in text, name


def test_every_field_of_an_episode_is_explained(text):
    table = text.partition("| `episode.json` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= set(EpisodeRecord.model_fields)


def test_size_of_proprioception_is_that_of_the_contract(text, camera_contract):
    assert camera_contract.proprio_size == sum(PROPRIO_SIZES.values()) == 18
    assert "(18,) float32" in text


def test_linked_files_exist(text, root):
    links = re.findall(r"\]\(([^)#]+)", text)
    for link in links:
        if not link.startswith("http"):
            assert (root / "docs" / link).is_file(), link
    for path in re.findall(r"`(config/[\w/.]+\.\w+)`", text):
        assert (root / path).is_file(), path


@pytest.mark.parametrize("name", ["data_flow.svg", "alignment.svg"])
def test_pictures_are_well_formed_and_described(root, name):
    tree = ElementTree.parse(root / "docs" / name)
    assert tree.getroot().get("role") == "img"
    assert tree.getroot().get("aria-label")
