# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: records episodes as bags, from serialised messages, by the contract's topics."""

from __future__ import annotations

from subprocess import Popen

from diwa_msgs.msg import EpisodeEvent, RecorderStatus, TopicStatistics

from diwa.data.contract import load_contract
from diwa.data.episode import STOPPED
from diwa.data.episode_cadence import EpisodeCadence
from diwa.data.robot_check import Row
from diwa.data.session_report import session_report
from diwa.errors import ConfigError
from diwa_ros import qos
from diwa_ros.arrivals import Arrival, Arrivals
from diwa_ros.diagnostics import Diagnostics, Report
from diwa_ros.episode_services import EpisodeServices
from diwa_ros.finished_episodes import Happening
from diwa_ros.follow_up import LOG, build_dataset_of
from diwa_ros.joystick import Joystick, press_button
from diwa_ros.lifecycle import LifecycleNode, lasting_logger
from diwa_ros.paths import find_contract
from diwa_ros.receive_clock import ReceiveClock
from diwa_ros.record_action import RecordAction
from diwa_ros.recorder_health import recorder_health
from diwa_ros.recorder_inputs import Inputs
from diwa_ros.recorder_messages import episode_event, fill_recorder_status
from diwa_ros.recorder_settings import declare_recorder
from diwa_ros.recording import Recording
from diwa_ros.recording_session import RecordingSession
from diwa_ros.robot_probe import Preflight, row_text
from diwa_ros.running import run_node
from diwa_ros.topic_reports import topic_reports
from diwa_ros.waiting import Waiting

WATCH_PERIOD_S = 0.5
TICK_PERIOD_S = 0.1
EVENT_WORDS = {
    EpisodeEvent.STARTED: "started",
    EpisodeEvent.ENDED: "ended",
    EpisodeEvent.DISCARDED: "discarded",
    EpisodeEvent.RESTORED: "restored",
    EpisodeEvent.LABELLED: "labelled",
    EpisodeEvent.RECOVERED: "recovered",
}


class PlayRecorder(LifecycleNode):
    """One bag per episode; started and ended by services, an action or a joystick.

    Attributes:
        session: the episodes, while the node is configured.
    """

    def __init__(self) -> None:
        super().__init__("play_recorder")
        self._settings = declare_recorder(self)
        self.session: RecordingSession | None = None
        self._inputs: Inputs | None = None
        self._preflight: Preflight | None = None
        self._listened: EpisodeCadence | None = None  # counts on between the episodes
        self._topics: list[TopicStatistics] = []  # as last published
        self._build: Popen[bytes] | None = None
        self._active = False
        self._arrivals = Arrivals()
        self._receive_clock = ReceiveClock()
        self._waiting = Waiting()
        self._events = self.create_publisher(EpisodeEvent, "~/events", qos.EVENT)
        self._status = self.create_publisher(RecorderStatus, "~/status", qos.STATUS)
        self._episode_services = EpisodeServices(
            self, lambda: self.session, self._begin, self._silent, self._waiting
        )
        self._action = RecordAction(
            self, lambda: self.session, self._begin, self._receive_clock, self._waiting
        )
        self._joystick = Joystick(
            self, self._settings.joy_topic, self._settings.joy_buttons, self._on_button
        )
        self.create_timer(WATCH_PERIOD_S, self._on_watch)
        self.create_timer(TICK_PERIOD_S, self._waiting.check)
        self._diagnostics = Diagnostics(self, self._report, self._report_topics)

    def load(self) -> None:
        """Read the contract, repair what an earlier run left, and subscribe."""
        settings = self._settings
        contract = load_contract(find_contract(settings.contract))
        self.session = RecordingSession(
            settings.folder,
            settings.prefix,
            contract,
            self._receive_clock,
            settings.min_free_bytes,
            self._announce,
        )
        for bag in self.session.folder.broken_off():
            self.get_logger().info(f"{bag.name} was broken off: repairing it")
        for failure in self.session.finished.recover():
            self.get_logger().error(failure)
        self._listened = EpisodeCadence(contract)
        self._inputs = Inputs(
            self, contract, self._receive_clock.now_ns, self._on_arrival, self._on_lost
        )

    def start(self) -> None:
        """Accept episodes, and say soon what does not fit the contract."""
        self._active = True
        if self._settings.check_s and self.session is not None:
            self._preflight = Preflight(
                self,
                self.session.contract,
                self._settings.check_s,
                self._log_check,
                self._settings.folder,
                self._settings.min_free_bytes,
            )

    def stop(self) -> None:
        """Accept no more episodes; keep the open one."""
        self._active = False
        session = self.session
        if session is not None and session.recording is not None:
            session.keep("", "unknown", STOPPED, cause="stopped")
        preflight, self._preflight = self._preflight, None
        if preflight is not None:
            preflight.cancel()
        self._waiting.check()

    def release(self) -> None:
        """Unsubscribe, say what the session brought, and have the dataset built."""
        inputs, self._inputs = self._inputs, None
        if inputs is not None:
            inputs.close()
        self._arrivals.clear()
        session, self.session = self.session, None
        if session is None or not session.finished.records:
            return
        lasting_logger(self).info(session_report(list(session.finished.records.values())))
        folder, dataset = self._settings.folder, self._settings.dataset
        if dataset is not None:
            self._build = build_dataset_of(folder, dataset)
            lasting_logger(self).info(f"building {dataset}; see {folder / LOG}")

    def destroy_node(self) -> None:
        """Stop, release and destroy."""
        self._action.close()
        super().destroy_node()

    def _begin(self, task: str, note: str, start_ns: int) -> Recording:
        """Open an episode; raises `ConfigError` or `OSError` when that cannot be."""
        if not self._active or self.session is None:
            raise ConfigError("the recorder is not active")
        remembered = self._arrivals.latest() if start_ns else []
        return self.session.begin(task, note, start_ns, remembered)

    def _silent(self) -> list[str]:
        return self._inputs.silent() if self._inputs is not None else []

    def _on_arrival(self, arrival: Arrival) -> None:
        self._arrivals.add(arrival)
        topic, stamp_ns, receive_ns, data = arrival[:4]
        if self._listened is not None:
            self._listened.push(topic, stamp_ns, receive_ns, len(data))
        if self._preflight is not None:
            self._preflight.push(topic, receive_ns, data)
        if self.session is not None and self.session.recording is not None:
            self.session.write(arrival)
            self._waiting.check()

    def _on_lost(self, topic: str, messages: int) -> None:
        if self.session is not None and self.session.recording is not None:
            self.session.recording.cadence.topics[topic].lost(messages)

    def _on_button(self, word: str) -> None:
        session = self.session
        try:
            if session is None:
                raise ConfigError("the recorder is not active")
            press_button(word, session, lambda: self._begin(self._settings.joy_task, "", 0))
        except (ConfigError, OSError) as error:
            self.get_logger().error(f"joystick, {word}: {error}")

    def _on_watch(self) -> None:
        session = self.session
        if session is not None:
            was_open = session.recording is not None
            session.watch()
            if was_open and session.error:
                self.get_logger().error(session.error)
            recording = session.recording
            if self._inputs is not None:
                self._inputs.refresh(recording.heard if recording is not None else ())
        self._action.publish_feedback()
        self._publish_status()

    def _announce(self, happening: Happening) -> None:
        record = happening.record
        arrived = sum(topic.received for topic in record.topics)
        words = [f"{record.id} {EVENT_WORDS[happening.kind]}"]
        words += [f"{arrived} messages"] * (happening.kind == EpisodeEvent.ENDED)
        words += [happening.reason] * bool(happening.reason)
        lasting_logger(self).info(", ".join(words))
        if happening.kind in (EpisodeEvent.ENDED, EpisodeEvent.RECOVERED):
            for problem in record.problems:
                lasting_logger(self).warning(f"{record.id}: {problem}")
        if self.context.ok():
            event = episode_event(record, happening.kind, happening.reason)
            event.header.stamp = self.get_clock().now().to_msg()
            self._events.publish(event)

    def _publish_status(self) -> None:
        status = RecorderStatus(active=self._active)
        status.header.stamp = self.get_clock().now().to_msg()
        session, inputs, listened = self.session, self._inputs, self._listened
        if session is not None and inputs is not None and listened is not None:
            now_ns = self._receive_clock.now_ns()
            fill_recorder_status(status, session, now_ns, inputs.publishers, listened)
        self._topics = status.topics
        self._status.publish(status)

    def _log_check(self, rows: list[Row]) -> None:
        """Log what the check after activation found."""
        for row in rows:
            if row.level != "ok":
                self.get_logger().warning(row_text(row))
        if rows and all(row.level == "ok" for row in rows):
            self.get_logger().info("the robot publishes what the contract says")

    def _report(self) -> Report:
        return recorder_health(self.session, self._silent())

    def _report_topics(self) -> dict[str, Report]:
        recording = self.session is not None and self.session.recording is not None
        return topic_reports(self._topics, recording)


def main() -> int:
    """Run the node."""
    return run_node(PlayRecorder)


if __name__ == "__main__":
    raise SystemExit(main())
