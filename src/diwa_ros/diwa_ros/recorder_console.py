# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: the recorder on a terminal, with keys to start, end, label and discard episodes.

Everything goes through the recorder's services, so this may run on another machine, over ssh, or
several times. Where there is no terminal it writes lines.
"""

from __future__ import annotations

import sys
import time

from diwa_msgs.msg import EpisodeEvent, RecorderStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rich.live import Live

from diwa_ros import qos
from diwa_ros.console_keys import ConsoleKeys, Situation
from diwa_ros.console_requests import Requests
from diwa_ros.console_view import draw, event_line, status_line
from diwa_ros.keyboard import Terminal
from diwa_ros.parameters import declare
from diwa_ros.running import run_node

TICK_S = 0.05
REFRESH_S = 0.25
STALE_S = 1.0  # a status that comes this soon after an event may be older
SILENT_S = 3.0  # without a status for this long, the recorder counts as gone


class RecorderConsole(Node):
    """Shows status and events of the recorder, and calls its services."""

    def __init__(self) -> None:
        super().__init__("recorder_console")
        self._recorder = declare(self, "recorder", "play_recorder", "name of the recorder's node")
        task = declare(self, "task", "", "skill that will be demonstrated; empty: play")
        self._plain = declare(self, "plain", False, "write lines, as where there is no terminal")
        self._period_s = declare(
            self, "period_s", 5.0, "time between two lines of status", minimum=0.1, maximum=3600.0
        )
        self._keys = ConsoleKeys(task)
        self._requests = Requests(self, self._recorder)
        self._status: RecorderStatus | None = None
        self._status_at_s = 0.0
        self._events: list[EpisodeEvent] = []
        self._event_at_s = float("-inf")
        self._open = ""  # episode
        self._finished: list[str] = []
        self._discarded: list[str] = []
        self.create_subscription(
            RecorderStatus, f"{self._recorder}/status", self._on_status, qos.STATUS
        )
        self.create_subscription(
            EpisodeEvent, f"{self._recorder}/events", self._on_event, qos.EVENT
        )
        self.create_timer(TICK_S, lambda: None)

    def work(self, executor: SingleThreadedExecutor) -> int:
        """Until the key q or a signal."""
        if self._plain or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return self._write_lines(executor)
        return self._show_screen(executor)

    @property
    def situation(self) -> Situation:
        """What the meaning of a key depends on."""
        last = self._finished[-1] if self._finished else ""
        return Situation(bool(self._open), last, self._discarded[-1] if self._discarded else "")

    def _show_screen(self, executor: SingleThreadedExecutor) -> int:
        with Terminal() as terminal, Live(auto_refresh=False, screen=True) as live:
            drawn_s = 0.0
            while True:
                executor.spin_once()
                pressed = terminal.read()
                for command in self._keys.press(pressed, self.situation):
                    if command.kind == "quit":
                        return 0
                    self._requests.send(command)
                self._requests.update(self._heard)
                if pressed or time.monotonic() - drawn_s > REFRESH_S:
                    screen = draw(self._heard, self._events, self._keys, self._message)
                    live.update(screen, refresh=True)
                    drawn_s = time.monotonic()

    def _write_lines(self, executor: SingleThreadedExecutor) -> int:
        written, written_s = 0, time.monotonic()
        while True:
            executor.spin_once()
            for event in self._events[written:]:
                _write(event_line(event))
            written = len(self._events)
            if time.monotonic() - written_s > self._period_s:
                _write(status_line(self._heard) if self._heard is not None else self._message)
                written_s = time.monotonic()

    @property
    def _heard(self) -> RecorderStatus | None:
        """The status, unless it is old."""
        return self._status if time.monotonic() - self._status_at_s < SILENT_S else None

    @property
    def _message(self) -> str:
        if self._heard is not None:
            return self._requests.message
        return f"nothing from {self._recorder}: is it running, in this namespace and DDS domain?"

    def _on_status(self, status: RecorderStatus) -> None:
        self._status, self._status_at_s = status, time.monotonic()
        if self._status_at_s - self._event_at_s > STALE_S:
            self._open = status.episode_id if status.recording else ""

    def _on_event(self, event: EpisodeEvent) -> None:
        self._events.append(event)
        self._event_at_s = time.monotonic()
        if event.kind == EpisodeEvent.STARTED:
            self._open = event.episode_id
        elif event.episode_id == self._open and event.kind != EpisodeEvent.LABELLED:
            self._open = ""
        if event.kind in (EpisodeEvent.STARTED, EpisodeEvent.LABELLED):
            return
        for names in (self._finished, self._discarded):
            if event.episode_id in names:
                names.remove(event.episode_id)
        gone = event.kind == EpisodeEvent.DISCARDED
        (self._discarded if gone else self._finished).append(event.episode_id)


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the node."""
    return run_node(RecorderConsole, RecorderConsole.work)


if __name__ == "__main__":
    raise SystemExit(main())
