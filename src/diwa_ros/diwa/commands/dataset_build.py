# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset build`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from diwa.commands.options import Subparsers, add_progress, count, subcommand, write_out
from diwa.errors import ConfigError

ABOUT = "Turn recorded bags into a dataset."
EXAMPLES = """\
examples:
  diwa dataset build bags/ --out data/kitchen              all bags below bags/
  diwa dataset build bags/ more/ --out data/kitchen        add some: only new bags are converted
  diwa dataset build bags/ --out data/kitchen --skip-damaged  go on without bags that cannot be used

Says afterwards, per key, how many samples were received, held for a further frame, late or missing,
and which bags are worth a look. The same is kept in DIR/sources, one file per bag.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset build", ABOUT, EXAMPLES)
    command.add_argument("bags", type=Path, nargs="+", help="bag folders, or folders of bags")
    command.add_argument("--out", type=Path, required=True, help="dataset folder to write")
    command.add_argument(
        "--contract", type=Path, help="contract file that the bags must have been recorded under"
    )
    command.add_argument(
        "--workers", type=count, default=2, help="processes; 0: none but this one (default: 2)"
    )
    command.add_argument(
        "--derive-actions",
        action="store_true",
        help="tell actions from the end effector's poses, whatever was recorded",
    )
    command.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out bags that cannot be used; exit with 1",
    )
    add_progress(command)
    return command


def run(arguments: argparse.Namespace) -> int:
    """Build, and print how much it became."""
    from diwa.data.build import build_dataset
    from diwa.data.build_report import as_text, read_reports
    from diwa.data.contract import load_contract
    from diwa.data.episode import find_bags
    from diwa.train.progress import make_progress

    bags = []
    for folder in arguments.bags:
        found = find_bags(folder)
        if not found:
            raise ConfigError(
                f"{folder}: no finished bags here",
                expected="a bag folder of the play recorder, or a folder with some below it",
                hint="record with `ros2 launch diwa_ros collect.launch.py`",
            )
        bags += [bag for bag in found if bag not in bags]
    contract = load_contract(arguments.contract) if arguments.contract else None
    problems: list[ConfigError] = []
    dataset = build_dataset(
        bags,
        arguments.out,
        contract,
        workers=arguments.workers,
        progress=make_progress(arguments.progress),
        on_problem=(lambda _, error: problems.append(error)) if arguments.skip_damaged else None,
        derive_actions=arguments.derive_actions,
    )
    frames = sum(info.length for info in dataset.episodes)
    if arguments.progress != "json":
        reports = read_reports(arguments.out).values()
        names = {bag.name for bag in bags}
        write_out(
            f"{arguments.out}: {len(dataset.episodes)} episodes, {frames} frames\n\n"
            + as_text([report for report in reports if report.bag in names])
        )
    for error in problems:
        sys.stderr.write(f"diwa: left out: {error}\n")
    return 1 if problems else 0
