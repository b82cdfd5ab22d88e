# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What may be typed after `diwa`, and the help that teaches it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import diwa

PROGRESS_KINDS = ("auto", "plain", "json", "none")  # as in diwa.train.progress

DESCRIPTION = "Offline adaptation of diffusion policies inside a world model."
EPILOG = """\
typical order:
  diwa dataset build bags/ --out data/kitchen
  diwa info data/kitchen
  diwa train --config config/experiments/demo.yaml --data data/kitchen --run runs/kitchen
  diwa report runs/kitchen
  diwa evaluate runs/kitchen/checkpoint --episodes 50

exit codes: 0 done; 2 a mistake in the call, with what to do next; 130 stopped by Ctrl-C or
SIGTERM after saving, and the same command goes on from there; 1 anything else.
"""
INFO_EPILOG = """\
examples:
  diwa info data/kitchen              a dataset: episodes, hours, keys, statistics
  diwa info bags/episode_0001         a bag: topics, duration, labels
  diwa info runs/kitchen/checkpoint   a checkpoint: skill, contract, what it was trained on
  diwa info runs/kitchen              a run: stages, how far they are, what they cost
"""
BUILD_EPILOG = """\
examples:
  diwa dataset build bags/ --out data/kitchen              all bags below bags/
  diwa dataset build bags/ more/ --out data/kitchen        add some: only new bags are converted
  diwa dataset build bags/ --out data/kitchen --workers 0  in one process, for debugging
"""
TRAIN_EPILOG = """\
examples:
  diwa train --config config/experiments/demo.yaml --data data/kitchen --run runs/kitchen
  diwa train --config my.yaml --data data/kitchen --run runs/mine --until gate
  diwa train --config my.yaml --data data/kitchen --run runs/long ppo.iterations=200 seed=7

Stages that are complete and whose inputs are unchanged are skipped. Ctrl-C saves and stops; the
same command goes on. What a stage held before its settings changed is kept in RUN/replaced.
"""
EVALUATE_EPILOG = """\
examples:
  diwa evaluate runs/kitchen/checkpoint
  diwa evaluate runs/new/checkpoint --base runs/old/checkpoint --episodes 100
  diwa evaluate runs/kitchen/checkpoint --json > result.json

With --base both act from the same starts, and the paired difference is given with its interval.
"""
REPORT_EPILOG = """\
examples:
  diwa report runs/kitchen            writes runs/kitchen/report.html and says where

Needs only the run folder, finished or not. The file opens from disk and loads nothing else.
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments as a namespace; `overrides` of `train` may stand anywhere."""
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)
    overrides = [item for item in rest if "=" in item and not item.startswith("-")]
    if rest and (len(overrides) != len(rest) or not hasattr(arguments, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if overrides:
        arguments.overrides = [*arguments.overrides, *overrides]
    return arguments


def make_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands; each sets `command` to its name."""
    parser = argparse.ArgumentParser(
        "diwa",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"diwa {diwa.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_info(commands)
    _add_dataset(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_report(commands)
    return parser


def _add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Say what a dataset, bag, checkpoint or run folder holds."
    command = _subcommand(commands, "info", about, INFO_EPILOG)
    command.add_argument("path", type=Path, help="the folder")


def _add_dataset(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = commands.add_parser("dataset", help="make datasets from bags")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    about = "Turn recorded bags into a dataset."
    command = _subcommand(actions, "dataset build", about, BUILD_EPILOG)
    command.add_argument("bags", type=Path, nargs="+", help="bag folders, or folders of bags")
    command.add_argument("--out", type=Path, required=True, help="dataset folder to write")
    command.add_argument(
        "--contract", type=Path, help="contract file that the bags must have been recorded under"
    )
    command.add_argument("--workers", type=_count, default=2, help="processes (default: 2)")
    _add_progress(command)


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Run or resume the learning stages of an experiment."
    command = _subcommand(commands, "train", about, TRAIN_EPILOG)
    command.add_argument("--config", required=True, help="experiment: a YAML file")
    command.add_argument("--data", required=True, help="dataset folder")
    command.add_argument("--run", required=True, help="run folder, new or to go on with")
    command.add_argument("--until", metavar="STAGE", help="last stage to run (default: all)")
    command.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="settings that replace the file's"
    )
    _add_progress(command)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Measure a checkpoint in the simulator."
    command = _subcommand(commands, "evaluate", about, EVALUATE_EPILOG)
    command.add_argument("checkpoint", type=Path, help="checkpoint folder")
    command.add_argument("--base", type=Path, help="checkpoint to compare with, on the same seeds")
    command.add_argument("--episodes", type=_positive, default=50, help="default: 50")
    command.add_argument("--seed", type=_count, default=100_000, help="first seed")
    command.add_argument(
        "--max-steps", type=_positive, default=72, help="control steps per episode (default: 72)"
    )
    command.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: cpu)")
    command.add_argument("--json", action="store_true", help="figures and outcomes as JSON")
    _add_progress(command)


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Write the report of a run as one HTML file."
    command = _subcommand(commands, "report", about, REPORT_EPILOG)
    command.add_argument("run", type=Path, help="run folder")


def _subcommand(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    about: str,
    examples: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name.split()[-1],
        help=about[0].lower() + about[1:].rstrip("."),
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=name)
    return command


def _add_progress(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--progress",
        choices=PROGRESS_KINDS,
        default="auto",
        help="auto: a bar on a terminal, else lines; json: one object per line on stdout",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number
