# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What happens without each part of the method, in the dream and in the simulator; resumes.

    python benchmarks/results_ablations.py [--settings config/results/ablations.yaml] [--table]

Every variant is the same run of a suite of skills with a few settings changed, on the same data.
Stages that a change does not touch are shared, with the suite's own runs too where these are
finished: the first row is then the suite's. Every run is a process of its own (`diwa train`),
because fine-tuning refuses to run where the simulator has been loaded. Everything is kept under
runs/results-ablations; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from result_files import ROOT, origin, run_command, train, write_section
from results_skills import Settings as SkillSettings
from results_skills import SkillSuite

from diwa.config import Config, load_config
from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.files import read_json, write_json
from diwa.train.experiment import ExperimentConfig
from diwa.train.pipeline import STAGES, fingerprints
from diwa.train.progress import Progress, make_progress
from diwa.train.run import Run
from diwa.train.stop import StopFlag, stop_on_signals
from diwa.train.summary import SkillSummary

COMMAND = "make results-ablations"


class Variant(Config):
    """One row of the table."""

    name: str
    overrides: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Its name as a folder's."""
        return re.sub(r"\W+", "-", self.name).strip("-")


class Settings(Config):
    """What to run; see config/results/ablations.yaml."""

    suite: str  # in config/results: whose experiment, play, seeds and base policies these are
    skill: str
    variants: tuple[Variant, ...]
    overrides: tuple[str, ...] = ()  # of all variants


class Ablations:
    """All runs of the settings in one folder."""

    def __init__(self, settings: Settings, folder: Path, shared: Path, progress: Progress) -> None:
        of = load_config(SkillSettings, ROOT / "config/results" / f"{settings.suite}.yaml")
        self.suite = SkillSuite(of, shared, progress)
        self.settings = settings
        self.seeds = of.seeds
        self.runs = folder
        self.progress = progress

    def overrides(self, seed: int, variant: Variant, steps: int) -> list[str]:
        """What a run changes of the experiment; `steps` make the base policy."""
        suite = self.suite.overrides(seed, self.settings.skill, steps)
        return [*suite, *self.settings.overrides, *variant.overrides]

    def run_of(self, seed: int, variant: Variant) -> Run:
        """Where a run is kept."""
        return Run(self.runs / f"seed-{seed}" / variant.folder)

    def learn(self, seed: int, variant: Variant, dataset: Dataset) -> None:
        """All stages of one variant; a gate that refuses is a result as well."""
        self.progress.message(f"seed {seed}, {variant.name}")
        steps = self.suite.base_for(seed, self.settings.skill, dataset)
        overrides = self.overrides(seed, variant, steps)
        run = self.run_of(seed, variant)
        config = load_config(ExperimentConfig, self.suite.path, overrides)
        self._share(seed, run, fingerprints(config, dataset))
        code = train(self.suite.path, overrides, dataset, run)
        if code and not measured(run).get("failed"):
            raise ConfigError(f"{run.path}: training ended with code {code}", hint="see above")

    def _share(self, seed: int, run: Run, wanted: Mapping[str, str]) -> None:
        """Link what the suite and the first variant have made of the same inputs."""
        first = self.run_of(seed, self.settings.variants[0])
        others = [self.suite.run_of(seed, self.settings.skill), first]
        for stage in (name for name in STAGES if name in wanted):
            for other in others:
                if other.path != run.path:
                    _link(run, stage, other.stage_dir(stage), wanted[stage])

    def outcomes(self) -> dict[str, dict[int, dict[str, Any]]]:
        """What the runs found, by variant and seed."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for variant in self.settings.variants:
            for seed in self.seeds:
                run = self.run_of(seed, variant)
                gate = measured(run)
                if not gate:
                    continue
                records = {name: run.done(name) for name in ("finetune", "evaluate")}
                refused = bool(gate["failed"]) and gate["enforced"]
                if None in records.values() and not refused:
                    continue
                results = {name: r.result for name, r in records.items() if r is not None}
                found.setdefault(variant.name, {})[seed] = {"gate": gate, **results}
        return found


def _link(run: Run, stage: str, finished: Path, fingerprint: str) -> None:
    """Take a stage from another run where that is finished and of the same inputs."""

    def fits(folder: Path) -> bool:
        record = folder / "done.json"
        return record.exists() and read_json(record)["fingerprint"] == fingerprint

    link = run.stage_dir(stage)
    if link.is_symlink() and not fits(link):
        link.unlink()
    if fits(finished) and not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(finished.resolve(), target_is_directory=True)


def measured(run: Run) -> dict[str, Any]:
    """What the gate of a run measured; empty before it did."""
    path = run.stage_dir("gate") / "open_loop.json"
    return dict(read_json(path)) if path.exists() else {}


def summarise(runs: dict[int, dict[str, Any]]) -> SkillSummary | None:
    """All seeds that got past the gate together; None where none did."""
    ended = [run for run in runs.values() if "evaluate" in run]
    if not ended:
        return None
    base = [bool(b) for run in ended for b in run["evaluate"]["base"]]
    adapted = [bool(a) for run in ended for a in run["evaluate"]["adapted"]]
    dream = {
        name: statistics.mean(run["finetune"][name] for run in ended)
        for name in ("dream_base", "dream_adapted")
    }
    steps = sum(run["finetune"]["simulator_steps"] for run in ended)
    return SkillSummary.from_outcomes(base, adapted, simulator_steps=steps, **dream)


def table(outcomes: dict[str, dict[int, dict[str, Any]]]) -> str:
    """The Markdown table of `docs/results.md`."""
    lines = [
        "| variant | seeds | gate | dream, base to adapted | simulator, base to adapted "
        "| paired difference | dream minus simulator |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in outcomes.items():
        passed = sum(not run["gate"]["failed"] for run in runs.values())
        row = f"| {name} | {len(runs)} | {passed} of {len(runs)} passed "
        item = summarise(runs)
        if item is None:
            lines.append(row + "| | refused | | |")
            continue
        low, high = item.difference_interval
        gap = item.dream_gap
        assert gap is not None and item.dream_base is not None and item.dream_adapted is not None
        lines.append(
            f"{row}| {item.dream_base:.0%} to {item.dream_adapted:.0%} "
            f"| {item.base:.0%} to {item.adapted:.0%} "
            f"| {100 * item.difference:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}] "
            f"| {100 * gap:+.0f} |"
        )
    return "\n".join(lines)


def publish(ablations: Ablations) -> None:
    """Write docs/results/ablations.json and the table in docs/results.md."""
    outcomes = ablations.outcomes()
    if not outcomes:
        return
    about = origin(COMMAND)
    pooled = {name: summarise(runs) for name, runs in outcomes.items()}
    facts = {
        **about,
        "settings": ablations.settings.model_dump(mode="json"),
        "variants": {
            name: {
                "pooled": None if item is None else item.model_dump(mode="json"),
                "gate": {str(seed): run["gate"]["failed"] for seed, run in outcomes[name].items()},
            }
            for name, item in pooled.items()
        },
    }
    write_json(ROOT / "docs/results/ablations.json", facts)
    text = f"`{COMMAND}`, commit {about['commit']}"
    write_section("ablations", f"{text}\n\n{table(outcomes)}")


def main() -> None:
    """Run what is missing, and write down what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=Path, default=ROOT / "config/results/ablations.yaml")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs/results-ablations")
    parser.add_argument(
        "--shared",
        type=Path,
        default=ROOT / "runs/results-lowdim",
        help="of the suite: has the play, the models and the base policies (%(default)s)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument("--table", action="store_true", help="only write what there is")
    parser.add_argument("--print", action="store_true", help="print the table, change no document")
    arguments = parser.parse_args()
    settings = load_config(Settings, arguments.settings)
    ablations = Ablations(settings, arguments.folder, arguments.shared, make_progress("auto"))
    try:
        if not arguments.table:
            with stop_on_signals(StopFlag()) as stop:
                dataset = ablations.suite.collect(stop)
            for seed in arguments.seeds or ablations.seeds:
                for variant in settings.variants:
                    ablations.learn(seed, variant, dataset)
    finally:
        if arguments.print:
            print(table(ablations.outcomes()))
        else:
            publish(ablations)


if __name__ == "__main__":
    sys.exit(run_command(main))
