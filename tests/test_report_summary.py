# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The summary's figures and verdict, the facts beside it, and film strips."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from diwa.data.contract import load_contract
from diwa.data.manifest import EpisodeInfo, Manifest
from diwa.errors import ConfigError
from diwa.files import read_json, write_json
from diwa.train.facts import dataset_facts, machine, versions
from diwa.train.statistics import paired_difference, wilson
from diwa.train.strips import GAP, StripRecorder, film_strip
from diwa.train.summary import SkillSummary, judge, read_summary
from synthetic_run import make_run, outcomes

CONTRACTS = Path(__file__).resolve().parents[1] / "config" / "contracts"


def skill(base: int, adapted: int, episodes: int = 100, simulator_steps: int = 0) -> SkillSummary:
    return SkillSummary.from_outcomes(
        [True] * base + [False] * (episodes - base),
        [True] * adapted + [False] * (episodes - adapted),
        simulator_steps=simulator_steps,
    )


def test_skill_figures_are_those_of_the_statistics() -> None:
    base, adapted = outcomes(37, 100, 1), outcomes(62, 100, 2)
    result = SkillSummary.from_outcomes(base, adapted, simulator_steps=0, dream_adapted=0.7)
    assert result.base_interval == wilson(37, 100)[1:]
    assert (result.difference, *result.difference_interval) == paired_difference(base, adapted)
    assert result.gained - result.lost == 25
    assert result.gained == sum(a and not b for b, a in zip(base, adapted, strict=True))
    assert result.dream_gap == pytest.approx(0.08)
    assert result.dream_base is None


def test_skill_needs_pairs() -> None:
    with pytest.raises(ValueError, match="pairs"):
        SkillSummary.from_outcomes([True], [True, True], simulator_steps=0)


@pytest.mark.parametrize("successes", [0, 1, 19, 20])
def test_intervals_stay_within_their_range(successes: int) -> None:
    result = skill(successes, 20 - successes, 20)
    for rate, (low, high) in [
        (result.base, result.base_interval),
        (result.adapted, result.adapted_interval),
    ]:
        assert 0 <= low <= rate <= high <= 1
    assert -1 <= result.difference_interval[0] <= result.difference_interval[1] <= 1


@pytest.mark.parametrize(
    ("skills", "options", "decision", "words"),
    [
        ({"open_drawer": skill(37, 62)}, {}, "deploy", "open drawer by 25 points"),
        ({"open_drawer": skill(37, 38)}, {}, "do not deploy", "may be chance"),
        ({"open_drawer": skill(62, 37)}, {}, "do not deploy", "became worse"),
        ({"open_drawer": skill(37, 62, 100, 5)}, {}, "do not deploy", "5 simulator steps"),
        ({"a": skill(37, 62), "b": skill(37, 38)}, {}, "do not deploy", "The gain on b"),
        ({"a": skill(37, 62)}, {"gate_failures": ["Bad model"]}, "do not deploy", "Bad model"),
        ({}, {}, "do not deploy", "Nothing was evaluated"),
        ({"open_drawer": skill(37, 62)}, {"claim": False}, "no claim", "rehearsal"),
    ],
)
def test_verdict(skills: dict, options: dict, decision: str, words: str) -> None:
    verdict = judge(skills, **options)
    assert verdict.decision == decision
    assert words in verdict.reason


def test_summary_file_has_the_promised_keys(tmp_path: Path) -> None:
    run = make_run(tmp_path, skills={"open_drawer": (37, 62)})
    raw = json.loads((tmp_path / "summary.json").read_text())
    assert {
        *("episodes", "base", "adapted", "difference", "difference_interval"),
        *("dream_base", "dream_adapted", "simulator_steps"),
    } <= raw["skills"]["open_drawer"].keys()
    assert list(raw["stages"]) == sorted(raw["stages"])
    for name, stage in raw["stages"].items():
        record = run.done(name)
        assert record is not None
        assert (stage["seconds"], stage["peak_memory_bytes"]) == (
            record.seconds,
            record.peak_memory_bytes,
        )
    assert raw["versions"]["torch"]
    assert raw["machine"]["cpus"] > 0
    assert raw["verdict"]["decision"] == "deploy"
    summary = read_summary(tmp_path)
    assert summary is not None
    assert summary.model_dump(mode="json") == raw


def test_a_damaged_summary_is_named(tmp_path: Path) -> None:
    assert read_summary(tmp_path) is None
    make_run(tmp_path, skills={"open_drawer": (37, 62)}, until="world_model")
    raw = read_json(tmp_path / "summary.json")
    raw["skills"]["open_drawer"]["base"] = 1.5
    write_json(tmp_path / "summary.json", raw)
    with pytest.raises(ConfigError, match=r"skills\.open_drawer\.base"):
        read_summary(tmp_path)


def test_facts_of_this_machine_are_there() -> None:
    found = machine()
    assert found.memory_bytes > 1e8
    assert found.processor
    assert {"diwa", "python", "torch", "numpy"} <= versions().keys()


def test_facts_of_a_dataset_leave_deleted_episodes_out() -> None:
    def episode(name: str, length: int, **fields: object) -> EpisodeInfo:
        return EpisodeInfo(id=name, length=length, content="0", **fields)

    manifest = Manifest(
        contract=load_contract(CONTRACTS / "panda_calvin.yaml"),
        episodes=(
            episode("a", 1800, kind="play"),
            episode("b", 900, kind="play"),
            episode("c", 9000, kind="play", deleted=True),
            episode("d", 60, kind="demo", task="open_drawer"),
            episode("e", 60, kind="demo", task="open_drawer"),
        ),
        statistics={},
        hash="0123",
    )
    facts = dataset_facts(manifest)
    assert (facts["play_episodes"], facts["play_frames"], facts["play_minutes"]) == (2, 2700, 1.5)
    assert facts["demonstrations"] == {"open_drawer": 2}
    assert (facts["hash"], facts["contract"]) == ("0123", "panda_calvin")


def test_film_strip_puts_frames_row_by_row(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    images = [np.full((5, 7, 3), colour, np.uint8) for colour in colours]
    path = tmp_path / "strip.png"
    film_strip(images, path, 2, "three colours")
    picture = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
    assert picture.shape == (2 * 5 + GAP, 2 * 7 + GAP, 4)
    assert tuple(picture[2, 3]) == (*colours[0], 255)
    assert tuple(picture[2, 7 + GAP + 3]) == (*colours[1], 255)
    assert tuple(picture[5 + GAP + 2, 3]) == (*colours[2], 255)
    assert picture[5 + GAP + 2, 7 + GAP + 3, 3] == 0  # no fourth frame: transparent
    assert picture[2, 7 + 1, 3] == 0  # the gap
    assert path.with_suffix(".txt").read_text() == "three colours\n"


def test_film_strip_needs_frames(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to show"):
        film_strip([], tmp_path / "strip.png", 3)


def test_strip_recorder_renders_only_what_it_keeps() -> None:
    recorder, rendered = StripRecorder(episodes=2, every=3), []

    def render() -> np.ndarray:
        rendered.append(1)
        return np.zeros((2, 2, 3), np.uint8)

    for episode in range(4):
        for step in range(7):
            recorder(episode, step, render)
    assert {episode: len(frames) for episode, frames in recorder.frames.items()} == {0: 3, 1: 3}
    assert len(rendered) == 6
