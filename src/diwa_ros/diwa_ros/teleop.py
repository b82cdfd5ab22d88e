# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: drives the arm, by scripts or from a keyboard, and marks episodes for the recorder."""

from __future__ import annotations

import sys
import time

import numpy as np
from diwa_msgs.srv import EndEpisode
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from diwa.data.contract import load_contract
from diwa.errors import ConfigError
from diwa.sim.play import PlayGenerator
from diwa.sim.skills import ScriptedSkill, SkillStyle
from diwa.sim.tasks import SKILLS, find_task, task_succeeded
from diwa_ros import keyboard
from diwa_ros.driving import Driver
from diwa_ros.observing import Observed
from diwa_ros.parameters import declare
from diwa_ros.paths import find_contract
from diwa_ros.running import run_node

UNKNOWN, SUCCESS, FAILURE = (
    EndEpisode.Request.UNKNOWN,
    EndEpisode.Request.SUCCESS,
    EndEpisode.Request.FAILURE,
)
ATTEMPTS_PER_DEMO = 3


class Teleop(Node):
    """One of three modes: play, demos, keyboard."""

    def __init__(self) -> None:
        super().__init__("teleop")
        name = declare(
            self, "contract", "panda_calvin", "contract: a YAML file, or the name of one we ship"
        )
        self._mode = declare(
            self,
            "mode",
            "play",
            "play: scripted play without an aim; demos: scripted demonstrations of one skill; "
            "keyboard: a person at a terminal",
            choices=("play", "demos", "keyboard"),
        )
        self._task = declare(
            self, "task", "", "skill to demonstrate; in keyboard mode may be empty"
        )
        self._declare_script()
        self._seed = declare(
            self,
            "seed",
            0,
            "of scenes and scripts; episodes count up",
            minimum=0,
            maximum=2**31 - 1,
        )
        self._speed = declare(
            self, "speed", 0.5, "of keyboard motions, 1 is the largest", minimum=0.01, maximum=1.0
        )
        self._bridge = declare(self, "bridge", "calvin_bridge", "name of the simulation's node")
        recorder = declare(self, "recorder", "play_recorder", "name of the recorder's node")
        record = declare(self, "record", True, "start and end the recorder's episodes")
        self._recorder = recorder if record else ""
        self._contract = load_contract(find_contract(name))
        for skill in self._skills:
            find_task(skill)
        if self._mode == "demos" or self._task:
            find_task(self._task)

    def _declare_script(self) -> None:
        self._episodes = declare(
            self, "episodes", 1, "episodes to record, for scripts", minimum=1, maximum=1_000_000
        )
        self._first = declare(
            self,
            "first_episode",
            0,
            "number of the first play episode, to go on with a recording that was cut",
            minimum=0,
            maximum=1_000_000,
        )
        self._steps = declare(
            self,
            "steps_per_episode",
            1800,
            "control steps of a play episode; most that a demonstration may take",
            minimum=1,
            maximum=10_000_000,
        )
        self._linger = declare(
            self,
            "linger_steps",
            8,
            "control steps that a demonstration goes on after it has succeeded",
            minimum=0,
            maximum=1000,
        )
        self._noise = declare(
            self,
            "noise",
            -1.0,
            "standard deviation on scripted actions of demonstrations; negative: varied",
            minimum=-1.0,
            maximum=1.0,
        )
        skills = declare(
            self,
            "skills",
            "",
            "skills that scripted play is made of, separated by commas; empty: all",
        )
        self._skills = tuple(skills.replace(" ", "").split(",")) if skills else SKILLS
        self._clumsy = declare(
            self,
            "clumsy",
            0.25,
            "share of the skills in scripted play that are tried centimetres off",
            minimum=0.0,
            maximum=1.0,
        )
        self._keep_failures = declare(
            self, "keep_failures", False, "keep failed demonstrations too; they do not count"
        )

    def work(self, executor: SingleThreadedExecutor) -> int:
        """Do what `mode` says; returns the exit code."""
        driver = Driver(self, executor, self._contract, self._bridge, self._recorder)
        if self._mode == "keyboard":
            self._drive_by_keyboard(driver)
        elif self._mode == "play":
            for index in range(self._first, self._first + self._episodes):
                self._play(driver, index)
        else:
            self._demonstrate(driver)
        return 0

    def _play(self, driver: Driver, index: int) -> None:
        """One episode of play."""
        rng = np.random.default_rng([self._seed, index])
        player = PlayGenerator(rng, self._skills, clumsy=self._clumsy, action=self._contract.action)
        seen = driver.reset(self._seed + index, "")
        driver.start_episode("", f"scripted play, seed {self._seed + index}", seen)
        started = time.monotonic()
        for _ in range(self._steps):
            seen = driver.step(player.act(seen.robot_obs, seen.scene_obs), seen)
        rate = self._steps / (time.monotonic() - started)
        driver.end_episode(seen, UNKNOWN, "complete")
        self.get_logger().info(f"play {index + 1}: {self._steps} steps, {rate:.0f} steps/s")

    def _demonstrate(self, driver: Driver) -> None:
        """Demonstrations until enough have succeeded."""
        done = 0
        for attempt in range(self._episodes * ATTEMPTS_PER_DEMO):
            done += self._demonstrate_once(driver, attempt)
            if done == self._episodes:
                self.get_logger().info(f"{done} demonstrations of {self._task}")
                return
        raise ConfigError(
            f"{done} of {self._episodes} demonstrations of {self._task} succeeded",
            hint="less noise, or more steps_per_episode",
        )

    def _demonstrate_once(self, driver: Driver, attempt: int) -> bool:
        rng = np.random.default_rng([self._seed, attempt])
        style = SkillStyle.sample(rng, noise=self._noise if self._noise >= 0 else None)
        script = ScriptedSkill(self._task, style, rng, self._contract.action)
        first = seen = driver.reset(self._seed + attempt, self._task)
        driver.start_episode(self._task, f"scripted, seed {self._seed + attempt}", seen)
        succeeded, steps_after = False, 0
        for _ in range(self._steps):
            seen = driver.step(script.act(seen.robot_obs, seen.scene_obs), seen)
            succeeded = succeeded or self._succeeded(first, seen)
            steps_after += succeeded
            if steps_after > self._linger or (script.finished and not succeeded):
                break
        succeeded = self._succeeded(first, seen)
        driver.end_episode(
            seen,
            SUCCESS if succeeded else FAILURE,
            "succeeded" if succeeded else "the script ended without success",
            discard=not (succeeded or self._keep_failures),
        )
        return succeeded

    def _succeeded(self, first: Observed, seen: Observed) -> bool:
        return bool(task_succeeded(self._task, first.scene_obs, seen.scene_obs))

    def _drive_by_keyboard(self, driver: Driver) -> None:
        """One action per observation while keys are held, at the control rate at most."""
        keys = keyboard.Keys(self._speed)
        sent_at, sent_for = 0.0, -1
        with keyboard.Terminal() as terminal:
            sys.stdout.write(keyboard.HELP + "\n")
            sys.stdout.flush()
            while True:
                driver.spin_once()
                now = time.monotonic()
                for key in terminal.read():
                    if key == keyboard.QUIT:
                        return
                    if not keys.press(key, now):
                        self._mark_episode(driver, key)
                seen, action = driver.latest, keys.action(now)
                due = now - sent_at >= self._contract.period_ns / 1e9
                if seen is not None and action is not None and due and seen.stamp_ns != sent_for:
                    driver.send(action, seen)
                    sent_at, sent_for = now, seen.stamp_ns

    def _mark_episode(self, driver: Driver, key: str) -> None:
        """Start, end or discard an episode, or reset the scene; a refusal is only logged."""
        ends = {
            keyboard.SUCCESS: (SUCCESS, False),
            keyboard.FAILURE: (FAILURE, False),
            keyboard.DISCARD: (UNKNOWN, True),
        }
        try:
            if key == keyboard.RESET:
                driver.reset(-1, self._task)
            elif key == keyboard.START:
                driver.start_episode(self._task, "keyboard", driver.observe())
            elif key in ends:
                outcome, discard = ends[key]
                driver.end_episode(driver.observe(), outcome, "by hand", discard=discard)
        except ConfigError as error:
            self.get_logger().error(str(error))


def main() -> int:
    """Run the node."""
    return run_node(Teleop, Teleop.work)


if __name__ == "__main__":
    raise SystemExit(main())
