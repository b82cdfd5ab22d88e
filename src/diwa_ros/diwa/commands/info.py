# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa info`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, subcommand, write_out

ABOUT = "Say what a dataset, bag, checkpoint or run folder holds."
EXAMPLES = """\
examples:
  diwa info data/kitchen              a dataset: episodes, hours, keys, statistics
  diwa info bags/episode_0001         a bag: topics, duration, labels
  diwa info runs/kitchen/checkpoint   a checkpoint: skill, contract, what it was trained on
  diwa info runs/kitchen              a run: stages, how far they are, what they cost
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "info", ABOUT, EXAMPLES)
    command.add_argument("path", type=Path, help="the folder")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Print what the folder holds."""
    from diwa.data.info import describe

    write_out(describe(arguments.path))
    return 0
