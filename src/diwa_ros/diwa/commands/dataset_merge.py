# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset merge`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, subcommand, write_out

ABOUT = "Put several datasets of one contract into a new one, without copying."
EXAMPLES = """\
examples:
  diwa dataset merge data/monday data/tuesday --out data/week
  diwa dataset merge data/arm1 data/arm2 --out data/both --rename

Arrays are shared by hard links, or copied to another disk. The datasets stay as they are.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset merge", ABOUT, EXAMPLES)
    command.add_argument("datasets", type=Path, nargs="+", help="dataset folders")
    command.add_argument("--out", type=Path, required=True, help="dataset folder to make")
    command.add_argument(
        "--rename", action="store_true", help="keep different episodes of the same id apart"
    )
    return command


def run(arguments: argparse.Namespace) -> int:
    """Merge, and print how much it became."""
    from diwa.data.combine import merge_datasets

    merged = merge_datasets(arguments.datasets, arguments.out, rename=arguments.rename)
    frames = sum(info.length for info in merged.episodes)
    write_out(f"{arguments.out}: {len(merged.episodes)} episodes, {frames} frames")
    return 0
