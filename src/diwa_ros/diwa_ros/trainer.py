# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: runs the learning stages on request; cancel saves, and the same goal goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diwa_msgs.action import Train
from diwa_msgs.msg import TrainingStatus
from rclpy.action.server import ActionServer, CancelResponse, ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from diwa_ros import qos
from diwa_ros.conversions import fill_training_status
from diwa_ros.diagnostics import OK, WARN, Diagnostics, Report
from diwa_ros.parameters import declare
from diwa_ros.running import run_node
from diwa_ros.training_process import TrainingProcess

Result = Train.Result
FEEDBACK_PERIOD_S = 0.5
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = (130, -15)  # saved; or stopped before there was anything to save


class Trainer(Node):
    """One training run at a time, in a child process."""

    def __init__(self) -> None:
        super().__init__("trainer")
        self._patience_s = declare(
            self,
            "save_timeout_s",
            60.0,
            "a canceled run that has not saved and ended after this is killed",
            minimum=0.0,
            maximum=3600.0,
        )
        self._process: TrainingProcess | None = None
        self._goal: ServerGoalHandle | None = None
        self._progress: dict[str, Any] = {}
        self._last = "no run yet"
        self._status = TrainingStatus()
        self._wake = self.create_guard_condition(lambda: None)
        self._publisher = self.create_publisher(TrainingStatus, "~/status", qos.STATUS)
        self._server = ActionServer(
            self, Train, "~/train", self._execute, cancel_callback=self._on_cancel
        )
        self.create_timer(FEEDBACK_PERIOD_S, self._on_timer)
        self._diagnostics = Diagnostics(self, self._report)

    def destroy_node(self) -> None:
        """Let a running child save and end, then destroy the node."""
        if self._process is not None:
            self._process.close(self._patience_s)
        super().destroy_node()

    async def _execute(self, goal: ServerGoalHandle) -> Train.Result:
        request = goal.request
        result = Result(run_path=str(Path(request.run_path).expanduser().absolute()))
        mistake = _find_mistake(request)
        if self._goal is not None or mistake:
            result.error_code = Result.BAD_GOAL if mistake else Result.BUSY
            result.error_msg = mistake or f"{self._status.run} is being trained"
            self.get_logger().error(f"goal refused: {result.error_msg}")
            goal.abort()
            return result
        self._goal, self._progress = goal, {}
        self._status = TrainingStatus(run=result.run_path, remaining=-1.0)
        exit_code: Future[int] = Future()

        def on_exit(code: int) -> None:
            exit_code.set_result(code)
            self._wake.trigger()

        try:
            process = TrainingProcess(
                _arguments(request), Path(result.run_path), self._on_progress, on_exit
            )
        except OSError as error:
            self._goal = None
            result.error_code, result.error_msg = Result.BAD_GOAL, str(error)
            goal.abort()
            return result
        self._process = process
        self.get_logger().info(f"training {result.run_path}, process {process.pid}")
        code = await exit_code
        self._on_timer()
        self._goal = self._process = None
        _judge(result, -1 if code is None else code, process)
        self._last = f"{result.run_path}: {result.error_msg or 'done'}"
        self.get_logger().info(self._last)
        finish = {Result.NONE: goal.succeed, Result.CANCELED: goal.canceled}
        finish.get(result.error_code, goal.abort)()
        return result

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if goal is self._goal and self._process is not None:
            self._process.stop(self._patience_s)
        return CancelResponse.ACCEPT

    def _on_progress(self, progress: dict[str, Any]) -> None:
        """In the reading thread: keep the latest."""
        kept = {} if progress.get("event") == "stage" else self._progress
        self._progress = {**kept, **progress}

    def _on_timer(self) -> None:
        if self._goal is None or self._process is None:
            return
        self._process.enforce()
        fill_training_status(self._status, self._progress)
        self._status.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(self._status)
        self._goal.publish_feedback(Train.Feedback(status=self._status))

    def _report(self) -> Report:
        if self._process is None:
            return Report(OK, self._last, {})
        status = self._status
        values = {"stage": status.stage, "progress": status.progress, "left [s]": status.remaining}
        if self._process.stopping:
            return Report(WARN, f"saving {status.run}", values)
        return Report(OK, f"training {status.run}", values)


def _find_mistake(request: Train.Goal) -> str:
    for name in ("config_path", "dataset_path", "run_path"):
        if not getattr(request, name):
            return f"{name} is empty"
    dataset = Path(request.dataset_path).expanduser()
    if not (dataset / "manifest.json").is_file():
        return f"dataset_path {dataset}: no dataset there"
    return ""


def _arguments(request: Train.Goal) -> list[str]:
    paths = {
        "--config": request.config_path,
        "--data": request.dataset_path,
        "--run": request.run_path,
    }
    arguments = [
        word for option, path in paths.items() for word in (option, str(Path(path).expanduser()))
    ]
    if request.until_stage:
        arguments += ["--until", request.until_stage]
    return [*arguments, *request.overrides]


def _judge(result: Train.Result, code: int, process: TrainingProcess) -> None:
    """Turn the child's exit code into a result."""
    result.success = code == 0
    if code == 0:
        return
    if code in EXIT_INTERRUPTED and process.stopping:
        result.error_code, result.error_msg = Result.CANCELED, "canceled; the same goal goes on"
    elif code == EXIT_USER_MISTAKE:
        result.error_code, result.error_msg = Result.BAD_GOAL, process.log_tail()
    elif code < 0 or code in EXIT_INTERRUPTED:
        result.error_code = Result.KILLED
        result.error_msg = f"the training process was stopped from outside, exit code {code}"
    else:
        result.error_code, result.error_msg = Result.STAGE_FAILED, process.log_tail()


def main() -> int:
    """Run the node."""
    return run_node(Trainer)


if __name__ == "__main__":
    raise SystemExit(main())
