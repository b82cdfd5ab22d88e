# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Pieces of which subcommands make their arguments, and how they write their result."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diwa.errors import ConfigError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = argparse._SubParsersAction

PROGRESS_KINDS = ("auto", "plain", "json", "none")  # as in diwa.train.progress


def subcommand(
    subparsers: Subparsers, name: str, about: str, examples: str
) -> argparse.ArgumentParser:
    """A parser for command `name`, as in "dataset build"; it sets `command` to that.

    Args:
        subparsers: where the command belongs.
        name: everything that is typed after `diwa`.
        about: one sentence.
        examples: shown below the arguments; lines as "  diwa NAME ...   what it does".
    """
    command = subparsers.add_parser(
        name.split()[-1],
        help=about[0].lower() + about[1:].rstrip("."),
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=name)
    return command


def add_progress(command: argparse.ArgumentParser) -> None:
    """The option `--progress`."""
    command.add_argument(
        "--progress",
        choices=PROGRESS_KINDS,
        default="auto",
        help="auto: a bar on a terminal, else lines; json: one object per line on stdout",
    )


def positive(text: str) -> int:
    """Argument type: 1, 2, ..."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def count(text: str) -> int:
    """Argument type: 0, 1, ..."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


@contextmanager
def needs_lerobot_extra() -> Iterator[None]:
    """Imports that need the packages of our extra "lerobot"; says so where they are missing."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            "packages for parquet and video are missing",
            got=error,
            hint="pip install 'diwa_ros[lerobot]' (pyarrow and av)",
        ) from error


def write_out(text: str) -> None:
    """Put a command's result on stdout, at once."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()
