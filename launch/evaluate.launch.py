# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Seeded episodes of a checkpoint on the simulated table over ROS; ends when they are done.

With `trials:=true`: blind paired trials of two checkpoints instead, see the node `trials`.
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    Shutdown,
)
from launch.conditions import IfCondition, UnlessCondition
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
    "trials": ("false", "compare the checkpoint blindly with base; episodes: starts for both"),
    "base": ("", "checkpoint to compare with"),
    "folder": ("trials", "folder of the comparison; it goes on where it stands"),
}


def generate_launch_description() -> LaunchDescription:
    """Nodes: calvin_bridge; policy_server and evaluation_client, or trials."""
    paired = LaunchConfiguration("trials")
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    checkpoint = DeclareLaunchArgument("checkpoint", description="folder of the checkpoint")
    return LaunchDescription(
        [
            checkpoint,
            *declared,
            GroupAction([_include("deploy"), _client()], condition=UnlessCondition(paired)),
            GroupAction([_include("simulate"), _trials()], condition=IfCondition(paired)),
        ]
    )


def _include(name: str) -> IncludeLaunchDescription:
    path = [FindPackageShare("diwa_ros"), "launch", f"{name}.launch.py"]
    passed = [
        (argument, LaunchConfiguration(argument))
        for argument in ("namespace", "contract", "cameras", "real_time_factor")
    ]
    if name == "deploy":
        passed += [("checkpoint", LaunchConfiguration("checkpoint")), ("simulate", "true")]
    source = PythonLaunchDescriptionSource(PathJoinSubstitution(path))
    return IncludeLaunchDescription(source, launch_arguments=passed)


def _client() -> Node:
    names = {"contract": str, "task": str, "episodes": int, "seed": int, "output": str}
    return _ending_node("evaluation_client", {name: _typed(name, names[name]) for name in names})


def _trials() -> Node:
    settings = {
        "base": _typed("base", str),
        "adapted": _typed("checkpoint", str),
        "folder": _typed("folder", str),
        "pairs": _typed("episodes", int),
        "seed": _typed("seed", int),
    }
    return _ending_node("trials", settings)


def _typed(argument: str, kind: type) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(argument), value_type=kind)


def _ending_node(name: str, settings: dict[str, ParameterValue]) -> Node:
    share = FindPackageShare("diwa_ros")
    return Node(
        package="diwa_ros",
        executable=name,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        on_exit=Shutdown(reason="the evaluation is done"),
        parameters=[PathJoinSubstitution([share, "config", "nodes", f"{name}.yaml"]), settings],
    )
