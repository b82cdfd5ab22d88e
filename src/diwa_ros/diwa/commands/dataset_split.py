# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset split`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, count, subcommand, write_out
from diwa.errors import ConfigError

ABOUT = "Divide a dataset into several, without copying."
EXAMPLES = """\
examples:
  diwa dataset split data/kitchen train=0.9 test=0.1 --out data/parts
  diwa dataset split data/kitchen --by task --out data/skills
  diwa dataset split data/kitchen 'first=play_00*' 'rest=demo_*' --out data/parts

By shares, episodes are drawn alike in kind, task and outcome, and pieces of one bag stay together.
Arrays are shared by hard links, or copied to another disk. The dataset stays as it is.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset split", ABOUT, EXAMPLES)
    command.add_argument("path", type=Path, help="dataset folder")
    command.add_argument(
        "parts", nargs="*", metavar="PART=WHAT", help="a share, or a pattern of episode ids"
    )
    command.add_argument("--by", choices=("kind", "task", "outcome"), help="one part per value")
    command.add_argument("--seed", type=count, default=0, help="of the draw (default: 0)")
    command.add_argument("--out", type=Path, required=True, help="folder for the parts")
    command.set_defaults(rest_goes_to="parts")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Split, and print what became of it."""
    from diwa.data.combine import split_dataset

    if bool(arguments.parts) == bool(arguments.by):
        raise ConfigError("diwa dataset split: into what?", expected="PART=WHAT ..., or --by")
    for name, part in split_dataset(arguments.path, _parts(arguments), arguments.out).items():
        frames = sum(info.length for info in part.episodes)
        write_out(f"{arguments.out / name}: {len(part.episodes)} episodes, {frames} frames")
    return 0


def _parts(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Ids by part, from whichever way the parts were given."""
    from diwa.data.combine import parts_by_label, parts_by_share
    from diwa.data.edit import choose_episodes
    from diwa.data.manifest import read_manifest

    manifest = read_manifest(arguments.path)
    if arguments.by:
        return parts_by_label(manifest.episodes, arguments.by)
    given: dict[str, str] = {}
    for item in arguments.parts:
        name, separator, value = item.partition("=")
        if not separator or not name or "/" in name or name.startswith(".") or name in given:
            raise ConfigError(f"part {item!r}", expected="NAME=SHARE or NAME=PATTERN, each once")
        given[name] = value
    shares = [_share(value) for value in given.values()]
    if all(share is not None for share in shares):
        numbers = dict(zip(given, [share or 0.0 for share in shares], strict=True))
        return parts_by_share(manifest.episodes, numbers, arguments.seed)
    return {
        name: choose_episodes(manifest, value.split(","), arguments.path)
        for name, value in given.items()
    }


def _share(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
