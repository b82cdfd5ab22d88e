# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa train`."""

from __future__ import annotations

import argparse

from diwa.commands.options import Subparsers, add_progress, subcommand

ABOUT = "Run or resume the learning stages of an experiment."
EXAMPLES = """\
examples:
  diwa train --config config/experiments/demo.yaml --data data/kitchen --run runs/kitchen
  diwa train --config my.yaml --data data/kitchen --run runs/mine --until gate
  diwa train --config my.yaml --data data/kitchen --run runs/long ppo.iterations=200 seed=7

Stages that are complete and whose inputs are unchanged are skipped. Ctrl-C saves and stops; the
same command goes on. What a stage held before its settings changed is kept in RUN/replaced.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "train", ABOUT, EXAMPLES)
    command.add_argument("--config", required=True, help="experiment: a YAML file")
    command.add_argument("--data", required=True, help="dataset folder")
    command.add_argument("--run", required=True, help="run folder, new or to go on with")
    command.add_argument("--until", metavar="STAGE", help="last stage to run (default: all)")
    command.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="settings that replace the file's"
    )
    add_progress(command)
    command.set_defaults(rest_goes_to="overrides")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Train; the pipeline reports by itself."""
    from diwa.train.pipeline import main_train

    return main_train(arguments)
