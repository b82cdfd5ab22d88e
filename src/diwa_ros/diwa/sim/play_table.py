# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The play table as a Gymnasium environment: a Panda, relative actions, CALVIN's state vectors.

One step is 1/30 s: the desired pose takes one relative action (:func:`integrate_action`), inverse
kinematics and eight physics steps of 1/240 s follow.

An episode is bitwise the same whatever was simulated before it, because every reset loads the
world anew (14 ms). Restoring a saved state and setting all joints and motors takes 1 ms, but keeps
traces of earlier contacts in the collision detection: 1 of 480 rough episodes came out different.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pydantic import Field, PositiveInt

from diwa.config import Config
from diwa.control.poses import euler_from_quaternion, integrate_action
from diwa.data.contract import ActionSpec
from diwa.errors import ConfigError
from diwa.sim.arm import NEUTRAL_JOINTS, Arm, write_arm_urdf
from diwa.sim.bullet import Bullet
from diwa.sim.cameras import Size, render_gripper, render_static
from diwa.sim.scene import SCENE_SIZE, PlayScene, sample_blocks
from diwa.sim.starts import sample_start
from diwa.sim.table_model import write_table_urdf
from diwa.sim.tasks import find_task, task_succeeded

CONTROL_HZ = 30
SUBSTEPS = 8
GRAVITY = -9.8  # [m/s2]
ROBOT_SIZE = 15
STATE_BOUND = 10.0  # no metre or radian of the state goes beyond
ImageSize = tuple[PositiveInt, PositiveInt]  # (height, width) [px]


class PlayTableConfig(Config):
    """What to simulate."""

    cameras: bool = False  # images in the observation
    static_size: ImageSize = (200, 200)
    gripper_size: ImageSize = (84, 84)
    blocks: bool = True  # three loose blocks; without them their part of the scene is zero
    max_episode_steps: PositiveInt | None = None  # truncate after so many control steps
    action: ActionSpec = Field(default_factory=ActionSpec)


class PlayTableEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """See the module. Actions are (7,) float32 in [-1, 1], the gripper open at or above 0."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012 - as Gymnasium wants it
    render_mode = "rgb_array"

    def __init__(self, config: PlayTableConfig | None = None) -> None:
        self.config = config or PlayTableConfig()
        self._bullet = Bullet()
        folder = Path(tempfile.mkdtemp(prefix="diwa_models_"))
        self._remove_models = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._models = write_arm_urdf(folder), write_table_urdf(folder)
        self._load_world()
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float32)
        self.observation_space: spaces.Dict = _observation_space(self.config)
        self._target: np.ndarray = self._arm.tcp_pose()
        self._total_steps = 0
        self._begin_episode("", gripper_action=1.0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the draws below; None goes on with the present generator.
            options: `task`: name of a skill, for a random start and for reward and termination;
                `robot_obs` (15,): joints, gripper width and last gripper action are used;
                `scene_obs` (24,). What is not given is neutral, with blocks drawn at random.

        Raises:
            ConfigError: an unknown option or task, or an array that cannot be a state.
        """
        super().reset(seed=seed)
        given = _check_options(options or {})
        task: str = given.get("task", "")
        scene, joints, width, gripper_action = self._draw_start(task)
        if "scene_obs" in given:
            scene = given["scene_obs"]
        if "robot_obs" in given:
            robot = given["robot_obs"]
            joints, width, gripper_action = robot[7:14], robot[6], robot[14]
        self._load_world()
        self._arm.teleport(joints, float(width), gripper_open=bool(gripper_action >= 0))
        self._scene.reset(scene)
        self._begin_episode(task, 1.0 if gripper_action >= 0 else -1.0)
        return self._observe(), self._info()

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Apply one action (7,), clipped to [-1, 1], for 1/30 s."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise ConfigError("action", got=action, expected="7 finite numbers")
        action = np.clip(action, -1.0, 1.0)
        gripper_open = bool(action[6] >= self.config.action.gripper_threshold)
        self._gripper_action = 1.0 if gripper_open else -1.0
        self._target = integrate_action(self._target, action, self.config.action)
        self._arm.command(self._target, gripper_open)
        for _ in range(SUBSTEPS):
            self._bullet.stepSimulation()
        self._scene.update_lights()
        self._total_steps += 1
        self._episode_steps += 1
        achieved = self._check_success()
        limit = self.config.max_episode_steps
        truncated = limit is not None and self._episode_steps >= limit
        return self._observe(), float(achieved), self._success, truncated, self._info()

    def render(self, camera: str = "static", size: Size | None = None) -> np.ndarray:
        """The view of `camera` (static or gripper): (H, W, 3) uint8."""
        if camera == "static":
            return render_static(self._bullet, size or self.config.static_size)
        if camera == "gripper":
            mount = self._arm.camera_pose()
            return render_gripper(self._bullet, size or self.config.gripper_size, mount)
        raise ConfigError("camera", got=camera, expected="static or gripper")

    def close(self) -> None:
        """Free the simulated world and its files."""
        self._bullet.close()
        self._remove_models()

    @property
    def tcp_pose(self) -> np.ndarray:
        """Measured TCP pose (7,) float64: xyz [m], quaternion xyzw, in the world."""
        return self._arm.tcp_pose()

    @property
    def target_pose(self) -> np.ndarray:
        """Desired TCP pose (7,) float64 that actions are added to."""
        return self._target.copy()

    @property
    def joint_positions(self) -> np.ndarray:
        """(9,) float64: seven arm joints [rad], two fingers [m]."""
        return self._arm.joint_positions()

    @property
    def step_count(self) -> int:
        """Control steps since the environment was made; never goes back at a reset."""
        return self._total_steps

    @property
    def episode_steps(self) -> int:
        """Control steps since the last reset."""
        return self._episode_steps

    def _draw_start(self, task: str) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Scene (24,), joints (7,), gripper width [m] and gripper action."""
        if task:
            start = sample_start(task, self.np_random, with_blocks=self.config.blocks)
            width, action = (0.08, 1.0) if start.gripper_open else (0.0, -1.0)
            return start.scene, self._arm.solve(start.tcp_pose), width, action
        scene = np.zeros(SCENE_SIZE)
        if self.config.blocks:
            scene[6:] = sample_blocks(self.np_random)
        return scene, np.array(NEUTRAL_JOINTS), 0.08, 1.0

    def _load_world(self) -> None:
        """Begin with an empty world and load everything into it."""
        self._bullet.resetSimulation()
        self._bullet.setGravity(0.0, 0.0, GRAVITY)
        self._bullet.setTimeStep(1.0 / (CONTROL_HZ * SUBSTEPS))
        self._bullet.setPhysicsEngineParameter(deterministicOverlappingPairs=1)
        arm_model, table_model = self._models
        self._arm = Arm(self._bullet, arm_model)
        self._scene = PlayScene(self._bullet, table_model, self.config.blocks)

    def _begin_episode(self, task: str, gripper_action: float) -> None:
        self._task = task
        self._target = self._arm.tcp_pose()
        self._gripper_action = gripper_action
        self._episode_steps: int = 0
        self._success: bool = False
        self._start_scene: np.ndarray = self._scene.state()

    def _check_success(self) -> bool:
        """True at the first step at which the task is done."""
        if not self._task or self._success:
            return False
        self._success = bool(task_succeeded(self._task, self._start_scene, self._scene.state()))
        return self._success

    def _observe(self) -> dict[str, np.ndarray]:
        tcp, joints = self._arm.tcp_pose(), self._arm.joint_positions()
        robot = np.empty(ROBOT_SIZE, np.float32)
        robot[:3] = tcp[:3]
        robot[3:6] = euler_from_quaternion(tcp[3:])
        robot[6] = joints[7:].sum()
        robot[7:14] = joints[:7]
        robot[14] = self._gripper_action
        observation = {
            "robot_obs": robot,
            "scene_obs": self._scene.state().astype(np.float32),
        }
        if self.config.cameras:
            observation["rgb_static"] = self.render("static")
            observation["rgb_gripper"] = self.render("gripper")
        return observation

    def _info(self) -> dict[str, Any]:
        return {
            "task": self._task,
            "success": self._success,
            "start_scene": self._start_scene.astype(np.float32),
        }


def _observation_space(config: PlayTableConfig) -> spaces.Dict:
    parts: dict[str, spaces.Space[Any]] = {
        "robot_obs": spaces.Box(-STATE_BOUND, STATE_BOUND, (ROBOT_SIZE,), np.float32),
        "scene_obs": spaces.Box(-STATE_BOUND, STATE_BOUND, (SCENE_SIZE,), np.float32),
    }
    if config.cameras:
        parts["rgb_static"] = spaces.Box(0, 255, (*config.static_size, 3), np.uint8)
        parts["rgb_gripper"] = spaces.Box(0, 255, (*config.gripper_size, 3), np.uint8)
    return spaces.Dict(parts)


def _check_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options with arrays as float64; anything unknown or unusable is a `ConfigError`."""
    checked: dict[str, Any] = {}
    for key, value in options.items():
        if key == "task":
            if value:
                find_task(value)
                checked[key] = value
            continue
        size = {"robot_obs": ROBOT_SIZE, "scene_obs": SCENE_SIZE}.get(key)
        if size is None:
            raise ConfigError("reset option", got=key, expected="task, robot_obs, scene_obs")
        array = np.asarray(value, dtype=np.float64)
        if array.shape != (size,) or not np.isfinite(array).all():
            raise ConfigError(f"reset option {key}", got=array, expected=f"{size} finite numbers")
        checked[key] = array
    return checked
