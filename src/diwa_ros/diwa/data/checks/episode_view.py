# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One episode as the checks see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from diwa.data.contract import PROPRIO_SIZES, Contract, ProprioPart
from diwa.data.findings import Finding
from diwa.data.manifest import EpisodeInfo


class EpisodeView(NamedTuple):
    """An episode whose arrays are all there.

    Attributes:
        folder: of the dataset, for what people are told to type.
        contract: that its arrays follow.
        info: its row.
        arrays: by key, as `Dataset.array` returns them.
    """

    folder: str
    contract: Contract
    info: EpisodeInfo
    arrays: Mapping[str, np.ndarray]

    def part(self, name: ProprioPart) -> np.ndarray | None:
        """A part of proprioception (T, n) float64, None where the contract has it not."""
        start = 0
        for part in self.contract.proprio:
            if part == name:
                columns = self.arrays["proprio"][:, start : start + PROPRIO_SIZES[part]]
                return np.asarray(columns, dtype=np.float64)
            start += PROPRIO_SIZES[part]
        return None

    def finding(
        self,
        check: str,
        key: str,
        what: str,
        expected: str = "",
        advice: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> Finding:
        """A finding about one array of this episode."""
        return Finding(
            check=check,
            severity=severity,
            episode=self.info.id,
            file=f"shards/{key}/{self.info.id}.npy",
            what=what,
            expected=expected,
            advice=advice or self.leave_out,
        )

    @property
    def leave_out(self) -> str:
        """How to leave this episode out."""
        return f"leave it out: `diwa dataset label {self.folder} {self.info.id} --delete`"


def runs_of(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Begin and end (exclusive) of each stretch of True in (T,) bool."""
    padded = np.concatenate([[False], flags, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
