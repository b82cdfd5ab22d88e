# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset repair`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, add_progress, subcommand, write_out

ABOUT = "Mend a dataset, or recordings that were broken off."
EXAMPLES = """\
examples:
  diwa dataset repair data/kitchen              table, records and statistics from what is sound
  diwa dataset repair data/kitchen --leave-out  and mark damaged episodes as deleted
  diwa dataset repair bags/                     finish recordings that were broken off

Arrays are never written, and a bag that is being recorded is never touched. Replaced files stay
as NAME.old. What was left out comes back with `diwa dataset label data/kitchen --undo`.

exit codes: 0 nothing wrong is left; 1 something is; 2 a mistake in the call.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset repair", ABOUT, EXAMPLES)
    command.add_argument("path", type=Path, help="dataset folder, bag or folder of bags")
    command.add_argument(
        "--leave-out", action="store_true", help="mark episodes with damaged arrays as deleted"
    )
    command.add_argument(
        "--contract", type=Path, help="of the recorder, for bags that do not say their own"
    )
    add_progress(command)
    return command


def run(arguments: argparse.Namespace) -> int:
    """Repair, and print what was done and what is still wrong."""
    from diwa.data.bag_tools import broken_bags, recover_bags
    from diwa.data.contract import load_contract
    from diwa.data.repair import repair_dataset
    from diwa.train.progress import make_progress

    broken = broken_bags(arguments.path)
    if broken is not None:
        contract = load_contract(arguments.contract) if arguments.contract else None
        recovery = recover_bags(broken, contract)
        lines = [*recovery.recovered, *recovery.failed]
        write_out("\n".join(lines) or f"{arguments.path}: no recording was broken off")
        return 1 if recovery.failed else 0
    repair = repair_dataset(
        arguments.path,
        leave_out=arguments.leave_out,
        progress=make_progress(arguments.progress),
    )
    if arguments.progress != "json":
        done = [f"mended: {step}" for step in repair.done] or ["nothing to mend"]
        write_out("\n".join([*done, repair.remaining.as_text()]))
    return 0 if repair.remaining.healthy else 1
