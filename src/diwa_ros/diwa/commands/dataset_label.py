# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset label`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, subcommand, write_out
from diwa.errors import ConfigError

ABOUT = "Change labels of episodes, delete them or bring them back; reversible."
EXAMPLES = """\
examples:
  diwa dataset label data/kitchen demo_0007 --outcome failure
  diwa dataset label data/kitchen 'demo_00*' --task open_drawer --outcome success
  diwa dataset label data/kitchen play_0003 --delete --reason 'camera slipped'
  diwa dataset label data/kitchen play_0003 --restore
  diwa dataset label data/kitchen --undo                take the last edit back
  diwa dataset label bags/ demo_0007_20261122T115704Z --outcome success --note 'slow'

Arrays and bags are not touched: labels are rows of a table, and the earlier ones are kept
(`diwa dataset info --edits`). A task makes a demonstration of an episode, no task makes it play.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset label", ABOUT, EXAMPLES)
    command.add_argument("path", type=Path, help="dataset folder, bag or folder of bags")
    command.add_argument("episodes", nargs="*", metavar="EPISODE", help="ids, or patterns with *")
    command.add_argument("--task", help="skill that is demonstrated; '' for play")
    command.add_argument("--outcome", choices=("unknown", "success", "failure"))
    command.add_argument("--note", help="operator's note (bags only)")
    command.add_argument("--reason", default="", help="why, kept with the edit")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--delete", action="store_true", help="leave the episodes out")
    what.add_argument("--restore", action="store_true", help="bring deleted episodes back")
    what.add_argument("--undo", action="store_true", help="take the last edit back")
    command.set_defaults(rest_goes_to="episodes")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Edit, and print what was changed."""
    from diwa.data.bag_tools import holds_bags

    changing = any(
        (
            arguments.task is not None,
            arguments.outcome is not None,
            arguments.note is not None,
            arguments.delete,
            arguments.restore,
        )
    )
    if changing == arguments.undo:
        raise ConfigError(
            "diwa dataset label: what is to be done?",
            got="a change and --undo" if changing else "no change",
            expected="--task, --outcome, --note, --delete or --restore, or else --undo",
        )
    if holds_bags(arguments.path):
        return _label_bags(arguments)
    return _label_dataset(arguments)


def _label_dataset(arguments: argparse.Namespace) -> int:
    from diwa.data.edit import choose_episodes, edit_episodes, undo_edit
    from diwa.data.manifest import read_manifest

    if arguments.note is not None:
        raise ConfigError("--note", expected="a bag: datasets keep no notes")
    if arguments.undo:
        if arguments.episodes:
            raise ConfigError("--undo", got="episodes", expected="none: the last edit is undone")
        names, edit, _ = undo_edit(arguments.path)
        changes = ", ".join(f"{key} {b!r} -> {a!r}" for key, (a, b) in edit.changes.items())
        write_out(f"{arguments.path}: took back the edit of {edit.at}: {', '.join(names)}")
        write_out(f"  {changes}")
        return 0
    manifest = read_manifest(arguments.path)
    names = choose_episodes(manifest, arguments.episodes, arguments.path)
    if not names:
        raise ConfigError("diwa dataset label: which episodes?", expected="ids, or '*' for all")
    update: dict[str, str | bool] = {}
    if arguments.task is not None:
        update |= {"task": arguments.task, "kind": "demo" if arguments.task else "play"}
    if arguments.outcome is not None:
        update["outcome"] = arguments.outcome
    if arguments.delete or arguments.restore:
        update["deleted"] = arguments.delete
    before = {info.id: info for info in manifest.episodes}
    after = edit_episodes(arguments.path, dict.fromkeys(names, update), arguments.reason)
    changed = [info.id for info in after.episodes if info != before[info.id]]
    write_out(f"{arguments.path}: changed {len(changed)} of {len(names)} episodes")
    return 0


def _label_bags(arguments: argparse.Namespace) -> int:
    from diwa.data.bag_tools import BagEdit, edit_bags

    edit = BagEdit(
        task=arguments.task,
        outcome=arguments.outcome,
        note=arguments.note,
        reason=arguments.reason,
        delete=arguments.delete,
        restore=arguments.restore,
        undo=arguments.undo,
    )
    for line in edit_bags(arguments.path, arguments.episodes, edit):
        write_out(line)
    return 0
