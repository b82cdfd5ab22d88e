# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset import`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import (
    Subparsers,
    add_progress,
    count,
    needs_lerobot_extra,
    positive,
    subcommand,
    write_out,
)
from diwa.errors import ConfigError

ABOUT = "Take over data of CALVIN or LeRobot v3."
EXAMPLES = """\
examples:
  diwa dataset import task_D_D --out data/calvin --contract config/contracts/panda_calvin.yaml
  diwa dataset import task_D_D/validation --out data/held_out --contract my.yaml --progress plain
  diwa dataset import task_D_D --out data/try --contract my.yaml --subset 20000 --demos 50
  diwa dataset import task_D_D --out data/two --contract my.yaml --tasks open_drawer,turn_on_led
  diwa dataset import lerobot/kitchen --out data/kitchen
  diwa dataset import other/set --out data/other --contract my.yaml --feature rgb_static=top

The format is found out. Episodes that are complete in the folder are not read again, so that the
same command goes on after an interruption. `diwa dataset build` is for bags.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset import", ABOUT, EXAMPLES)
    command.add_argument("source", type=Path, help="folder with the data")
    command.add_argument("--out", type=Path, required=True, help="dataset folder, new or to add to")
    command.add_argument(
        "--contract", type=Path, help="what the data mean; our own exports say it themselves"
    )
    calvin = command.add_argument_group("CALVIN")
    calvin.add_argument("--split", default="training", help="which one (default: training)")
    calvin.add_argument("--subset", type=count, metavar="N", help="only the first N frames of play")
    calvin.add_argument("--tasks", metavar="A,B", help="only demonstrations of these skills")
    calvin.add_argument(
        "--demos", type=count, metavar="N", help="only the first N demonstrations per skill"
    )
    calvin.add_argument("--workers", type=positive, default=2, help="threads (default: 2)")
    lerobot = command.add_argument_group("LeRobot, data of others")
    lerobot.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="KEY=NAME",
        help="name of the feature for one of our keys: proprio, action, a camera ...",
    )
    lerobot.add_argument(
        "--kind", choices=("demo", "play"), default="demo", help="of episodes (default: demo)"
    )
    add_progress(command)
    return command


def run(arguments: argparse.Namespace) -> int:
    """Import, and print how much it became."""
    from diwa.data.calvin_layout import is_calvin

    if is_calvin(arguments.source):
        text = _calvin(arguments)
    elif (arguments.source / "meta" / "info.json").is_file():
        text = _lerobot(arguments)
    else:
        raise ConfigError(
            f"{arguments.source}: no format that is known here",
            got="no such folder" if not arguments.source.exists() else "none of their files",
            expected="ep_start_end_ids.npy (CALVIN) or meta/info.json (LeRobot)",
            hint="for bags, use `diwa dataset build`",
        )
    if arguments.progress != "json":
        write_out(text)
    return 0


def _calvin(arguments: argparse.Namespace) -> str:
    from diwa.data.calvin import import_calvin
    from diwa.data.contract import load_contract
    from diwa.train.progress import make_progress

    if arguments.contract is None:
        raise ConfigError(
            "CALVIN's data need a contract",
            hint="--contract config/contracts/panda_calvin.yaml, or panda_calvin_lowdim.yaml",
        )
    result = import_calvin(
        arguments.source,
        arguments.out,
        load_contract(arguments.contract),
        split=arguments.split,
        subset=arguments.subset,
        tasks=arguments.tasks.split(",") if arguments.tasks else None,
        demos=arguments.demos,
        workers=arguments.workers,
        progress=make_progress(arguments.progress),
    )
    demos = ", ".join(f"{task} {number}" for task, number in sorted(result.demonstrations.items()))
    lines = [
        f"{arguments.out}: {len(result.dataset.episodes)} episodes",
        f"  play            {result.play_frames} frames",
        f"  demonstrations  {demos or 'none'}",
    ]
    if result.off_by is not None:
        verdict = "they agree" if result.off_by < 0.1 else "NOT the same data"
        lines.append(
            f"  statistics      means within {result.off_by:.2g} standard deviations of those "
            f"published: {verdict}"
        )
    return "\n".join(lines)


def _lerobot(arguments: argparse.Namespace) -> str:
    from diwa.data.contract import load_contract
    from diwa.train.progress import make_progress

    with needs_lerobot_extra():
        from diwa.data.lerobot_import import import_lerobot

    features = {}
    for item in arguments.feature:
        key, separator, name = item.partition("=")
        if not key or not separator or not name:
            raise ConfigError(f"--feature {item!r}", expected="KEY=NAME")
        features[key] = name
    dataset = import_lerobot(
        arguments.source,
        arguments.out,
        load_contract(arguments.contract) if arguments.contract else None,
        features=features,
        kind=arguments.kind,
        progress=make_progress(arguments.progress),
    )
    frames = sum(info.length for info in dataset.episodes)
    return f"{arguments.out}: {len(dataset.episodes)} episodes, {frames} frames"
