# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated play table, with nobody driving it."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """One node: calvin_bridge."""
    settings = PathJoinSubstitution([FindPackageShare("diwa_ros"), "config", "nodes"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace", default_value="", description="namespace of the robot"
            ),
            DeclareLaunchArgument(
                "contract",
                default_value="panda_calvin",
                description="contract: a YAML file, or the name of one we ship",
            ),
            DeclareLaunchArgument(
                "real_time_factor",
                default_value="1.0",
                description="speed against real time; 0.0: in step with the actions",
            ),
            DeclareLaunchArgument(
                "cameras", default_value="true", description="render the contract's images"
            ),
            DeclareLaunchArgument(
                "bridge_params_file",
                default_value=[settings, "/calvin_bridge.yaml"],
                description="further parameters of calvin_bridge (YAML)",
            ),
            Node(
                package="diwa_ros",
                executable="calvin_bridge",
                name="calvin_bridge",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[
                    LaunchConfiguration("bridge_params_file"),
                    {
                        "contract": ParameterValue(LaunchConfiguration("contract"), value_type=str),
                        "cameras": ParameterValue(LaunchConfiguration("cameras"), value_type=bool),
                        "real_time_factor": ParameterValue(
                            LaunchConfiguration("real_time_factor"), value_type=float
                        ),
                    },
                ],
            ),
        ]
    )
