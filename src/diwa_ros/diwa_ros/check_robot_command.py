# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa check-robot`, which this package adds to the commands of `diwa` (see `diwa.commands`)."""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

from diwa.commands.options import Subparsers, subcommand, write_out

# Importing it takes long, and all commands are imported for every call.
if find_spec("rclpy") is None:
    raise ModuleNotFoundError("No module named 'rclpy'", name="rclpy")

NAME = "check-robot"
WIDTH = 120  # of the table where there is no terminal
ABOUT = "Check that a robot publishes what its contract says, before recording."
EXAMPLES = """\
examples:
  diwa check-robot                              the contract that we ship, into bags/
  diwa check-robot --contract lab.yaml --folder /data/bags
  diwa check-robot --contract lab.yaml --namespace arm1 --seconds 20
  diwa check-robot --json > check.json

Per topic: is it published, by one node, with the right type, rate, size, encoding and frame; are
the stamps of one clock. And whether the disk has room and is fast enough. Exit code 1 when
something is wrong.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, NAME, ABOUT, EXAMPLES)
    command.add_argument(
        "--contract", default="panda_calvin", help="a YAML file, or the name of one we ship"
    )
    command.add_argument("--folder", type=Path, default=Path("bags"), help="where bags would go")
    command.add_argument("--namespace", default="", help="of the robot (default: none)")
    command.add_argument(
        "--seconds", type=_seconds, default=5.0, help="how long to listen (default: 5)"
    )
    command.add_argument("--json", action="store_true", help="the rows as JSON")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Listen and say what is wrong."""
    from rich.console import Console

    from diwa.data.contract import load_contract
    from diwa.data.robot_check import wrong
    from diwa_ros.check_robot import check_robot, draw_rows
    from diwa_ros.paths import find_contract

    contract = load_contract(find_contract(arguments.contract))
    folder = arguments.folder.expanduser()
    rows = check_robot(contract, folder, arguments.seconds, arguments.namespace)
    faults = wrong(rows)
    if arguments.json:
        write_out(json.dumps([row._asdict() for row in rows], indent=2))
        return 1 if faults else 0
    console = Console()
    draw_rows(rows, console if console.is_terminal else Console(width=WIDTH))
    write_out(f"\n{len(faults)} wrong" if faults else "\nready to record")
    return 1 if faults else 0


def _seconds(text: str) -> float:
    number = float(text)
    if not 1 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not a time from 1 to 3600 s")
    return number
