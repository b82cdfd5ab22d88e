# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Serve a checkpoint to a Franka arm, or to the simulated table."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SIMULATION = ("namespace", "contract", "real_time_factor", "cameras")
FRANKA = ("namespace", "robot_type", "backend", "preset", "robot_ip", "start_poses")


def generate_launch_description() -> LaunchDescription:
    """Nodes: policy_server; calvin_bridge or franka_bridge on request."""
    share = FindPackageShare("diwa_ros")
    robot, simulate = LaunchConfiguration("robot"), LaunchConfiguration("simulate")
    simulation = PythonExpression(
        ["'", robot, "' == 'simulation' or '", simulate, "'.lower() in ('true', '1')"]
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("checkpoint", description="folder of the checkpoint to serve"),
            DeclareLaunchArgument(
                "skill",
                default_value="",
                description="skill that the checkpoint must be for; empty: any",
            ),
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
                "robot",
                default_value="",
                description="what to start besides: simulation, franka, or nothing (empty)",
            ),
            DeclareLaunchArgument(
                "simulate", default_value="false", description="the same as robot:=simulation"
            ),
            DeclareLaunchArgument(
                "robot_type", default_value="fr3", description="of robot:=franka: fr3 or panda"
            ),
            DeclareLaunchArgument(
                "backend",
                default_value="pose_target",
                description="of robot:=franka: pose_target, joint_target or libfranka",
            ),
            DeclareLaunchArgument(
                "preset",
                default_value="",
                description="of robot:=franka: settings of the backend; empty: its usual ones",
            ),
            DeclareLaunchArgument(
                "robot_ip", default_value="", description="of the control box; for libfranka"
            ),
            DeclareLaunchArgument(
                "start_poses",
                default_value="",
                description="of robot:=franka: a dataset's folder or a YAML file",
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
                condition=IfCondition(simulation),
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([share, "launch", "franka.launch.py"])
                ),
                launch_arguments=[(name, LaunchConfiguration(name)) for name in FRANKA],
                condition=IfCondition(PythonExpression(["'", robot, "' == 'franka'"])),
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
                        ),
                        "skill": ParameterValue(LaunchConfiguration("skill"), value_type=str),
                    },
                ],
            ),
        ]
    )
