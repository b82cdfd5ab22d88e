# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""All skills and seeds on the simulated table, from data to a table of results; resumes.

    python benchmarks/results_lowdim.py [--settings config/results/lowdim.yaml] [--skills ...]

Per seed there is one world model, and per skill a base policy, fine-tuning in dreams, 100 paired
episodes, and PPO in the simulator until it is as good. The referee of a seed is the world model of
the next one (of the last seed, the first one's): trained with other randomness on another split
of the play. Everything is kept under runs/results-lowdim; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Annotated, Any

import pydantic
from result_files import ROOT, Suite, origin, train, write_section
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
from diwa.train.summary import SkillSummary

Rate = Annotated[float, pydantic.Field(ge=0, le=1)]


class Settings(Config):
    """What to run; see config/results/lowdim.yaml."""

    experiment: str
    contract: str
    skills: tuple[str, ...]
    seeds: tuple[int, ...]
    data: CollectConfig
    base_steps: tuple[int, ...]
    base_range: tuple[Rate, Rate]
    tuning_episodes: int
    tuning_seed: int
    overrides: tuple[str, ...] = ()


class LowdimSuite(Suite):
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
        seeds = self.settings.seeds
        if len(seeds) > 1:
            following = seeds[(seeds.index(seed) + 1) % len(seeds)]
            overrides.append(f"referee.seed={following - seed}")
        return overrides if steps is None else [*overrides, f"policy_training.steps={steps}"]

    def run_of(self, seed: int, name: str) -> Run:
        """A run of a seed, with the models that it shares with others."""
        run = Run(self.folder / f"seed-{seed}" / name)
        other = self.experiment(seed, self.settings.skills[0], None).of_referee().seed
        for stage, owner in (("world_model", seed), ("referee_world_model", other)):
            shared = self.folder / "world_models" / str(owner)
            shared.mkdir(parents=True, exist_ok=True)
            link = run.stage_dir(stage)
            link.parent.mkdir(parents=True, exist_ok=True)
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
        low, high = self.settings.base_range
        for steps in self.settings.base_steps:
            if str(steps) not in tried:
                tried[str(steps)] = self.try_base(seed, skill, steps, dataset)
                write_json(path, {"tried": tried})
            if tried[str(steps)] > high:  # more steps only make it stronger
                break
        middle = (low + high) / 2
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

    def outcomes(self) -> dict[str, dict[int, dict[str, Any]]]:
        """What the finished runs found, by skill and seed."""
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
                    "seconds": sum(record.seconds for record in run.records()),
                }
        return found


def summarise(found: dict[int, dict[str, Any]]) -> SkillSummary:
    """All seeds of a skill together."""
    base = [bool(b) for item in found.values() for b in item["evaluate"]["base"]]
    adapted = [bool(a) for item in found.values() for a in item["evaluate"]["adapted"]]
    steps = sum(item["finetune"]["simulator_steps"] for item in found.values())
    dream = {
        name: statistics.mean(item["finetune"][name] for item in found.values())
        for name in ("dream_base", "dream_adapted")
    }
    return SkillSummary.from_outcomes(base, adapted, simulator_steps=steps, **dream)


def table(outcomes: dict[str, dict[int, dict[str, Any]]], pooled: dict[str, SkillSummary]) -> str:
    """The Markdown table of `docs/results.md`."""
    lines = [
        "| skill | seeds | base | adapted | paired difference | judged by the referee "
        "| dream | simulator steps | PPO in the simulator needs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for skill, item in pooled.items():
        runs = outcomes[skill].values()
        judged = statistics.mean(run["finetune"]["judged_adapted"] for run in runs)
        low, high = item.difference_interval
        lines.append(
            f"| `{skill}` | {len(runs)} | {item.base:.0%} | {item.adapted:.0%} "
            f"| {100 * item.difference:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}] "
            f"| {judged:.0%} | {item.dream_adapted:.0%} | {item.simulator_steps} "
            f"| {_steps(run['online'] for run in runs)} |"
        )
    gains = [item.difference for item in pooled.values()]
    base = statistics.mean(item.base for item in pooled.values())
    adapted = statistics.mean(item.adapted for item in pooled.values())
    lines.append(
        f"| mean | | {base:.1%} | {adapted:.1%} | {100 * statistics.mean(gains):+.1f} | | | | |"
    )
    return "\n".join(lines)


def _steps(results: Any) -> str:
    texts = []
    for result in results:
        if result is None:
            texts.append("not run")
        elif result["steps_to_match"] is None:
            texts.append(f"> {result['simulator_steps']:,}")
        else:
            texts.append(f"{result['steps_to_match']:,}")
    return ", ".join(texts)


def publish(suite: LowdimSuite, command: str) -> None:
    """Write docs/results/lowdim.json and the table in docs/results.md."""
    outcomes = suite.outcomes()
    if not outcomes:
        return
    pooled = {skill: summarise(found) for skill, found in outcomes.items()}
    about = origin(command)
    seeds = sorted({seed for found in outcomes.values() for seed in found})
    per_seed = {
        str(seed): {
            skill: summarise({seed: found[seed]}).model_dump(mode="json")
            for skill, found in outcomes.items()
            if seed in found
        }
        for seed in seeds
    }
    facts = {
        **about,
        "settings": suite.settings.model_dump(mode="json"),
        "hours": sum(r["seconds"] for found in outcomes.values() for r in found.values()) / 3600,
    }
    skills = {skill: item.model_dump(mode="json") for skill, item in pooled.items()}
    write_json(ROOT / "docs/results/lowdim.json", {**facts, "skills": skills, "seeds": per_seed})
    text = f"`{command}`, commit {about['commit']}"
    write_section("lowdim", f"{text}\n\n{table(outcomes, pooled)}")


def main() -> None:
    """Run what is missing, and write down what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=Path, default=ROOT / "config/results/lowdim.yaml")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs/results-lowdim")
    parser.add_argument("--skills", nargs="+", help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument("--models", action="store_true", help="only the seeds' world models")
    parser.add_argument("--until", choices=STAGES, help="the last stage, for now")
    parser.add_argument("--table", action="store_true", help="only write what there is")
    arguments = parser.parse_args()
    settings = load_config(Settings, arguments.settings)
    suite = LowdimSuite(settings, arguments.folder, make_progress("auto"))
    try:
        if not arguments.table:
            with stop_on_signals(StopFlag()) as stop:
                dataset = suite.collect(stop)
            for seed in arguments.seeds or settings.seeds:
                if arguments.models:
                    suite.model(seed, dataset)
                    continue
                for skill in arguments.skills or settings.skills:
                    suite.learn(seed, skill, dataset, arguments.until)
                    publish(suite, "make results-lowdim")
    finally:
        publish(suite, "make results-lowdim")


if __name__ == "__main__":
    main()
