# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Skills and seeds on the simulated table, from data to a table of results; resumes.

    python benchmarks/results_skills.py [lowdim | vision] [--skills ...] [--seeds ...]

A suite is a file in config/results. Per seed there is one world model, and per skill a base policy,
fine-tuning in dreams, 100 paired episodes, and, where the suite wants it, PPO in the simulator
until it is as good. The referee of a seed, where there is one, is the world model of the first one
(of the first seed, the second one's): trained with other randomness on another split of the play.
Everything is kept under runs/results-SUITE; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
from result_files import ROOT, Suite, run_command, train
from skill_tables import Outcomes, publish
from torch import nn

from diwa.agent import Agent
from diwa.config import Config, load_config
from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.files import read_json, write_json
from diwa.sim.collect import CollectConfig
from diwa.sim.evaluate import evaluate
from diwa.train.experiment import ExperimentConfig
from diwa.train.models import load_policy, load_world_model
from diwa.train.pipeline import STAGES, learning_stages, prepare_run
from diwa.train.progress import Progress, make_progress
from diwa.train.run import Run, run_stages
from diwa.train.stop import StopFlag, stop_on_signals

Rate = Annotated[float, pydantic.Field(ge=0, le=1)]


class Settings(Config):
    """What to run; see config/results/."""

    experiment: str
    contract: str
    skills: tuple[str, ...]
    seeds: tuple[int, ...]
    data: CollectConfig
    base_steps: tuple[int, ...]
    base_range: tuple[Rate, Rate]
    tuning_episodes: int
    tuning_seed: int
    online_seeds: tuple[int, ...] = ()  # those with the baseline in the simulator: up to an hour
    overrides: tuple[str, ...] = ()
    referee: bool = True  # each seed is judged by the world model of another one


class SkillSuite(Suite):
    """All runs of the settings in one folder."""

    def __init__(self, settings: Settings, folder: Path, progress: Progress) -> None:
        super().__init__(settings.experiment, settings.contract, settings.data, folder, progress)
        self.settings = settings

    def experiment(self, seed: int, skill: str, steps: int | None) -> ExperimentConfig:
        """The settings of one run."""
        return load_config(ExperimentConfig, self.path, self.overrides(seed, skill, steps))

    def overrides(self, seed: int, skill: str, steps: int | None) -> list[str]:
        """What a run changes of the experiment."""
        overrides = [*self.settings.overrides, f"seed={seed}", f"task={skill}"]
        if seed in self.settings.online_seeds:
            overrides.append("online={}")
        seeds = self.settings.seeds
        if self.settings.referee and len(seeds) > 1:
            other = seeds[1] if seed == seeds[0] else seeds[0]
            overrides.append(f"referee.seed={other - seed}")
        return overrides if steps is None else [*overrides, f"policy_training.steps={steps}"]

    def run_of(self, seed: int, name: str) -> Run:
        """A run of a seed, with the models that it shares with others."""
        run = Run(self.folder / f"seed-{seed}" / name)
        owners = {"world_model": seed}
        config = self.experiment(seed, self.settings.skills[0], None)
        if config.referee is not None:
            owners["referee_world_model"] = config.of_referee().seed
        for stage, owner in owners.items():
            shared = self.folder / "world_models" / str(owner)
            shared.mkdir(parents=True, exist_ok=True)
            link = run.stage_dir(stage)
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.is_symlink() and link.resolve() != shared.resolve():
                link.unlink()
            if not link.is_symlink():
                link.symlink_to(shared.resolve(), target_is_directory=True)
        return run

    def model(self, seed: int, dataset: Dataset) -> None:
        """The world model of a seed."""
        run = self.run_of(seed, "model")
        config = self.experiment(seed, self.settings.skills[0], None)
        stages = learning_stages(run, dataset, config, prepare_run(run, config))
        run_stages(run, stages, self.progress, until="world_model")

    def learn(self, seed: int, skill: str, dataset: Dataset, until: str | None) -> None:
        """Choose the base policy, then all stages of one skill in a process of its own."""
        run = self.run_of(seed, skill)
        overrides = self.overrides(seed, skill, self.base_for(seed, skill, dataset))
        if until is not None:
            overrides = ["--until", until, *overrides]
        code = train(self.path, overrides, dataset, run)
        if code:
            raise ConfigError(f"{run.path}: training ended with code {code}", hint="see above")

    def base_for(self, seed: int, skill: str, dataset: Dataset) -> int:
        """How many training steps make a base policy of about the wanted strength."""
        path = self.folder / f"seed-{seed}" / skill / "base.json"
        tried = read_json(path)["tried"] if path.exists() else {}
        middle = sum(self.settings.base_range) / 2
        for steps in self.settings.base_steps:
            if str(steps) not in tried:
                tried[str(steps)] = self.try_base(seed, skill, steps, dataset)
                write_json(path, {"tried": tried})
            if tried[str(steps)] >= middle:  # more steps only make it stronger
                break
        return int(min(tried, key=lambda steps: abs(tried[steps] - middle)))

    def try_base(self, seed: int, skill: str, steps: int, dataset: Dataset) -> float:
        """Success of the base policy after so many steps, on starts for tuning."""
        config = self.experiment(seed, skill, steps)
        run = self.run_of(seed, f"{skill}/tuning/{steps}")
        device = prepare_run(run, config)
        run_stages(
            run, learning_stages(run, dataset, config, device), self.progress, until="policy"
        )
        world_model, _ = load_world_model(run.stage_dir("world_model") / "model", device)
        policy, meta = load_policy(run.stage_dir("policy") / "model", device)
        agent = Agent(world_model, policy, nn.Identity(), {**meta, "task": skill})  # type: ignore[arg-type]
        first = self.settings.tuning_seed
        results = evaluate(
            agent,
            skill,
            range(first, first + self.settings.tuning_episodes),
            contract=agent.contract,
            max_steps=config.evaluation.max_steps,
            progress=self.progress,
            name=f"{skill}: base after {steps} steps",
        )
        return sum(result.success for result in results) / len(results)

    def outcomes(self) -> Outcomes:
        """What the finished runs found."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for skill in self.settings.skills:
            for seed in self.settings.seeds:
                run = Run(self.folder / f"seed-{seed}" / skill)
                records = {name: run.done(name) for name in ("finetune", "evaluate", "online")}
                if records["finetune"] is None or records["evaluate"] is None:
                    continue
                online = records["online"]
                found.setdefault(skill, {})[seed] = {
                    "evaluate": records["evaluate"].result,
                    "finetune": records["finetune"].result,
                    "online": None if online is None else online.result,
                    "seconds": _seconds(run),
                }
        return found


def _seconds(run: Run) -> dict[str, float]:
    """What each stage took, by its folder; several runs may share one."""
    stages = [*run.path.glob("stages/*"), *run.path.glob("tuning/*/stages/*")]
    records = {str(path.resolve()): path / "done.json" for path in stages}
    return {name: read_json(path)["seconds"] for name, path in records.items() if path.exists()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write down what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "suite", nargs="?", default="lowdim", help="in config/results (%(default)s)"
    )
    parser.add_argument("--settings", type=Path, help="another file than the suite's")
    parser.add_argument("--folder", type=Path, help="of all runs; else runs/results-SUITE")
    parser.add_argument("--skills", nargs="+", help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument("--models", action="store_true", help="only the seeds' world models")
    parser.add_argument("--until", choices=STAGES, help="the last stage, for now")
    parser.add_argument("--table", action="store_true", help="only write what there is")
    chosen = parser.parse_args(arguments)
    settings = load_config(
        Settings, chosen.settings or ROOT / f"config/results/{chosen.suite}.yaml"
    )
    folder = chosen.folder or ROOT / f"runs/results-{chosen.suite}"
    suite = SkillSuite(settings, folder, make_progress("auto"))

    def note() -> None:
        publish(chosen.suite, settings.model_dump(mode="json"), suite.outcomes())

    try:
        if not chosen.table:
            with stop_on_signals(StopFlag()) as stop:
                dataset = suite.collect(stop)
            for seed in chosen.seeds or settings.seeds:
                if chosen.models:
                    suite.model(seed, dataset)
                    continue
                for skill in chosen.skills or settings.skills:
                    suite.learn(seed, skill, dataset, chosen.until)
                    note()
    finally:
        note()


if __name__ == "__main__":
    sys.exit(run_command(main))
