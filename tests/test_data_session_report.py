# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The report at the end of a session names every episode that needs a look, and no other."""

from __future__ import annotations

from diwa.data.episode import EpisodeRecord
from diwa.data.session_report import session_report

SECOND = 10**9


def record(contract, number, **fields):
    fields = {"kind": "play", "started_ns": SECOND, "ended_ns": 61 * SECOND, **fields}
    return EpisodeRecord(id=f"episode_{number:04}", contract=contract, **fields)


def test_episodes_are_counted_by_task_and_outcome(lowdim_contract):
    demo = {"kind": "demo", "task": "open_drawer"}
    report = session_report(
        [
            record(lowdim_contract, 0),
            record(lowdim_contract, 1, **demo, outcome="success"),
            record(lowdim_contract, 2, **demo, outcome="failure"),
            record(lowdim_contract, 3, **demo, outcome="success"),
        ]
    )
    assert report.splitlines() == [
        "session: 4 episodes, 4.0 min",
        "  play: 1 (1 unknown)",
        "  open_drawer: 3 (2 success, 1 failure)",
        "  all within the contract's tolerance",
    ]


def test_flagged_and_recovered_episodes_are_listed_with_every_problem(lowdim_contract):
    report = session_report(
        [
            record(lowdim_contract, 0),
            record(lowdim_contract, 1, problems=("ee_pose: nothing arrived", "camera: a gap")),
            record(lowdim_contract, 2, recovered=True, reason="recovered: broken off"),
        ]
    )
    assert "2 of them should be looked at" in report
    assert "episode_0000" not in report
    assert report.splitlines()[-3:] == [
        "  episode_0001    60.0 s  ee_pose: nothing arrived",
        "                          camera: a gap",
        "  episode_0002    60.0 s  recovered: broken off",
    ]


def test_session_without_an_episode_says_so():
    assert session_report([]) == "session: 0 episodes, 0.0 min"
