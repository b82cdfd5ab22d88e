# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The Panda of the play table: model made at run time, inverse kinematics, motors.

The model is pybullet_data's Panda (Apache-2.0) with three changes, written to a temporary folder
and read from there: collision meshes are also what is seen (eleven times faster to draw), the
fingers are longer (CALVIN's reach: 0.1548 m from the hand), and two frames are added, `tcp` and
`gripper_cam`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pybullet_data

from diwa.control.poses import angle_between, make_pose
from diwa.errors import ConfigError
from diwa.sim.bullet import Bullet

BASE_POSITION = (-0.34, -0.46, 0.24)  # [m]
NEUTRAL_JOINTS = (-1.21779, 1.03988, 2.11978, -2.34205, -0.87016, 1.64119, 0.55345)  # [rad]
MAX_FINGER = 0.04  # [m], each
TCP_OFFSET = 0.14  # [m], from the hand along its z axis
CAMERA_MOUNT = ((-0.1, 0.0, 0.0), (1.3, 0.0, -1.57))  # xyz [m], rpy [rad] in the hand's frame
ARM_JOINTS = tuple(range(7))
FINGER_JOINTS = (9, 10)
ARM_FORCE, ARM_MAX_VELOCITY = 200.0, 2.0  # [N m], [rad/s]
OPEN_FORCE, CLOSE_FORCE, FINGER_MAX_VELOCITY = 2.0, 200.0, 1.0  # [N], [N], [m/s]

# Boxes of one finger in its own frame (opening axis y): size, centre [m].
FINGER_BOXES = (
    ((0.021, 0.020, 0.046), (0.0, 0.0125, 0.023)),
    ((0.018, 0.007, 0.0534), (0.0, 0.0035, 0.0697)),
)


def write_arm_urdf(folder: Path) -> Path:
    """Write the changed Panda into `folder`; meshes are referred to where they are."""
    source = Path(pybullet_data.getDataPath()) / "franka_panda"
    tree = ElementTree.parse(source / "panda.urdf")
    robot = tree.getroot()
    for mesh in robot.iter("mesh"):
        name = mesh.attrib["filename"].removeprefix("package://")
        mesh.attrib["filename"] = str(source / name.replace("meshes/visual/", "meshes/collision/"))
    for side, sign in (("panda_leftfinger", 1.0), ("panda_rightfinger", -1.0)):
        finger = robot.find(f"link[@name='{side}']")
        assert finger is not None, side
        _replace_finger_shapes(finger, sign)
    for name in ("panda_grasptarget_hand", "panda_grasptarget"):
        for element in robot.findall(f"*[@name='{name}']"):
            robot.remove(element)
    _add_frame(robot, "tcp", (0.0, 0.0, TCP_OFFSET), (0.0, 0.0, 0.0))
    _add_frame(robot, "gripper_cam", *CAMERA_MOUNT)
    ElementTree.indent(tree)  # PyBullet's reader breaks on very long lines
    path = folder / "panda.urdf"
    tree.write(path, encoding="unicode")
    return path


def _replace_finger_shapes(finger: ElementTree.Element, sign: float) -> None:
    for tag in ("visual", "collision"):
        for element in finger.findall(tag):
            finger.remove(element)
        for size, (x, y, z) in FINGER_BOXES:
            element = ElementTree.SubElement(finger, tag)
            ElementTree.SubElement(element, "origin", xyz=f"{x} {sign * y} {z}", rpy="0 0 0")
            geometry = ElementTree.SubElement(element, "geometry")
            ElementTree.SubElement(geometry, "box", size=" ".join(map(str, size)))
            material = ElementTree.SubElement(element, "material", name="finger_grey")
            ElementTree.SubElement(material, "color", rgba="0.3 0.3 0.32 1")


def _add_frame(
    robot: ElementTree.Element, name: str, xyz: tuple[float, ...], rpy: tuple[float, ...]
) -> None:
    """A massless link fixed to the hand."""
    link = ElementTree.SubElement(robot, "link", name=name)
    inertial = ElementTree.SubElement(link, "inertial")
    ElementTree.SubElement(inertial, "mass", value="0")
    ElementTree.SubElement(
        inertial, "inertia", ixx="0", ixy="0", ixz="0", iyy="0", iyz="0", izz="0"
    )
    joint = ElementTree.SubElement(robot, "joint", name=f"{name}_joint", type="fixed")
    ElementTree.SubElement(joint, "parent", link="panda_hand")
    ElementTree.SubElement(joint, "child", link=name)
    xyz_text, rpy_text = (" ".join(map(str, values)) for values in (xyz, rpy))
    ElementTree.SubElement(joint, "origin", xyz=xyz_text, rpy=rpy_text)


class Arm:
    """A Panda whose TCP follows a desired pose, with a gripper that is open or closed."""

    def __init__(self, bullet: Bullet, urdf: Path) -> None:
        self._bullet = bullet
        self.body: int = bullet.loadURDF(str(urdf), BASE_POSITION, useFixedBase=True)
        info = [bullet.getJointInfo(self.body, i) for i in range(bullet.getNumJoints(self.body))]
        links = {entry[12].decode(): entry[0] for entry in info}
        self._tcp: int = links["tcp"]
        self.camera_link: int = links["gripper_cam"]
        self.lower = np.array([info[i][8] for i in ARM_JOINTS])  # (7,) float64 [rad]
        self.upper = np.array([info[i][9] for i in ARM_JOINTS])
        gear = bullet.createConstraint(
            *(self.body, FINGER_JOINTS[0], self.body, FINGER_JOINTS[1]),
            bullet.JOINT_GEAR, (0, 1, 0), (0, 0, 0), (0, 0, 0),
        )  # fmt: skip
        bullet.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=50)
        self._null_space = {
            "lowerLimits": [-7.0] * 7 + [0.0] * 2,
            "upperLimits": [7.0] * 7 + [MAX_FINGER] * 2,
            "jointRanges": [7.0] * 9,
            "restPoses": [*NEUTRAL_JOINTS, MAX_FINGER, MAX_FINGER],
        }

    def teleport(self, joints: np.ndarray, width: float, gripper_open: bool) -> None:
        """Put the arm at rest at `joints` (7,) [rad] and gripper `width` [m], motors to match."""
        finger = min(max(width / 2, 0.0), MAX_FINGER)
        joints = np.clip(joints, self.lower, self.upper)
        for index, angle in zip(ARM_JOINTS, joints, strict=True):
            self._bullet.resetJointState(self.body, index, angle, 0.0)
        for index in FINGER_JOINTS:
            self._bullet.resetJointState(self.body, index, finger, 0.0)
        self._drive(joints, gripper_open)

    def command(self, target: np.ndarray, gripper_open: bool) -> None:
        """Set the motors for a desired TCP pose (7,)."""
        self._drive(self._inverse(target), gripper_open)

    def solve(self, pose: np.ndarray, tolerance: float = 2e-3) -> np.ndarray:
        """Joints (7,) that put the TCP at `pose` (7,); moves the arm there, from neutral.

        The pull towards the rest posture leaves an error of about a millimetre, so `tolerance`
        [m, rad] says when to stop looking, and five times as much is still accepted.

        Raises:
            ConfigError: the pose is out of reach.
        """
        self.teleport(np.array(NEUTRAL_JOINTS), 0.0, gripper_open=False)
        for _ in range(30):
            joints = self._inverse(pose)
            self.teleport(joints, 0.0, gripper_open=False)
            if self._distance(pose) < tolerance:
                break
        if self._distance(pose) > 5 * tolerance:
            raise ConfigError("start pose of the arm", got=pose, expected="a pose within reach")
        return joints

    def tcp_pose(self) -> np.ndarray:
        """Measured TCP pose (7,) float64 in the world."""
        return self._link_pose(self._tcp)

    def camera_pose(self) -> np.ndarray:
        """Pose (7,) float64 of the gripper camera's mount in the world."""
        return self._link_pose(self.camera_link)

    def joint_positions(self) -> np.ndarray:
        """(9,) float64: seven arm joints [rad], two fingers [m]."""
        states = self._bullet.getJointStates(self.body, ARM_JOINTS + FINGER_JOINTS)
        return np.array([state[0] for state in states])

    def _distance(self, pose: np.ndarray) -> float:
        here = self.tcp_pose()
        offset = np.abs(here[:3] - pose[:3]).max()
        return max(float(offset), float(angle_between(here[3:], pose[3:])))

    def _link_pose(self, link: int) -> np.ndarray:
        state = self._bullet.getLinkState(self.body, link, computeForwardKinematics=True)
        return make_pose(state[4], state[5])

    def _inverse(self, pose: np.ndarray) -> np.ndarray:
        solution = self._bullet.calculateInverseKinematics(
            self.body, self._tcp, pose[:3].tolist(), pose[3:].tolist(), **self._null_space
        )
        return np.clip(solution[:7], self.lower, self.upper)

    def _drive(self, joints: np.ndarray, gripper_open: bool) -> None:
        control = self._bullet.setJointMotorControl2
        mode = self._bullet.POSITION_CONTROL
        for index, angle in zip(ARM_JOINTS, joints.tolist(), strict=True):
            control(
                self.body, index, mode, targetPosition=angle,
                force=ARM_FORCE, maxVelocity=ARM_MAX_VELOCITY,
            )  # fmt: skip
        for index in FINGER_JOINTS:
            control(
                self.body, index, mode,
                targetPosition=MAX_FINGER if gripper_open else 0.0,
                force=OPEN_FORCE if gripper_open else CLOSE_FORCE,
                maxVelocity=FINGER_MAX_VELOCITY,
            )  # fmt: skip
