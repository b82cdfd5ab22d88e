# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Who says whether a trial succeeded: the state of the simulated scene, or a person with keys.

Neither knows which policy drives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from diwa_msgs.action import RunSkill

from diwa.trials.series import Outcome, Series, Trial
from diwa_ros.driving import Driver
from diwa_ros.keyboard import Terminal
from diwa_ros.scene_oracle import SceneOracle
from diwa_ros.skill_client import ENDED

KEYS: dict[str, Outcome] = {"s": "success", "f": "failure", "v": "void"}
ASK = "  how did it go?  s success   f failure   v void, do it again: "
READY = (
    "Trial {number} of {total}. Prepare start {start}; Enter: go   u: correct the last   q: stop"
)
DONE = "All trials are done. Enter: open the order   u: correct the last   q: leave it sealed"
RUNNING = "  running; s, f or v judge it at once, space ends it"


class Judgement(NamedTuple):
    """What comes of a trial."""

    outcome: Outcome
    note: str = ""


class TrialJudge(Protocol):
    """Decides; `ready` and `finish` are false when the session is to stop here."""

    def ready(self, trial: Trial) -> bool:
        """Whether the trial may begin."""

    def start(self) -> None:
        """The robot is prepared, the skill starts."""

    def enough(self) -> bool:
        """Whether the running trial may end; asked all the time."""

    def judge(self, result: RunSkill.Result) -> Judgement:
        """The outcome, once the skill has ended."""

    def finish(self) -> bool:
        """Whether the order may be opened, after the last trial."""

    def say(self, text: str) -> None:
        """Tell whoever watches."""


class SceneJudge:
    """The task's own condition on the simulated scene; the run ends as soon as it is true."""

    def __init__(self, driver: Driver, oracle: SceneOracle, say: Callable[[str], None]) -> None:
        self._driver = driver
        self._oracle = oracle
        self.say = say

    def ready(self, trial: Trial) -> bool:
        """Always."""
        return True

    def start(self) -> None:
        """What is there now is the start."""
        self._oracle.begin(self._driver.observe())

    def enough(self) -> bool:
        """Success, now or earlier."""
        return self._oracle.solved

    def judge(self, result: RunSkill.Result) -> Judgement:
        """A run that the machinery broke off is void, unless it had succeeded before."""
        if result.error_code not in ENDED and not self._oracle.solved:
            return Judgement("void", result.error_msg)
        return Judgement("success" if self._oracle.wait_for(result) else "failure")

    def finish(self) -> bool:
        """Always."""
        return True


class PersonJudge:
    """A person at a terminal, who prepares the scene, watches and presses keys."""

    def __init__(self, terminal: Terminal, series: Series, spin_once: Callable[[], None]) -> None:
        self._terminal = terminal
        self._series = series
        self._spin_once = spin_once
        self._pressed = ""

    def say(self, text: str) -> None:
        """One line on the terminal."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def ready(self, trial: Trial) -> bool:
        """Once the scene is as it should be."""
        total, start = 2 * self._series.plan.pairs, trial.pair + 1
        return self._go_on(READY.format(number=trial.number, total=total, start=start))

    def start(self) -> None:
        """Keys count from here on."""
        self._terminal.read()
        self._pressed = ""
        self.say(RUNNING)

    def enough(self) -> bool:
        """A key was pressed that ends the run."""
        for key in self._terminal.read():
            if not self._pressed and key in (*KEYS, " "):
                self._pressed = key
        return bool(self._pressed)

    def judge(self, result: RunSkill.Result) -> Judgement:
        """The key that ended the run, or the answer to the question."""
        if result.error_code not in ENDED:
            self.say(f"  broken off: {result.error_msg}")
        return Judgement(KEYS.get(self._pressed) or self._ask())

    def finish(self) -> bool:
        """Last chance for a correction."""
        return self._go_on(DONE)

    def _go_on(self, prompt: str) -> bool:
        self.say(prompt)
        while True:
            key = self._key("\r\n uq")
            if key == "q":
                return False
            if key != "u":
                return True
            last = self._series.last
            if last is None:
                self.say("  there is no trial to correct yet")
                continue
            self.say(f"  trial {last.number}:")
            facts: dict[str, Any] = {"judge": "person", "correction": True}
            self._series.end(last, self._ask(), **facts)
            self.say(prompt)

    def _ask(self) -> Outcome:
        self.say(ASK)
        outcome = KEYS[self._key("".join(KEYS))]
        self.say(f"  {outcome}")
        return outcome

    def _key(self, wanted: str) -> str:
        """The next key that means something here."""
        while True:
            for key in self._terminal.read():
                if key in wanted:
                    return key
            self._spin_once()
