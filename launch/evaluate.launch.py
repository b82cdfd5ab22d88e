# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Seeded episodes of a checkpoint on the simulated table over ROS; ends when they are done."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "namespace": ("", "namespace of the robot"),
    "contract": ("panda_calvin_lowdim", "contract of the simulation: that of the checkpoint"),
    "cameras": ("true", "render the contract's images"),
    "real_time_factor": ("0.0", "of the simulation; 0.0: in step with the actions"),
    "task": ("", "skill to evaluate; empty: the checkpoint's"),
    "episodes": ("20", "number of episodes"),
    "seed": ("0", "of the first episode; the next ones count up"),
    "output": ("evaluation.json", "file for the results"),
}


def generate_launch_description() -> LaunchDescription:
    """Nodes: calvin_bridge, policy_server, evaluation_client."""
    share = FindPackageShare("diwa_ros")
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    deploy = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "deploy.launch.py"])),
        launch_arguments=[
            ("checkpoint", LaunchConfiguration("checkpoint")),
            ("simulate", "true"),
            *((name, value[name]) for name in ("namespace", "contract", "cameras")),
            ("real_time_factor", value["real_time_factor"]),
        ],
    )
    client = Node(
        package="diwa_ros",
        executable="evaluation_client",
        name="evaluation_client",
        namespace=value["namespace"],
        output="screen",
        on_exit=Shutdown(reason="the evaluation is done"),
        parameters=[
            PathJoinSubstitution([share, "config", "nodes", "evaluation_client.yaml"]),
            {
                "contract": ParameterValue(value["contract"], value_type=str),
                "task": ParameterValue(value["task"], value_type=str),
                "episodes": ParameterValue(value["episodes"], value_type=int),
                "seed": ParameterValue(value["seed"], value_type=int),
                "output": ParameterValue(value["output"], value_type=str),
            },
        ],
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    checkpoint = DeclareLaunchArgument("checkpoint", description="folder of the checkpoint")
    return LaunchDescription([checkpoint, *declared, deploy, client])
