# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer, waiting for Train goals."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """One node: trainer."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace", default_value="", description="namespace of the trainer"
            ),
            DeclareLaunchArgument(
                "trainer_params_file",
                default_value=PathJoinSubstitution(
                    [FindPackageShare("diwa_ros"), "config", "nodes", "trainer.yaml"]
                ),
                description="parameters of trainer (YAML)",
            ),
            Node(
                package="diwa_ros",
                executable="trainer",
                name="trainer",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[LaunchConfiguration("trainer_params_file")],
            ),
        ]
    )
