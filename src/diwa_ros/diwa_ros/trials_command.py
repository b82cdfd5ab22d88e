# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa trials`, which this package adds to the commands of `diwa` (see `diwa.commands`)."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from diwa.commands.options import Subparsers, count, positive, subcommand, write_out

# Importing it takes long, and all commands are imported for every call.
if find_spec("rclpy") is None:
    raise ModuleNotFoundError("No module named 'rclpy'", name="rclpy")

NAME = "trials"
ABOUT = "Compare two checkpoints blindly: same starts, drawn order, paired success."
EXAMPLES = """\
examples:
  diwa trials runs/old/checkpoint runs/new/checkpoint --folder trials/drawer --pairs 20
  diwa trials --folder trials/drawer            goes on with that series
  diwa trials --folder trials/drawer --reveal   closes it early and says what came out
  diwa trials old/checkpoint new/checkpoint --folder trials/sim --simulate --pairs 50

Both checkpoints try every start, one after the other, in an order that nobody knows before the
end. On a real arm its bridge must be running and no policy server: the command starts its own,
leads the arm home before every trial and asks how it went. With --simulate it starts the simulated
table and judges by the scene, unattended.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, NAME, ABOUT, EXAMPLES)
    command.add_argument("base", type=Path, nargs="?", help="checkpoint to compare with")
    command.add_argument("adapted", type=Path, nargs="?", help="checkpoint under test")
    command.add_argument("--folder", type=Path, required=True, help="of the series")
    command.add_argument("--pairs", type=positive, default=20, help="starts (default: 20)")
    command.add_argument("--seed", type=count, default=0, help="of the first start (default: 0)")
    command.add_argument(
        "--time-limit", type=_seconds, default=12.0, help="per trial [s] (default: 12)"
    )
    command.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        help="success probability that ends a trial; above 1: none; default: the server's own, or "
        "none where the scene judges",
    )
    command.add_argument("--simulate", action="store_true", help="on the simulated table")
    command.add_argument(
        "--judge", choices=("scene", "person"), help="default: the scene with --simulate"
    )
    command.add_argument("--operator", default="", help="who judges (default: the user's name)")
    command.add_argument("--bridge", default="franka_bridge", help="node of the arm's bridge")
    command.add_argument(
        "--no-home", action="store_true", help="you bring the arm to its start yourself"
    )
    command.add_argument("--namespace", default="", help="of the robot (default: none)")
    command.add_argument("--policy-params", default="", help="parameters of the policy servers")
    command.add_argument("--reveal", action="store_true", help="close the series now")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Run what is left of the series, or close it."""
    from diwa.trials.results import as_text, write_results
    from diwa.trials.series import Series

    folder = arguments.folder.expanduser()
    if arguments.reveal:
        with Series(folder, arguments.operator) as series:
            series.reveal()
            write_out(as_text(write_results(series)))
        return 0
    from diwa_ros.trial_session import run_session

    return run_session(arguments, folder)


def _seconds(text: str) -> float:
    number = float(text)
    if not 0.1 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not a time from 0.1 to 3600 s")
    return number
