# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The table with everything on it: loading, state, lights and loose blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diwa.control.poses import euler_from_quaternion, quaternion_from_euler
from diwa.sim.bullet import Bullet
from diwa.sim.geometry import (
    BLOCK_SURFACES,
    BLOCKS,
    BULB_ON,
    BUTTON_LINK,
    DRAWER_LINK,
    LED_LINK,
    LED_ON,
    LIGHT_LINK,
    SLIDE,
    SURFACE_HEIGHT,
    SWITCH_LINK,
    WHITE,
    Block,
    Color,
)
from diwa.sim.lights import Lights

JOINT_FORCE = 4.0  # [N]: dry friction of slide, drawer and switch; spring of the button
JOINT_LINKS = (SLIDE, DRAWER_LINK, BUTTON_LINK, SWITCH_LINK)  # in the order of the scene state
SCENE_SIZE = 24
BLOCK_DISTANCE = 0.10  # [m] between centres of blocks at the start
FLOOR_COLOR: Color = (0.80, 0.82, 0.84, 1.0)


class PlayScene:
    """Table, lights and blocks in one world; its state is the 24-D scene vector."""

    def __init__(self, bullet: Bullet, urdf: Path, with_blocks: bool) -> None:
        self._bullet = bullet
        self.lights = Lights()
        self.table: int = bullet.loadURDF(str(urdf), useFixedBase=True)
        info = [bullet.getJointInfo(self.table, i) for i in range(bullet.getNumJoints(self.table))]
        links = {entry[12].decode(): entry[0] for entry in info}
        self._joints = [links[link.name] for link in JOINT_LINKS]
        self._bulb, self._led = links[LIGHT_LINK.name], links[LED_LINK.name]
        self._shown: dict[int, Color] = {}
        self._add_box((3.0, 3.0, 0.02), (0.0, 0.0, -0.02), FLOOR_COLOR)
        self._add_box((0.1, 0.1, 0.12), (-0.34, -0.46, 0.12), (0.35, 0.35, 0.38, 1.0))
        self._blocks = (
            [self._add_block(i, block) for i, block in enumerate(BLOCKS)] if with_blocks else []
        )

    def reset(self, scene: np.ndarray) -> None:
        """Teleport everything to `scene` (24,), at rest; the bulb follows the switch."""
        for joint, value in zip(self._joints, scene[:4].tolist(), strict=True):
            self._bullet.resetJointState(self.table, joint, value, 0.0)
        self._hold_joints()
        poses = scene[6:].reshape(-1, 6)
        for body, pose in zip(self._blocks, poses, strict=bool(self._blocks)):
            quaternion = quaternion_from_euler(pose[3:])
            self._bullet.resetBasePositionAndOrientation(body, pose[:3], quaternion)
            self._bullet.resetBaseVelocity(body, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        self.lights.reset(switch=scene[3], button=scene[2], led=bool(scene[5] > 0.5))
        self._show_lights()

    def update_lights(self) -> None:
        """Run the lights' logic; once per control step."""
        positions = self._joint_positions()
        if self.lights.update(switch=positions[3], button=positions[2]):
            self._show_lights()

    def state(self) -> np.ndarray:
        """The scene vector (24,) float64; zeros in place of blocks when there are none."""
        scene = np.zeros(SCENE_SIZE)
        scene[:4] = self._joint_positions()
        scene[4:6] = self.lights.bulb, self.lights.led
        if self._blocks:
            poses = [self._bullet.getBasePositionAndOrientation(body) for body in self._blocks]
            euler = euler_from_quaternion(np.array([quaternion for _, quaternion in poses]))
            blocks = scene[6:].reshape(-1, 6)  # a view
            blocks[:, :3] = [position for position, _ in poses]
            blocks[:, 3:] = euler
        return scene

    def _joint_positions(self) -> list[float]:
        return [s[0] for s in self._bullet.getJointStates(self.table, self._joints)]

    def _hold_joints(self) -> None:
        """Motors that act as dry friction, and as a spring under the button."""
        for link, joint in zip(JOINT_LINKS, self._joints, strict=True):
            if link is BUTTON_LINK:
                mode = {"controlMode": self._bullet.POSITION_CONTROL, "targetPosition": 0.0}
            else:
                mode = {"controlMode": self._bullet.VELOCITY_CONTROL, "targetVelocity": 0.0}
            self._bullet.setJointMotorControl2(self.table, joint, force=JOINT_FORCE, **mode)

    def _show_lights(self) -> None:
        wanted = {
            self._bulb: BULB_ON if self.lights.bulb else WHITE,
            self._led: LED_ON if self.lights.led else WHITE,
        }
        for link, color in wanted.items():
            if self._shown.get(link) != color:
                self._bullet.changeVisualShape(self.table, link, rgbaColor=color)
                self._shown[link] = color

    def _add_box(
        self, half: tuple[float, ...], centre: tuple[float, ...], color: Color, mass: float = 0.0
    ) -> int:
        shape = self._bullet.createCollisionShape(self._bullet.GEOM_BOX, halfExtents=half)
        look = self._bullet.createVisualShape(
            self._bullet.GEOM_BOX, halfExtents=half, rgbaColor=color
        )
        body: int = self._bullet.createMultiBody(mass, shape, look, centre)
        return body

    def _add_block(self, index: int, block: Block) -> int:
        half = tuple(edge / 2 for edge in block.size)
        body = self._add_box(half, (0.3 * index, 1.0, 0.1), block.color, mass=1.0)
        self._bullet.changeDynamics(body, -1, lateralFriction=0.7, spinningFriction=0.001)
        return body


def sample_blocks(rng: np.random.Generator) -> np.ndarray:
    """Random resting places for the three blocks, apart from each other: (18,) of a scene."""
    poses: list[np.ndarray] = []
    while len(poses) < len(BLOCKS):
        surface = int(rng.integers(len(BLOCK_SURFACES)))
        (x_low, x_high), (y_low, y_high) = BLOCK_SURFACES[surface]
        x, y = rng.uniform(x_low, x_high), rng.uniform(y_low, y_high)
        yaw = rng.uniform(-0.5, 0.5) if surface == 0 else 0.0  # little room in the compartment
        height = SURFACE_HEIGHT + BLOCKS[len(poses)].size[2] / 2
        if all(np.hypot(x - other[0], y - other[1]) > BLOCK_DISTANCE for other in poses):
            poses.append(np.array([x, y, height, 0.0, 0.0, yaw]))
    return np.concatenate(poses)
