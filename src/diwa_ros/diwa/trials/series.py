# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A series of trials in a folder: what comes next, what came out, and who did it, at the end.

The folder holds `plan.json`, `trials.jsonl` and `sealed/` (the order, and logs that would give it
away). Until `reveal`, nothing outside `sealed/` says which policy drove which trial.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, get_args

from diwa.config import parse_config
from diwa.errors import ConfigError
from diwa.files import read_json, write_json
from diwa.trials.log import TrialLog, now
from diwa.trials.plan import Arm, Candidate, Judge, TrialPlan, draw_order, seal, unseal

PLAN = "plan.json"
LOG = "trials.jsonl"
SEALED = "sealed"
Outcome = Literal["success", "failure", "void"]


class Trial(NamedTuple):
    """One run of the skill, as everybody may know it."""

    pair: int  # from 0
    place: int  # 0: first of the pair, 1: second
    seed: int  # of the start, and of the policy's noise

    @property
    def number(self) -> int:
        """From 1, over the whole series."""
        return 2 * self.pair + self.place + 1


class Series:
    """An open series; closed by the end of a `with` block.

    Args:
        folder: of the series; its plan must be there.
        operator: who runs and judges the trials from here on.

    Attributes:
        plan: of the series.
        log: its records.
    """

    def __init__(self, folder: Path, operator: str = "") -> None:
        self.folder = folder
        self.plan = parse_config(TrialPlan, read_json(folder / PLAN), str(folder / PLAN))
        self._first = unseal(folder / SEALED / "order", self.plan)
        self._operator = operator
        self.log = TrialLog(folder / LOG)

    @property
    def outcomes(self) -> dict[tuple[int, int], Outcome]:
        """Success or failure by pair and place; a correction replaces what it corrects."""
        found: dict[tuple[int, int], Outcome] = {}
        for record in self.log.records:
            if record["event"] == "ended":
                place = (record["pair"], record["place"])
                if record["outcome"] == "void":
                    found.pop(place, None)
                else:
                    found[place] = record["outcome"]
        return found

    @property
    def next(self) -> Trial | None:
        """The first trial without an outcome; None when all have one."""
        done = self.outcomes
        for pair in range(self.plan.pairs):
            for place in (0, 1):
                if (pair, place) not in done:
                    return Trial(pair, place, self.plan.first_seed + pair)
        return None

    @property
    def last(self) -> Trial | None:
        """The trial that was judged last; None before the first."""
        for record in reversed(self.log.records):
            if record["event"] == "ended":
                pair = int(record["pair"])
                return Trial(pair, int(record["place"]), self.plan.first_seed + pair)
        return None

    @property
    def revealed(self) -> bool:
        """Whether somebody has looked; nothing is added afterwards."""
        return any(record["event"] == "revealed" for record in self.log.records)

    def require_sealed(self) -> None:
        """Raise `ConfigError` when the series is closed."""
        if self.revealed:
            raise ConfigError(
                f"{self.folder}: the order was revealed, the series is closed",
                hint="begin a new one in another folder",
            )

    def arm_of(self, trial: Trial) -> Arm:
        """Who drives a trial: for the machine that starts it, not for a screen or a log."""
        first = self._first[trial.pair]
        other: Arm = "adapted" if first == "base" else "base"
        return first if trial.place == 0 else other

    def begin(self, trial: Trial) -> None:
        """Note that a trial starts now."""
        self.require_sealed()
        self.log.append("begun", pair=trial.pair, place=trial.place, operator=self._operator)

    def end(self, trial: Trial, outcome: Outcome, **facts: Any) -> None:
        """Note how a trial ended; again, to correct it. A void trial is done again."""
        self.require_sealed()
        if outcome not in get_args(Outcome):
            raise ValueError(outcome)
        place = {"pair": trial.pair, "place": trial.place, "outcome": outcome}
        self.log.append("ended", **place, operator=self._operator, **facts)

    def reveal(self) -> None:
        """Close the series: from here on the order may be known."""
        if not self.revealed:
            self.log.append("revealed", operator=self._operator)

    def close(self) -> None:
        """Let others have the folder."""
        self.log.close()

    def __enter__(self) -> Series:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def begin_series(
    folder: Path,
    *,
    skill: str,
    base: Candidate,
    adapted: Candidate,
    pairs: int,
    first_seed: int = 0,
    time_limit_s: float = 12.0,
    success_threshold: float = 2.0,
    judge: Judge = "scene",
    simulated: bool = True,
    order_seed: int | None = None,
) -> TrialPlan:
    """Make the folder of a new series: draw the order, seal it, write the plan.

    Raises:
        ConfigError: there is a series already.
    """
    if (folder / PLAN).exists():
        raise ConfigError(
            f"{folder}: there is a series already",
            hint="go on with it (the same command without checkpoints), or name another folder",
        )
    digest = seal(folder / SEALED / "order", draw_order(pairs, order_seed))
    plan = TrialPlan(
        created=now(),
        skill=skill,
        base=base,
        adapted=adapted,
        pairs=pairs,
        first_seed=first_seed,
        time_limit_s=time_limit_s,
        success_threshold=success_threshold,
        judge=judge,
        simulated=simulated,
        order_sha256=digest,
    )
    write_json(folder / PLAN, plan.model_dump(mode="json"))
    return plan
