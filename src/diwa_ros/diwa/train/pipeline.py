# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The learning stages in order, each skipped when nothing that it depends on has changed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from diwa.config import config_hash, load_config
from diwa.data.dataset import Dataset
from diwa.data.doctor import examine
from diwa.errors import ConfigError
from diwa.files import write_json
from diwa.train.agents import assemble_agent
from diwa.train.classifier_stage import train_classifier
from diwa.train.experiment import ExperimentConfig
from diwa.train.finetune_stage import finetune
from diwa.train.gate_stage import judge_world_model
from diwa.train.metrics import MetricsLog
from diwa.train.policy_stage import train_policy
from diwa.train.progress import NullProgress, make_progress
from diwa.train.results import CHECKPOINT, write_results
from diwa.train.run import Run, Stage, StageContext, run_stages
from diwa.train.stop import StopFlag, stop_on_signals
from diwa.train.team import Team, own_device
from diwa.train.world_model_stage import train_world_model

REFEREE_STAGES = ("referee_world_model", "referee_classifier")  # where a referee is configured
STAGES = (
    "world_model",
    "policy",
    "classifier",
    "gate",
    *REFEREE_STAGES,
    "finetune",
    "evaluate",
    "online",  # where it is configured
)
WORLD_MODEL = ("world_model", "world_model_training", "seed")  # what its training depends on
UNUSABLE = {"shard", "record", "table"}  # findings of the doctor
LEARNING_VERSION = 3  # raise it when stages give other results from the same inputs or defaults


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigError("device", got=name, expected="auto, cpu, cuda or cuda:N") from error


def _chosen(config: ExperimentConfig) -> dict[str, Any]:
    """The settings that are not defaults: an option that is new and off changes no fingerprint."""
    return config.model_dump(mode="json", exclude_defaults=True)


def fingerprints(config: ExperimentConfig, dataset: Dataset) -> dict[str, str]:
    """Per stage a hash of everything that its result depends on."""
    plain = _chosen(config)

    def of(*sections: str, needs: Sequence[str] = (), settings: Mapping[str, Any] = plain) -> str:
        parts = {name: settings.get(name) for name in sections}
        return config_hash({"parts": parts, "needs": [result[name] for name in needs]})

    result: dict[str, str] = {"data": f"{dataset.hash}-{LEARNING_VERSION}"}
    result["world_model"] = of(*WORLD_MODEL, needs=["data"])
    result["policy"] = of("policy", "policy_training", "task", needs=["world_model"])
    result["classifier"] = of(
        "classifier", "classifier_training", "policy_training", "task", needs=["world_model"]
    )
    result["gate"] = of("gate", "claim", "dream", needs=["classifier"])
    needs = ["policy", "classifier"]
    if config.referee is not None:
        # the same as the first model of an experiment with the referee's seed: they can be shared
        other = _chosen(config.of_referee())
        result["referee_world_model"] = of(*WORLD_MODEL, needs=["data"], settings=other)
        result["referee_classifier"] = of(
            "classifier",
            "classifier_training",
            "policy_training",
            "task",
            needs=["referee_world_model"],
        )
        needs.append("referee_classifier")
    result["finetune"] = of("dream", "ppo", "starts", needs=needs)
    result["evaluate"] = of("evaluation", needs=["finetune"])
    if config.online is not None:
        result["online"] = of("online", needs=["evaluate"])
    return result


def learning_stages(
    run: Run,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    team: Team | None = None,
) -> list[Stage]:
    """All learning stages of an experiment over a dataset, for `run_stages`.

    Args:
        run: the folder.
        dataset: to learn from.
        config: the experiment.
        device: of the models.
        team: processes that share the training of world models; None: this one alone.
    """
    team = team if team is not None else Team()
    marks = fingerprints(config, dataset)
    folders = {name: run.stage_dir(name) / "model" for name in STAGES}

    def evaluate(context: StageContext) -> Mapping[str, Any]:
        from diwa.train.evaluate_stage import evaluate_pair  # loads the simulator

        base = assemble_agent(folders, folders["policy"], device)
        adapted = assemble_agent(folders, folders["finetune"], device)
        adapted.save(run.path / CHECKPOINT)
        return evaluate_pair(context, config, base, adapted)

    def online(context: StageContext) -> Mapping[str, Any]:
        from diwa.train.online_stage import finetune_online  # loads the simulator

        evaluated = run.done("evaluate")
        assert evaluated is not None
        target = sum(evaluated.result["adapted"]) / len(evaluated.result["adapted"])
        return finetune_online(context, dataset, config, device, folders, target)

    def fit(name: str, context: StageContext, settings: ExperimentConfig) -> Mapping[str, Any]:
        order = {"stage": name, "directory": str(context.directory), "resumed": context.resumed}
        team.announce(order)
        with team.together():
            return train_world_model(context, dataset, settings, device, team)

    work: dict[str, Callable[[StageContext], Mapping[str, Any]]] = {
        "world_model": lambda c: fit("world_model", c, config),
        "policy": lambda c: train_policy(c, dataset, config, device, folders["world_model"]),
        "classifier": lambda c: train_classifier(
            c, dataset, config, device, folders["world_model"]
        ),
        "gate": lambda c: judge_world_model(
            c, dataset, config, device, folders["world_model"], folders["classifier"]
        ),
        "referee_world_model": lambda c: fit("referee_world_model", c, config.of_referee()),
        "referee_classifier": lambda c: train_classifier(
            c, dataset, config.of_referee(), device, folders["referee_world_model"]
        ),
        "finetune": lambda c: finetune(c, dataset, config, device, folders),
        "evaluate": evaluate,
        "online": online,
    }
    saving = config.save_every_s
    return [Stage(name, marks[name], work[name], saving) for name in STAGES if name in marks]


def prepare_run(run: Run, config: ExperimentConfig) -> torch.device:
    """Write the run's configuration, set threads, and choose the device."""
    write_json(run.path / "config.json", config.model_dump(mode="json"))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return own_device(choose_device(config.device))


def require_sound(folder: Path) -> None:
    """Refuse a dataset whose files do not fit together: better now than in the middle of the night.

    Raises:
        ConfigError: with what is wrong first.
    """
    wrong = [item for item in examine(folder, quick=True).errors if item.check in UNUSABLE]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ConfigError(
            f"{folder / wrong[0].file}: {wrong[0].what}{more}",
            expected=wrong[0].expected,
            hint=f"`diwa dataset doctor {folder}` lists everything; `diwa dataset repair` mends",
        )


def main_train(arguments: argparse.Namespace) -> int:
    """`diwa train`: run or resume the learning stages of an experiment."""
    config = load_config(ExperimentConfig, Path(arguments.config), arguments.overrides)
    dataset = Dataset.open(Path(arguments.data))
    require_sound(Path(arguments.data))
    run = Run(Path(arguments.run))
    device = own_device(choose_device(config.device))
    team = Team.join(device)
    if not team.leads:
        return _follow(team, dataset, config, device)
    prepare_run(run, config)
    progress = make_progress(arguments.progress)
    stages = learning_stages(run, dataset, config, device, team)
    try:
        run_stages(run, stages, progress, arguments.until)
    except ConfigError:  # the gate, perhaps: the report shows what it measured
        write_results(run, config, dataset)
        raise
    finally:
        team.leave()
    if arguments.until in (None, STAGES[-1]):
        progress.message(f"report: {write_results(run, config, dataset)}")
    return 0


def _follow(team: Team, dataset: Dataset, config: ExperimentConfig, device: torch.device) -> int:
    """A process that is not the first of its team: takes part in the shared stages only.

    There a signal does not end it: `torchrun` hands a signal to all processes, and the leader needs
    the others until it has saved and says when to stop.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)

    def take_part(settings: Callable[[], ExperimentConfig]) -> Callable[[Mapping[str, Any]], None]:
        def work(order: Mapping[str, Any]) -> None:
            folder, resumed = Path(order["directory"]), order["resumed"]
            with TemporaryDirectory() as scratch, stop_on_signals(StopFlag()) as stop:
                metrics = MetricsLog(Path(scratch))  # the leader keeps them
                context = StageContext(folder, NullProgress(), metrics, stop, resumed)
                with team.together():
                    train_world_model(context, dataset, settings(), device, team)
                stop.check()

        return work

    try:
        team.follow(
            {
                "world_model": take_part(lambda: config),
                "referee_world_model": take_part(config.of_referee),
            }
        )
    finally:
        team.leave()
    return 0
