# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, subcommand, write_out

ABOUT = "Write the report of a run as one HTML file."
EXAMPLES = """\
examples:
  diwa report runs/kitchen            writes runs/kitchen/report.html and says where

Needs only the run folder, finished or not. The file opens from disk and loads nothing else.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "report", ABOUT, EXAMPLES)
    command.add_argument("run", type=Path, help="run folder")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Write the report and print where it is."""
    from diwa.train.report import write_report

    write_out(str(write_report(arguments.run)))
    return 0
