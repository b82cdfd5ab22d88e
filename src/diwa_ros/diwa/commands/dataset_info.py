# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset info`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from diwa.commands.options import Subparsers, subcommand, write_out

ABOUT = "Say what a dataset or recorded bags hold."
EXAMPLES = """\
examples:
  diwa dataset info data/kitchen               episodes, hours, keys, statistics, build report
  diwa dataset info data/kitchen --episodes    every episode with its labels
  diwa dataset info data/kitchen --edits       what was relabelled or deleted, and when
  diwa dataset info data/kitchen --json        everything, for programs
  diwa dataset info bags/                      a bag, or a folder of bags
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset info", ABOUT, EXAMPLES)
    command.add_argument("path", type=Path, help="dataset folder, bag or folder of bags")
    command.add_argument("--episodes", action="store_true", help="list every episode")
    command.add_argument("--edits", action="store_true", help="list the edits of the table")
    command.add_argument("--json", action="store_true", help="as JSON")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from diwa.data.info import describe, facts_of, list_edits, list_episodes

    if arguments.json:
        write_out(json.dumps(facts_of(arguments.path)))
        return 0
    texts = []
    if arguments.episodes:
        texts.append(list_episodes(arguments.path))
    if arguments.edits:
        texts.append(list_edits(arguments.path))
    write_out("\n\n".join(texts) or describe(arguments.path))
    return 0
