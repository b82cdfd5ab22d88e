# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: drives the arm, by scripts or by hand, and marks episodes for the recorder."""

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
from diwa_ros.hand_driving import Hand, HandDriving
from diwa_ros.joy_hand import JoyHand, parse_axes
from diwa_ros.observing import SCENE, Observed
from diwa_ros.parameters import declare
from diwa_ros.paths import find_contract
from diwa_ros.running import run_node

UNKNOWN, SUCCESS, FAILURE = (
    EndEpisode.Request.UNKNOWN,
    EndEpisode.Request.SUCCESS,
    EndEpisode.Request.FAILURE,
)
ATTEMPTS_PER_DEMO = 3
BY_HAND = ("keyboard", "joystick")


class Teleop(Node):
    """One of four modes: play, demos, keyboard, joystick."""

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
            "keyboard: a person at a terminal; joystick: a person with a joystick",
            choices=("play", "demos", *BY_HAND),
        )
        self._task = declare(self, "task", "", "skill to demonstrate; by hand it may be empty")
        self._declare_script()
        self._declare_joystick()
        self._seed = declare(
            self,
            "seed",
            0,
            "of scenes and scripts; episodes count up",
            minimum=0,
            maximum=2**31 - 1,
        )
        self._speed = declare(
            self, "speed", 0.5, "of motions by hand, 1 is the largest", minimum=0.01, maximum=1.0
        )
        self._bridge = declare(self, "bridge", "", "name of the bridge's node; empty: by contract")
        recorder = declare(self, "recorder", "play_recorder", "name of the recorder's node")
        record = declare(self, "record", True, "start and end the recorder's episodes")
        self._recorder = recorder if record else ""
        self._contract = load_contract(find_contract(name))
        for skill in self._skills:
            find_task(skill)
        if self._mode == "demos" or self._task:
            find_task(self._task)

    def _declare_joystick(self) -> None:
        self._joy_topic = declare(self, "joy_topic", "joy", "topic of the joystick")
        axes = declare(
            self, "joy_axes", "1,0,4,-1,-1,3", "axes for x, y, z, roll, pitch, yaw; -1: none"
        )
        self._joy_axes = parse_axes(axes)
        held = "button that is held while the arm may move; -1: none, it always may"
        grip = "button that opens and closes the gripper; -1: none"
        home = "button that resets the scene, or sends a real arm home; -1: none"
        go_on = "button that lets a real arm go on after a stop; -1: none"
        self._joy_buttons = {
            "enable": declare(self, "joy_enable_button", 4, held, minimum=-1, maximum=1000),
            "gripper": declare(self, "joy_gripper_button", 0, grip, minimum=-1, maximum=1000),
            "home": declare(self, "joy_home_button", -1, home, minimum=-1, maximum=1000),
            "recover": declare(self, "joy_recover_button", -1, go_on, minimum=-1, maximum=1000),
        }

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
        by_hand = self._mode in BY_HAND
        kinds = {stream.kind for stream in self._contract.observations.values()}
        bridge = self._bridge or ("calvin_bridge" if SCENE in kinds else "franka_bridge")
        driver = Driver(self, executor, self._contract, bridge, self._recorder, scene=not by_hand)
        if self._mode == "keyboard":
            self._drive_by_keyboard(driver)
        elif self._mode == "joystick":
            self._drive_by_joystick(driver)
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
        with keyboard.Terminal() as terminal:
            sys.stdout.write(keyboard.HELP + "\n")
            sys.stdout.flush()
            self._drive_by_hand(driver, keyboard.KeyHand(terminal, self._speed))

    def _drive_by_joystick(self, driver: Driver) -> None:
        hand = JoyHand(
            self, self._joy_topic, self._joy_axes, self._joy_buttons, self._speed, time.monotonic
        )
        self._drive_by_hand(driver, hand)

    def _drive_by_hand(self, driver: Driver, hand: Hand) -> None:
        period_s = self._contract.period_ns / 1e9
        driving = HandDriving(driver, hand, period_s, self._task, self._mode)
        while driving.step():
            pass


def main() -> int:
    """Run the node."""
    return run_node(Teleop, Teleop.work)


if __name__ == "__main__":
    raise SystemExit(main())
