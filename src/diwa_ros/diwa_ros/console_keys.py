# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the keys of the recorder's console mean, which depends on what the recorder does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from diwa.data.episode import Outcome

# Cursor and function keys come as several characters.
SEQUENCES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z~]|O.)")
OUTCOMES: dict[str, Outcome] = {"s": "success", "f": "failure", "u": "unknown"}
ENTER, ESCAPE, ERASE = "\r\n", "\x1b", "\x7f\b"
HELP = {
    True: (
        ("space", "end"),
        ("s f u", "end: success, failure, unknown"),
        ("d", "discard"),
        ("t", "task"),
        ("n", "note"),
        ("q", "quit"),
    ),
    False: (
        ("space", "start"),
        ("s f u", "last was: success, failure, unknown"),
        ("d", "discard last"),
        ("z", "undo discard"),
        ("t", "task of the next"),
        ("T", "task of the last"),
        ("n", "note on the last"),
        ("q", "quit"),
    ),
}

Kind = Literal["start", "end", "label", "discard", "restore", "quit"]
Typed = Literal["", "task", "relabel", "note"]


class Command(NamedTuple):
    """What the recorder or the console is asked to do; `values` are fields of a request."""

    kind: Kind
    values: Mapping[str, str | bool] = {}


class Situation(NamedTuple):
    """What the meaning of a key depends on."""

    recording: bool = False
    last: str = ""  # finished episode; empty: none
    discarded: str = ""  # the one that was thrown away last


class ConsoleKeys:
    """Turns keys into commands, and holds what is being typed.

    Attributes:
        task: of the open and of the next episodes; empty: play.
        note: on the open episode, sent at its end; forgotten once it has finished.
        typing: what a line of text is being typed for; empty: nothing.
        text: typed so far.
        hint: why the last key did nothing.
    """

    def __init__(self, task: str = "") -> None:
        self.task = task
        self.note = ""
        self.typing: Typed = ""
        self.text = ""
        self.hint = ""
        self._noted_after = ""  # the last episode when the note was typed

    def press(self, keys: str, situation: Situation) -> list[Command]:
        """Commands of the keys pressed since the last call."""
        if situation.last != self._noted_after:
            self.note = ""
        commands = []
        for key in SEQUENCES.sub("", keys):
            self.hint = ""
            command = self._type(key, situation) if self.typing else self._command(key, situation)
            if command is not None:
                commands.append(command)
        return commands

    def _command(self, key: str, situation: Situation) -> Command | None:
        if key == "q":
            return Command("quit")
        if key in "tTn":
            self._begin_to_type(key, situation)
            return None
        if situation.recording:
            return self._command_while_recording(key)
        if key == " ":
            return Command("start", {"task": self.task})
        if key in OUTCOMES or key == "d":
            if not situation.last:
                self.hint = "there is no finished episode"
                return None
            chosen = {"episode_id": situation.last}
            if key == "d":
                return Command("discard", {**chosen, "reason": "by hand"})
            return Command("label", {**chosen, "set_outcome": True, "outcome": OUTCOMES[key]})
        if key == "z":
            if situation.discarded:
                return Command("restore", {"episode_id": situation.discarded})
            self.hint = "nothing was discarded"
        return None

    def _command_while_recording(self, key: str) -> Command | None:
        ends: dict[str, Outcome] = {" ": "unknown", **OUTCOMES}
        if key in ends:
            values = {"outcome": ends[key], "reason": "by hand", "discard": False}
        elif key == "d":
            values = {"outcome": "unknown", "reason": "discarded by hand", "discard": True}
        else:
            self.hint = "end the episode first" if key == "z" else ""
            return None
        return Command("end", {**values, "task": self.task, "note": self.note})

    def _begin_to_type(self, key: str, situation: Situation) -> None:
        if key == "t":
            self.typing, self.text = "task", self.task
        elif key == "n" and situation.recording:
            self.typing, self.text = "note", self.note
        elif not situation.last:
            self.hint = "there is no finished episode"
        else:
            self.typing, self.text = "note" if key == "n" else "relabel", ""

    def _type(self, key: str, situation: Situation) -> Command | None:
        if key in ERASE:
            self.text = self.text[:-1]
        elif key == ESCAPE:
            self.typing = ""
        elif key in ENTER:
            purpose, self.typing = self.typing, ""
            return self._typed(purpose, self.text.strip(), situation)
        elif key.isprintable():
            self.text += key
        return None

    def _typed(self, purpose: Typed, text: str, situation: Situation) -> Command | None:
        if purpose == "task":
            self.task = text
        elif purpose == "note" and situation.recording:
            self.note, self._noted_after = text, situation.last
        elif purpose == "note":
            return Command("label", {"episode_id": situation.last, "set_note": True, "note": text})
        else:
            return Command("label", {"episode_id": situation.last, "set_task": True, "task": text})
        return None
