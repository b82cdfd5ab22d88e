# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What may be typed after `diwa`, and the help that teaches it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import diwa
from diwa.commands import GROUPS, Command, load_commands

DESCRIPTION = "Offline adaptation of diffusion policies inside a world model."
EPILOG = """\
typical order:
  diwa dataset build bags/ --out data/kitchen
  diwa dataset doctor data/kitchen
  diwa train --config config/experiments/demo.yaml --data data/kitchen --run runs/kitchen
  diwa report runs/kitchen
  diwa evaluate runs/kitchen/checkpoint --episodes 50

exit codes: 0 done; 2 a mistake in the call, with what to do next; 130 stopped by Ctrl-C or
SIGTERM after saving, and the same command goes on from there; 1 anything else.
"""


def parse(
    argv: Sequence[str] | None, commands: Mapping[str, Command] | None = None
) -> argparse.Namespace:
    """Arguments as a namespace; where a command takes any number of words, they may stand anywhere.

    Such a command names its list as `rest_goes_to`: argparse by itself fills it only once, with
    the words before the first option.
    """
    parser = make_parser(commands)
    arguments, rest = parser.parse_known_args(argv)
    if getattr(arguments, "takes_anything", False):
        return arguments
    name = getattr(arguments, "rest_goes_to", "")
    if rest and (not name or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        setattr(arguments, name, [*getattr(arguments, name), *rest])
    return arguments


def make_parser(commands: Mapping[str, Command] | None = None) -> argparse.ArgumentParser:
    """The parser with all subcommands; each sets `command` to its name.

    Args:
        commands: by name; None for all there are.
    """
    parser = argparse.ArgumentParser(
        "diwa",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"diwa {diwa.__version__}")
    subparsers = {"": parser.add_subparsers(required=True, metavar="COMMAND")}
    for name, command in (load_commands() if commands is None else commands).items():
        group = name.rpartition(" ")[0]
        if group not in subparsers:
            child = subparsers[""].add_parser(group, help=GROUPS[group])
            subparsers[group] = child.add_subparsers(required=True, metavar="ACTION")
        command.add_parser(subparsers[group])
    return parser
