# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset show`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, needs_lerobot_extra, positive, subcommand, write_out
from diwa.errors import ConfigError

ABOUT = "Draw an episode: frames, actions, gripper and labels."
EXAMPLES = """\
examples:
  diwa dataset show data/kitchen/play_0007_20261122T115704Z --out film.png
  diwa dataset show data/kitchen/play_0007_20261122T115704Z --out film.mp4
  diwa dataset show bags/play_0007_20261122T115704Z --out film.png --columns 20

EPISODE is a dataset folder with the id of an episode behind it, or a bag folder. A .png file is a
film strip, a .mp4 file the episode in real time with a cursor over its curves.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset show", ABOUT, EXAMPLES)
    command.add_argument("episode", type=Path, metavar="EPISODE", help="DATASET/ID, or a bag")
    command.add_argument("--out", type=Path, required=True, help="a .png or .mp4 file to write")
    command.add_argument(
        "--columns", type=positive, default=12, help="frames in a film strip (default: 12)"
    )
    return command


def run(arguments: argparse.Namespace) -> int:
    """Draw, and print where."""
    kind = arguments.out.suffix.lower()
    if kind not in (".png", ".mp4"):
        raise ConfigError(f"{arguments.out}: no picture", expected="a name with .png or .mp4")
    from diwa.data.film_source import find_film

    film = find_film(arguments.episode)
    if kind == ".png":
        from diwa.data.film import write_strip

        write_strip(film, arguments.out, arguments.columns)
    else:
        with needs_lerobot_extra():
            from diwa.data.film_video import write_video

        write_video(film, arguments.out)
    write_out(str(arguments.out))
    return 0
