# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What needs franka_msgs of a Franka's driver: run as a program, with the stand-in in its path.

Errors are set by topic `fake/errors` (names, comma-separated; the arm is in reflex then) or, from
the beginning, by an argument. What the arm is asked for is told on `fake/asked`, one line per goal.
"""

from __future__ import annotations

import sys

import rclpy
from franka_msgs.action import ErrorRecovery, Grasp, Move
from franka_msgs.msg import Errors, FrankaRobotState
from franka_msgs.srv import SetFullCollisionBehavior
from rclpy.action import ActionServer
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from diwa.control.arm import MOVE, REFLEX
from diwa_ros import qos
from diwa_ros.polling import NEWEST


class FakeFranka(Node):
    """Robot state, hand and error recovery."""

    def __init__(self, errors: str) -> None:
        super().__init__("fake_franka")
        self._state = FrankaRobotState(robot_mode=MOVE, control_command_success_rate=1.0)
        self._on_errors(String(data=errors))
        self._states = self.create_publisher(
            FrankaRobotState, "franka_robot_state_broadcaster/robot_state", NEWEST
        )
        self._asked = self.create_publisher(String, "fake/asked", qos.EVENT)
        self.create_subscription(String, "fake/errors", self._on_errors, qos.LATCHED)
        self._servers = [
            ActionServer(self, Grasp, "hand/grasp", self._on_grasp),
            ActionServer(self, Move, "hand/move", self._on_move),
            ActionServer(self, ErrorRecovery, "action_server/error_recovery", self._on_recovery),
        ]
        self.create_service(Trigger, "hand/stop", self._on_stop)
        service = "service_server/set_full_collision_behavior"
        self.create_service(SetFullCollisionBehavior, service, self._on_thresholds)
        self.create_timer(0.01, self._on_timer)

    def _on_timer(self) -> None:
        self._state.header.stamp = self.get_clock().now().to_msg()
        self._states.publish(self._state)

    def _on_errors(self, message: String) -> None:
        names = [name for name in message.data.split(",") if name]
        self._state.current_errors = Errors(**dict.fromkeys(names, True))
        self._state.robot_mode = REFLEX if names else MOVE

    def _on_grasp(self, goal):
        request = goal.request
        self._tell(f"grasp {request.width:g} {request.force:g} {request.epsilon.outer:g}")
        goal.succeed()
        return Grasp.Result(success=True)

    def _on_move(self, goal):
        self._tell(f"move {goal.request.width:g} {goal.request.speed:g}")
        goal.succeed()
        return Move.Result(success=True)

    def _on_recovery(self, goal):
        self._tell("recover")
        self._on_errors(String())
        goal.succeed()
        return ErrorRecovery.Result()

    def _on_thresholds(self, request, response):
        torques = sorted({float(it) for it in request.upper_torque_thresholds_nominal})
        forces = sorted({float(it) for it in request.upper_force_thresholds_acceleration})
        self._tell(f"thresholds {torques} {forces}")
        response.success = True
        return response

    def _on_stop(self, request, response):
        self._tell("stop")
        response.success = True
        return response

    def _tell(self, text: str) -> None:
        self._asked.publish(String(data=text))


def main() -> None:
    """Run until a signal comes."""
    rclpy.init()
    node = FakeFranka("".join(sys.argv[1:]))
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        return
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
