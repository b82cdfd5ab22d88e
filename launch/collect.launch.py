# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Record play or demonstrations, on the simulated table or on a robot that runs already."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "namespace": ("", "namespace of the robot"),
    "contract": ("panda_calvin", "contract: a YAML file, or the name of one we ship"),
    "simulate": ("true", "start the simulated table"),
    "real_time_factor": ("0.0", "of the simulation; 0.0: in step with the actions"),
    "cameras": ("true", "render the contract's images"),
    "folder": ("bags", "folder for the bags"),
    "dataset": ("", "dataset to build of the bags afterwards; empty: none"),
    "recorder_params_file": (
        PathJoinSubstitution(
            [FindPackageShare("diwa_ros"), "config", "nodes", "play_recorder.yaml"]
        ),
        "further parameters of play_recorder (YAML), such as joystick buttons",
    ),
    "scripted": (
        LaunchConfiguration("simulate"),
        "start the scripted teleop; it drives the recorder and ends the launch; "
        "as simulate says, so that no script moves a real arm unasked",
    ),
    "mode": ("play", "what the scripted teleop does: play or demos"),
    "task": ("", "skill to demonstrate, for demos"),
    "episodes": ("1", "number of episodes"),
    "seed": ("0", "of the scripted teleop"),
}


def generate_launch_description() -> LaunchDescription:
    """Nodes: play_recorder; calvin_bridge and teleop on request."""
    share = FindPackageShare("diwa_ros")
    settings = PathJoinSubstitution([share, "config", "nodes"])
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    simulation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([share, "launch", "simulate.launch.py"])
        ),
        launch_arguments=[
            (name, value[name]) for name in ("namespace", "contract", "real_time_factor", "cameras")
        ],
        condition=IfCondition(value["simulate"]),
    )
    recorder = LifecycleNode(
        package="diwa_ros",
        executable="play_recorder",
        name="play_recorder",
        namespace=value["namespace"],
        output="screen",
        parameters=[
            value["recorder_params_file"],
            {
                "contract": ParameterValue(value["contract"], value_type=str),
                "folder": ParameterValue(value["folder"], value_type=str),
                "dataset": ParameterValue(value["dataset"], value_type=str),
            },
        ],
    )
    teleop = Node(
        package="diwa_ros",
        executable="teleop",
        name="teleop",
        namespace=value["namespace"],
        output="screen",
        condition=IfCondition(value["scripted"]),
        on_exit=Shutdown(reason="the scripted episodes are done"),
        parameters=[
            [settings, "/teleop.yaml"],
            {
                "contract": ParameterValue(value["contract"], value_type=str),
                "mode": ParameterValue(value["mode"], value_type=str),
                "task": ParameterValue(value["task"], value_type=str),
                "episodes": ParameterValue(value["episodes"], value_type=int),
                "seed": ParameterValue(value["seed"], value_type=int),
                "record": True,
            },
        ],
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, simulation, recorder, teleop])
