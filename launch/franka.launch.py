# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A Franka arm, with nobody driving it. Its own driver and controllers are started elsewhere."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def _text(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=str)


def generate_launch_description() -> LaunchDescription:
    """One node: franka_bridge."""
    settings = PathJoinSubstitution([FindPackageShare("diwa_ros"), "config", "nodes"])
    robot_type = LaunchConfiguration("robot_type")
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace", default_value="", description="namespace of the robot"
            ),
            DeclareLaunchArgument(
                "robot_type",
                default_value="fr3",
                description="limits of the arm: fr3, panda, or a YAML file",
            ),
            DeclareLaunchArgument(
                "robot_contract",
                default_value=[robot_type, "_franka"],
                description="contract of the arm: a YAML file, or the name of one we ship",
            ),
            DeclareLaunchArgument(
                "backend",
                default_value="pose_target",
                description="what moves the arm: pose_target, joint_target or libfranka",
            ),
            DeclareLaunchArgument(
                "preset",
                default_value="",
                description="settings of the backend: a YAML file, or one we ship; empty: usual",
            ),
            DeclareLaunchArgument(
                "robot_ip", default_value="", description="of the control box; for libfranka"
            ),
            DeclareLaunchArgument(
                "start_poses",
                default_value="",
                description="where episodes start: a dataset's folder or a YAML file",
            ),
            DeclareLaunchArgument(
                "franka_params_file",
                default_value=[settings, "/franka_bridge.yaml"],
                description="further parameters of franka_bridge (YAML)",
            ),
            LifecycleNode(
                package="diwa_ros",
                executable="franka_bridge",
                name="franka_bridge",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[
                    LaunchConfiguration("franka_params_file"),
                    {
                        "contract": _text("robot_contract"),
                        "robot": _text("robot_type"),
                        "backend": _text("backend"),
                        "preset": _text("preset"),
                        "robot_ip": _text("robot_ip"),
                        "start_poses": _text("start_poses"),
                    },
                ],
            ),
        ]
    )
