# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Processes of a team wait for each other while they live, and end clearly when one has ended."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch.distributed import distributed_c10d

from diwa.errors import ConfigError
from diwa.train.team import Team
from forks import wait_for
from test_train_team import losses, members

FORKS = multiprocessing.get_context("forkserver")
SHORT_S = 4.0  # what a group of processes waits, unless told otherwise
LOST = "another process of this training has ended"


def leader_alone_for_long(team: Team, folder: Path) -> None:
    """A stage that only the leader runs takes longer than the timeout."""
    if team.leads:
        time.sleep(1.5 * SHORT_S)
        team.announce({"stage": "shared"})
    else:
        team.follow({"shared": lambda order: (folder / "shared").touch()})


def leader_vanishes_while_the_other_waits(team: Team, folder: Path) -> None:
    """Killed, or the machine is short of memory."""
    if team.leads:
        os._exit(9)
    team.follow({})


def follower_vanishes_while_it_waits(team: Team, folder: Path) -> None:
    """The leader finds out when it needs the other."""
    if not team.leads:
        os._exit(9)
    time.sleep(0.5)
    team.announce({"stage": "shared"})


def follower_vanishes_when_no_longer_needed(team: Team, folder: Path) -> None:
    """The leader only wants to say good-bye."""
    if not team.leads:
        os._exit(9)
    time.sleep(0.5)


def leader_vanishes_in_a_step(team: Team, folder: Path) -> None:
    """The other is left alone with its gradients."""
    _step(team, vanish=0)


def follower_vanishes_in_a_step(team: Team, folder: Path) -> None:
    """The leader is left alone with its gradients."""
    _step(team, vanish=1)


def leader_fails_between_steps(team: Team, folder: Path) -> None:
    """The disk is full, say; the other asks whether to go on."""
    if team.leads:
        raise ConfigError("the disk is full")
    team.agree(False)


def _step(team: Team, vanish: int) -> None:
    _, parts = losses(team)
    with team.together():
        loss = parts[team.rank]()
        if team.rank == vanish:
            os._exit(9)
        loss.backward()


def _wait_for_both(folder: Path, rank: str) -> None:
    """Joining takes time as well: let both begin together."""
    folder.mkdir(exist_ok=True)
    (folder / rank).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)


def _member(
    environment: Mapping[str, str], work: Callable[[Team, Path], None], folder: Path, ready: Path
) -> None:
    os.environ.update(environment)
    distributed_c10d.default_pg_timeout = timedelta(seconds=SHORT_S)
    _wait_for_both(ready, environment["RANK"])
    team = Team.join(torch.device("cpu"))
    team.agree(False)  # both have joined
    try:
        work(team, folder)
    except ConfigError as error:
        (folder / f"error-{team.rank}").write_text(str(error))
        sys.exit(2)
    finally:
        team.leave()


@pytest.mark.parametrize(
    ("work", "codes", "written"),
    [
        (leader_alone_for_long, [0, 0], {"shared": ""}),
        (leader_vanishes_while_the_other_waits, [9, 2], {"error-1": LOST}),
        (follower_vanishes_while_it_waits, [2, 9], {"error-0": LOST}),
        (follower_vanishes_when_no_longer_needed, [0, 9], {}),
        (leader_vanishes_in_a_step, [9, 2], {"error-1": LOST}),
        (follower_vanishes_in_a_step, [2, 9], {"error-0": LOST}),
        (
            leader_fails_between_steps,
            [2, 2],
            {"error-0": "the disk is full", "error-1": "the leading process has ended"},
        ),
    ],
)
def test_process_is_waited_for_while_it_lives(
    tmp_path: Path,
    work: Callable[[Team, Path], None],
    codes: list[int],
    written: dict[str, str],
) -> None:
    written_to, ready = tmp_path / "written", tmp_path / "ready"
    written_to.mkdir()
    team = [FORKS.Process(target=_member, args=(it, work, written_to, ready)) for it in members()]
    for process in team:
        process.start()
    assert [wait_for(process, 60) for process in team] == codes
    found = {path.name: path.read_text() for path in written_to.iterdir()}
    assert found.keys() == written.keys()
    assert all(found[name].startswith(text) for name, text in written.items()), found
