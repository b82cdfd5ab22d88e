# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Serve a checkpoint to the robot, or to the simulated table."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SIMULATION = ("namespace", "contract", "real_time_factor", "cameras")


def generate_launch_description() -> LaunchDescription:
    """Nodes: policy_server; calvin_bridge on request."""
    share = FindPackageShare("diwa_ros")
    return LaunchDescription(
        [
            DeclareLaunchArgument("checkpoint", description="folder of the checkpoint to serve"),
            DeclareLaunchArgument(
                "namespace", default_value="", description="namespace of the robot"
            ),
            DeclareLaunchArgument(
                "policy_params_file",
                default_value=PathJoinSubstitution(
                    [share, "config", "nodes", "policy_server.yaml"]
                ),
                description="further parameters of policy_server (YAML)",
            ),
            DeclareLaunchArgument(
                "simulate", default_value="false", description="start the simulated table"
            ),
            DeclareLaunchArgument(
                "contract",
                default_value="panda_calvin",
                description="contract of the simulation; the policy brings its own",
            ),
            DeclareLaunchArgument(
                "real_time_factor",
                default_value="1.0",
                description="of the simulation; 0.0: in step with the actions",
            ),
            DeclareLaunchArgument(
                "cameras", default_value="true", description="simulate the contract's images"
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([share, "launch", "simulate.launch.py"])
                ),
                launch_arguments=[(name, LaunchConfiguration(name)) for name in SIMULATION],
                condition=IfCondition(LaunchConfiguration("simulate")),
            ),
            LifecycleNode(
                package="diwa_ros",
                executable="policy_server",
                name="policy_server",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[
                    LaunchConfiguration("policy_params_file"),
                    {
                        "checkpoint": ParameterValue(
                            LaunchConfiguration("checkpoint"), value_type=str
                        )
                    },
                ],
            ),
        ]
    )
