# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The scripts behind `make results-*`: what their runs are, and what is written of them."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from diwa.config import load_config
from diwa.data.contract import load_contract
from diwa.errors import ConfigError
from diwa.sim.tasks import SKILLS
from diwa.train.experiment import ExperimentConfig
from diwa.train.pipeline import fingerprints
from diwa.train.progress import NullProgress
from learning_fixtures import ROOT

MODULES = ("result_files", "results_skills", "skill_tables", "results_ablations")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """The scripts as modules, which write into another place than docs/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    modules: dict[str, ModuleType] = {name: importlib.import_module(name) for name in MODULES}
    document = tmp_path / "docs/results.md"
    (tmp_path / "docs/results").mkdir(parents=True)
    marks = "<!-- {0}: begin -->\nold\n<!-- {0}: end -->\n"
    document.write_text("# Results\n" + marks.format("lowdim") + marks.format("vision"))
    monkeypatch.setattr(modules["skill_tables"], "ROOT", tmp_path)
    monkeypatch.setattr(modules["result_files"], "RESULTS", document)
    yield SimpleNamespace(**modules, document=document)
    for name in MODULES:
        sys.modules.pop(name, None)


def _suite(scripts: SimpleNamespace, name: str, folder: Path, **changes: Any) -> Any:
    settings = load_config(
        scripts.results_skills.Settings, ROOT / f"config/results/{name}.yaml"
    ).model_copy(update=changes)
    return scripts.results_skills.SkillSuite(settings, folder, NullProgress())


def _outcome(judge: float | None, online: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "evaluate": {"base": [True, False, False, False], "adapted": [True, True, True, False]},
        "finetune": {
            "simulator_steps": 0,
            "dream_base": 0.5,
            "dream_adapted": 0.9,
            "judged_adapted": 0.9 if judge is None else judge,
            "exploitation_gap_adapted": None if judge is None else 0.9 - judge,
            "judged_base": 0.25,
            "exploitation_gap_base": None,
        },
        "online": online,
        "seconds": {"a model that all share": 3600.0, f"of this run {judge}": 600.0},
    }


@pytest.mark.parametrize("name", ["lowdim", "vision"])
def test_suites_are_complete(scripts: SimpleNamespace, name: str, tmp_path: Path) -> None:
    suite = _suite(scripts, name, tmp_path)
    settings = suite.settings
    assert set(settings.skills) <= set(settings.data.skills) <= set(SKILLS)
    contract = load_contract(ROOT / f"config/contracts/{settings.contract}.yaml")
    for skill in settings.skills:
        config = suite.experiment(settings.seeds[0], skill, settings.base_steps[0])
        assert (config.task, config.seed) == (skill, settings.seeds[0])
        assert config.policy_training.steps == settings.base_steps[0]
        for item in config.world_model.inputs:
            assert item.key in {"proprio", *contract.observations}
    marks = (ROOT / "docs/results.md").read_text()
    assert marks.count(f"<!-- {name}: begin -->") == marks.count(f"<!-- {name}: end -->") == 1


def test_baseline_in_the_simulator_is_run_where_wanted(
    scripts: SimpleNamespace, tmp_path: Path
) -> None:
    suite = _suite(scripts, "lowdim", tmp_path, online_seeds=(43,))
    found = {seed: suite.experiment(seed, "open_drawer", None).online for seed in (42, 43, 44)}
    assert [seed for seed, online in found.items() if online is not None] == [43]


def test_next_seed_is_the_referee_only_where_wanted(
    scripts: SimpleNamespace, tmp_path: Path
) -> None:
    def linked(suite: Any, seed: int) -> dict[str, str]:
        stages = suite.run_of(seed, "skill").path / "stages"
        return {path.name: path.resolve().name for path in stages.iterdir() if path.is_symlink()}

    judged = _suite(scripts, "lowdim", tmp_path / "a")
    first, *_, last = judged.settings.seeds
    following = judged.settings.seeds[1]
    assert linked(judged, first) == {
        "world_model": str(first),
        "referee_world_model": str(following),
    }
    assert linked(judged, last)["referee_world_model"] == str(first)
    alone = _suite(scripts, "vision", tmp_path / "b", referee=False)
    assert linked(alone, first) == {"world_model": str(first)}
    assert alone.experiment(first, "open_drawer", None).referee is None


def test_table_goes_into_the_suites_own_section(scripts: SimpleNamespace) -> None:
    matched = {"steps_to_match": 2304, "simulator_steps": 4608, "best": 0.9}
    missed = {"steps_to_match": None, "simulator_steps": 9216, "best": 0.7}
    outcomes = {
        "open_drawer": {42: _outcome(0.6, matched), 43: _outcome(0.8)},
        "close_drawer": {42: _outcome(0.6, matched), 43: _outcome(0.8, missed)},
        "a_skill": {42: _outcome(None)},
    }
    scripts.skill_tables.publish("vision", {"overrides": ["gate.enforce=false"]}, outcomes)
    text = scripts.document.read_text()
    assert "<!-- lowdim: begin -->\nold\n<!-- lowdim: end -->" in text
    section = text.split("<!-- vision: begin -->")[1]
    assert "old" not in section and "`make results-vision`" in section
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows[0].startswith("| `open_drawer` | 2 | 25% | 75% | +50 ")
    assert "| 70% | 90% | 0 | 2,304 |" in rows[0]
    assert "| 70% | 90% | 0 | 2,304, > 9,216 (best 70%) |" in rows[1]
    assert "| no referee | 90% | 0 | not run |" in rows[2]
    assert "25.0% | 75.0% | +50.0" in section
    facts = json.loads((scripts.document.parent / "results/vision.json").read_text())
    assert facts["hours"] == 1.5, "what runs share counts once"
    assert set(facts["seeds"]) == {"42", "43"}
    assert set(facts["seeds"]["43"]) == {"open_drawer", "close_drawer"}
    assert facts["online"]["open_drawer"] == {"42": matched} and not facts["online"]["a_skill"]
    assert facts["skills"]["open_drawer"]["adapted"] == 0.75
    assert facts["judged"]["open_drawer"]["43"]["judged_adapted"] == 0.8
    assert "`make results-vision` with `gate.enforce=false`, commit" in section


def test_nothing_is_written_before_there_is_a_result(scripts: SimpleNamespace) -> None:
    before = scripts.document.read_text()
    scripts.skill_tables.publish("vision", {}, {})
    assert scripts.document.read_text() == before
    assert not (scripts.document.parent / "results/vision.json").exists()


def test_first_base_policy_beyond_the_range_ends_the_search(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = _suite(scripts, "vision", tmp_path, base_steps=(10, 20, 30, 40), base_range=(0.3, 0.6))
    strength = {10: 0.1, 20: 0.4, 30: 0.8}  # 40 must not be tried
    tried: list[int] = []

    def try_base(seed: int, skill: str, steps: int, dataset: Any) -> float:
        tried.append(steps)
        return strength[steps]

    monkeypatch.setattr(suite, "try_base", try_base)
    assert suite.base_for(42, "open_drawer", None) == 20
    assert suite.base_for(42, "open_drawer", None) == 20  # and is not tried again
    assert tried == [10, 20, 30]


def test_variants_share_what_they_do_not_change(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = scripts.results_ablations
    settings = load_config(module.Settings, ROOT / "config/results/ablations.yaml")
    ablations = module.Ablations(
        settings, tmp_path / "variants", tmp_path / "suite", NullProgress()
    )
    monkeypatch.setattr(ablations.suite, "base_for", lambda *_: 550)
    dataset = SimpleNamespace(hash="some play")

    def train(path: Path, overrides: list[str], _: Any, run: Any) -> int:
        """All stages that are not there already; their results tell who made them."""
        config = load_config(ExperimentConfig, path, overrides)
        assert config.policy_training.steps == 550 and config.online is None
        for stage, mark in fingerprints(config, dataset).items():
            folder = run.stage_dir(stage)
            if not (folder / "done.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                record = {"fingerprint": mark, "by": run.path.name}
                (folder / "done.json").write_text(json.dumps(record))
        return 0

    monkeypatch.setattr(module, "train", train)
    suite = ablations.suite
    seed = suite.settings.online_seeds[0]
    run = suite.run_of(seed, settings.skill)
    train(suite.path, [*suite.overrides(seed, settings.skill, 550), "online=null"], dataset, run)
    made = {}
    for variant in settings.variants:
        ablations.learn(seed, variant, dataset)
        stages = ablations.run_of(seed, variant).path / "stages"
        made[variant.name] = {
            path.name for path in stages.iterdir() if not path.is_symlink() and path.name != "data"
        }
    assert made.pop("as configured") == set(), "the suite has run it"
    assert made["no cloning term"] == {"finetune", "evaluate"}
    assert made["under-trained world model, no gate"] >= {"world_model", "policy", "classifier"}
    assert all({"finetune", "evaluate"} <= stages for stages in made.values())


def test_stopping_a_suite_stops_its_training(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal to the suite's process alone; the training saves, ends with 130, and says so."""
    sign = tmp_path / "saved"
    fake = tmp_path / "python"
    lines = ["#!/bin/sh", f"trap 'touch {sign}; exit 130' TERM", f"kill -TERM {os.getpid()}"]
    fake.write_text("\n".join([*lines, "for i in $(seq 100); do sleep 0.1; done\n"]))
    fake.chmod(0o755)
    monkeypatch.setattr(scripts.result_files.sys, "executable", str(fake))
    run, data = SimpleNamespace(path=tmp_path), SimpleNamespace(path=tmp_path)

    def suite() -> None:
        scripts.result_files.train(tmp_path / "experiment.yaml", [], data, run)

    assert scripts.result_files.run_command(suite) == 130
    assert sign.exists()


def test_a_users_mistake_is_one_line(
    scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    def mistaken() -> None:
        raise ConfigError("skills", got="juggling", expected="a skill")

    assert scripts.result_files.run_command(mistaken) == 2
    printed = capsys.readouterr().err
    assert "juggling" in printed and "Traceback" not in printed
