# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: runs a served skill from seeded starts on the simulated table, and counts successes.

Success is the task's own condition on the scene, not the policy's opinion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from diwa_msgs.action import RunSkill
from diwa_msgs.msg import PolicyStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from diwa.data.contract import load_contract
from diwa.errors import ConfigError
from diwa.files import write_json
from diwa.train.statistics import wilson
from diwa_ros import qos
from diwa_ros.driving import Driver
from diwa_ros.parameters import declare
from diwa_ros.paths import find_contract
from diwa_ros.running import run_node
from diwa_ros.scene_oracle import SceneOracle
from diwa_ros.skill_client import ENDED, FATAL, NEVER, SkillClient

TRIES = 3  # for an episode that does not come to its end


class Episode(NamedTuple):
    """What came out of one start."""

    seed: int
    success: bool
    steps: int  # control steps until success, or all
    success_probability: float  # the policy's own, in its last frame


class EvaluationClient(Node):
    """Resets, runs the skill, judges; again and again."""

    def __init__(self) -> None:
        super().__init__("evaluation_client")
        name = declare(
            self,
            "contract",
            "panda_calvin_lowdim",
            "contract: a YAML file, or the name of one we ship",
        )
        self._task = declare(self, "task", "", "skill to run; empty: the served one")
        self._episodes = declare(
            self, "episodes", 20, "number of episodes", minimum=1, maximum=1_000_000
        )
        self._seed = declare(
            self, "seed", 0, "of the first start; the next count up", minimum=0, maximum=2**31 - 1
        )
        self._limit_s = declare(
            self, "time_limit_s", 12.0, "observation time per episode", minimum=0.1, maximum=3600.0
        )
        self._output = declare(self, "output", "evaluation.json", "file for the results")
        self._bridge = declare(self, "bridge", "calvin_bridge", "name of the simulation's node")
        self._policy = declare(self, "policy", "policy_server", "name of the policy server's node")
        self._contract = load_contract(find_contract(name))
        self._served = ""
        self._why = ""  # the last episode did not come to its end
        self.create_subscription(
            PolicyStatus, f"{self._policy}/status", self._on_status, qos.STATUS
        )

    def work(self, executor: SingleThreadedExecutor) -> int:
        """Run all episodes, write the results; returns the exit code."""
        driver = Driver(self, executor, self._contract, self._bridge, acts=False)
        skills = SkillClient(self, driver, self._policy)
        skills.wait()
        driver.wait_until(lambda: bool(self._served), "status of a policy server with a checkpoint")
        task = self._task or self._served
        oracle = SceneOracle(driver, task, self._contract.period_ns)
        results = []
        for index in range(self._episodes):
            results.append(self._run(driver, skills, oracle, task, self._seed + index))
            done = sum(episode.success for episode in results)
            self.get_logger().info(f"{task}: {done} of {len(results)} succeeded")
        self._write(task, results)
        return 0

    def _run(
        self, driver: Driver, skills: SkillClient, oracle: SceneOracle, task: str, seed: int
    ) -> Episode:
        """One episode; once more when its observations did not reach the server, or stopped."""
        for _ in range(TRIES):
            episode = self._run_once(driver, skills, oracle, task, seed)
            if episode is not None:
                return episode
        raise ConfigError(
            f"no episode from start {seed} came to its end: {self._why}",
            hint="are server and bridge in the same namespace and DDS domain?",
        )

    def _run_once(
        self, driver: Driver, skills: SkillClient, oracle: SceneOracle, task: str, seed: int
    ) -> Episode | None:
        oracle.begin(driver.reset(seed, task))
        goal = RunSkill.Goal(
            skill=task, time_limit=self._limit_s, success_threshold=NEVER, seed=seed
        )
        result = skills.run(goal, lambda: oracle.solved)
        if result.error_code in FATAL:
            raise ConfigError(f"the skill could not be run: {result.error_msg}")
        if result.error_code not in ENDED:
            self._why = result.error_msg
            self.get_logger().warning(f"start {seed}: {self._why}; once more")
            return None
        success = oracle.wait_for(result)
        return Episode(seed, success, oracle.steps, result.success_probability)

    def _on_status(self, status: PolicyStatus) -> None:
        self._served = status.skill

    def _write(self, task: str, results: list[Episode]) -> None:
        done = sum(episode.success for episode in results)
        rate, low, high = wilson(done, len(results))
        summary: dict[str, Any] = {
            "task": task,
            "successes": done,
            "rate": rate,
            "interval": [low, high],
            "episodes": [episode._asdict() for episode in results],
        }
        path = Path(self._output).expanduser()
        write_json(path, summary)
        self.get_logger().info(
            f"{task}: {done} of {len(results)} succeeded, {rate:.0%} "
            f"[{low:.0%}, {high:.0%}]; written to {path}"
        )


def main() -> int:
    """Run the node."""
    return run_node(EvaluationClient, EvaluationClient.work)


if __name__ == "__main__":
    raise SystemExit(main())
