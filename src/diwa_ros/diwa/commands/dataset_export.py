# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import (
    Subparsers,
    add_progress,
    needs_lerobot_extra,
    subcommand,
    write_out,
)

ABOUT = "Write a dataset as a LeRobotDataset v3."
EXAMPLES = """\
examples:
  diwa dataset export data/kitchen --out lerobot/kitchen
  diwa dataset export data/kitchen --out lerobot/kitchen --codec lossless

Codecs: vp9 loses little (full colour resolution), av1 is smaller and what LeRobot's own tools
write, lossless (vp9, RGB) loses nothing. What the images lost is measured, printed and noted.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset export", ABOUT, EXAMPLES)
    command.add_argument("dataset", type=Path, help="dataset folder")
    command.add_argument("--out", type=Path, required=True, help="folder to make")
    command.add_argument(
        "--codec", choices=("vp9", "av1", "lossless"), default="vp9", help="default: vp9"
    )
    add_progress(command)
    return command


def run(arguments: argparse.Namespace) -> int:
    """Export, and print what the images lost."""
    from diwa.data.dataset import Dataset
    from diwa.train.progress import make_progress

    with needs_lerobot_extra():
        from diwa.data.lerobot_export import export_lerobot

    result = export_lerobot(
        Dataset.open(arguments.dataset),
        arguments.out,
        codec=arguments.codec,
        progress=make_progress(arguments.progress),
    )
    lines = [f"{arguments.out}: {result.episodes} episodes, {result.frames} frames"]
    for key, loss in result.images.items():
        lost = "nothing lost"
        if loss.mean_psnr_db is not None:
            lost = f"{loss.mean_psnr_db:.1f} dB PSNR, worst frame {loss.worst_psnr_db:.1f} dB"
        lines.append(f"  {key}  {lost}")
    if arguments.progress != "json":
        write_out("\n".join(lines))
    return 0
