# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The subcommands of `diwa`: one module each, and the table of them.

A command is a module with two functions:

* ``add_parser(subparsers)`` describes its arguments, through `diwa.commands.options.subcommand`;
* ``run(arguments) -> int`` does the work and returns the exit code.

What the work needs is imported inside `run`: all command modules are imported for every call, and
`--help` has to be quick. `diwa dataset build` lives in `diwa/commands/dataset_build.py` and has
one line in `NAMES`.

Other packages add commands by an entry point of group "diwa.commands" that names such a module,
as in ``check-robot = diwa_ros.check_robot_command``.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from diwa.commands.options import Subparsers, subcommand
from diwa.errors import ConfigError

ENTRY_POINTS = "diwa.commands"
GROUPS = {"dataset": "make, check, mend, edit and exchange datasets"}
NAMES = (
    "info",
    "dataset build",
    "dataset info",
    "dataset doctor",
    "dataset repair",
    "dataset label",
    "dataset merge",
    "dataset split",
    "dataset import",
    "dataset export",
    "dataset show",
    "dataset simulate",
    "train",
    "evaluate",
    "report",
)


class Command(NamedTuple):
    """A subcommand; the fields are the functions of its module."""

    add_parser: Callable[[Subparsers], argparse.ArgumentParser]
    run: Callable[[argparse.Namespace], int]


def load_commands() -> dict[str, Command]:
    """All commands by name, in the order of the help; those of other packages come last."""
    table = {}
    for name in NAMES:
        module = importlib.import_module(f"diwa.commands.{name.replace(' ', '_')}")
        table[name] = Command(module.add_parser, module.run)
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        table.setdefault(entry.name, _from_entry_point(entry))
    return table


def _from_entry_point(entry: EntryPoint) -> Command:
    try:
        module = entry.load()
    except ImportError as error:
        return _unavailable(entry.name, error)
    return Command(module.add_parser, module.run)


def _unavailable(name: str, error: ImportError) -> Command:
    """Stands for a command whose package cannot be imported here, and says why when it is run."""
    missing = error.name or str(error)

    def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
        about = f"Not available here: {missing} is missing."
        parser = subcommand(subparsers, name, about, f"examples:\n  diwa {name} --help")
        parser.set_defaults(takes_anything=True)
        return parser

    def run(arguments: argparse.Namespace) -> int:
        raise ConfigError(
            f"diwa {name} cannot run here",
            got=error,
            hint=f"install {missing}, or set up the ROS 2 installation of this terminal",
        )

    return Command(add_parser, run)
