# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, add_progress, subcommand, write_out
from diwa.errors import ConfigError

ABOUT = "Look for everything that could be wrong with a dataset."
EXAMPLES = """\
examples:
  diwa dataset doctor data/kitchen                    says what, where, and what to do
  diwa dataset doctor data/kitchen --quick            files and table only, not their contents
  diwa dataset doctor data/kitchen --fix              mend what can be mended, then look again
  diwa dataset doctor data/kitchen --contract a.yaml  and compare with this contract
  diwa dataset doctor data/kitchen --json             for programs

exit codes: 0 healthy, warnings or not; 1 something is wrong; 2 a mistake in the call.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset doctor", ABOUT, EXAMPLES)
    command.add_argument("path", type=Path, help="dataset folder")
    command.add_argument("--contract", type=Path, help="contract file that it has to follow")
    command.add_argument("--quick", action="store_true", help="do not read what the arrays hold")
    command.add_argument("--fix", action="store_true", help="as `diwa dataset repair` does")
    command.add_argument("--json", action="store_true", help="findings as JSON")
    add_progress(command)
    return command


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 when there are errors."""
    from diwa.data.bag_tools import holds_bags
    from diwa.data.contract import load_contract
    from diwa.data.doctor import examine
    from diwa.data.repair import repair_dataset
    from diwa.train.progress import make_progress

    if holds_bags(arguments.path):
        raise ConfigError(
            f"{arguments.path}: holds bags, not a dataset",
            hint="`diwa dataset build` reports on them; `diwa dataset repair` finishes broken ones",
        )
    contract = load_contract(arguments.contract) if arguments.contract else None
    progress = make_progress("none" if arguments.json else arguments.progress)
    if arguments.fix:
        repair = repair_dataset(arguments.path, progress=progress)
        if repair.done and not arguments.json and arguments.progress != "json":
            write_out("\n".join(f"mended: {step}" for step in repair.done))
        diagnosis = repair.remaining
    if contract is not None or not arguments.fix:
        diagnosis = examine(arguments.path, contract, quick=arguments.quick, progress=progress)
    if arguments.json:
        write_out(diagnosis.model_dump_json())
    elif arguments.progress != "json":
        write_out(diagnosis.as_text())
    return 0 if diagnosis.healthy else 1
