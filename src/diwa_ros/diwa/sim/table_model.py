# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""URDF text of the table, made from the measures in `geometry`.

Two shapes come as meshes: the prism, which URDF does not have, and what is seen of a cylinder,
which TinyRenderer would draw almost as a ball.
"""

from __future__ import annotations

import math
from pathlib import Path

from diwa.sim.geometry import BASE, LINKS, PEDESTAL, SLOPE_SECTION, Link, Part

FRICTION = 0.5
CYLINDER_SIDES = 20


def write_table_urdf(folder: Path) -> Path:
    """Write the table's URDF and the meshes that it needs into `folder`."""
    prism = _extruded_mesh([(x, y, z) for x in (-0.5, 0.5) for y, z in SLOPE_SECTION])
    (folder / "prism.obj").write_text(prism, encoding="ascii")
    turns = [2 * math.pi * k / CYLINDER_SIDES for k in range(CYLINDER_SIDES)]
    circle = [(math.cos(turn), math.sin(turn)) for turn in turns]
    cylinder = _extruded_mesh([(x, y, z) for z in (-0.5, 0.5) for x, y in circle])
    (folder / "cylinder.obj").write_text(cylinder, encoding="ascii")
    lines = ['<robot name="play_table">', *_link("base_link", (*BASE, PEDESTAL), 0.0)]
    for link in LINKS:
        lines += _link(link.name, link.parts, link.mass) + _joint(link)
    path = folder / "play_table.urdf"
    path.write_text("\n".join([*lines, "</robot>"]), encoding="ascii")
    return path


def _link(name: str, parts: tuple[Part, ...], mass: float) -> list[str]:
    lines = [
        f'<link name="{name}">',
        f'<contact><lateral_friction value="{FRICTION}"/></contact>',
        f'<inertial><mass value="{mass}"/>',
        '<inertia ixx="0.01" ixy="0" ixz="0" iyy="0.01" iyz="0" izz="0.01"/></inertial>',
    ]
    for index, part in enumerate(parts):
        x, y, z = part.centre
        origin = f'<origin xyz="{x:.6f} {y:.6f} {z:.6f}" rpy="{part.roll:.9f} 0 0"/>'
        seen = f"<geometry>{_seen_shape(part)}</geometry>"
        touched = f"<geometry>{_shape(part)}</geometry>"
        red, green, blue, alpha = part.color
        material = (
            f'<material name="{name}_{index}">',
            f'<color rgba="{red} {green} {blue} {alpha}"/></material>',
        )
        lines += ["<visual>", origin, seen, *material, "</visual>"]
        lines += ["<collision>", origin, touched, "</collision>"]
    return [*lines, "</link>"]


def _shape(part: Part) -> str:
    a, b, c = part.size
    if part.shape == "box":
        return f'<box size="{a:.6f} {b:.6f} {c:.6f}"/>'
    if part.shape == "cylinder":
        return f'<cylinder radius="{a:.6f}" length="{c:.6f}"/>'
    if part.shape == "sphere":
        return f'<sphere radius="{a:.6f}"/>'
    return _mesh("prism.obj", part)


def _seen_shape(part: Part) -> str:
    return _mesh("cylinder.obj", part) if part.shape == "cylinder" else _shape(part)


def _mesh(name: str, part: Part) -> str:
    scale = " ".join(f"{value:.6f}" for value in part.size)
    return f'<mesh filename="{name}" scale="{scale}"/>'


def _joint(link: Link) -> list[str]:
    x, y, z = link.origin
    kind = "prismatic" if link.travel else "fixed"
    lines = [
        f'<joint name="{link.joint}" type="{kind}">',
        f'<parent link="base_link"/><child link="{link.name}"/>',
        f'<origin xyz="{x:.6f} {y:.6f} {z:.6f}" rpy="{link.roll:.9f} 0 0"/>',
    ]
    if link.travel:
        axis = " ".join(f"{value:g}" for value in link.axis)
        limit = f'lower="0" upper="{link.travel}" effort="100" velocity="10"'
        lines += [f'<axis xyz="{axis}"/>', f"<limit {limit}/>"]
    return [*lines, "</joint>"]


def _extruded_mesh(vertices: list[tuple[float, float, float]]) -> str:
    """Wavefront OBJ of a body between two equal polygons, given one after the other.

    Seen against the direction of extrusion, the polygons go round counterclockwise.
    """
    n = len(vertices) // 2
    around = [(k + 1, (k + 1) % n + 1) for k in range(n)]
    triangles = [(1, b, a) for a, b in around[1:-1]]
    triangles += [(n + 1, n + a, n + b) for a, b in around[1:-1]]
    triangles += [(a, b, n + b) for a, b in around] + [(a, n + b, n + a) for a, b in around]
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    return "\n".join([*lines, *(f"f {a} {b} {c}" for a, b, c in triangles)]) + "\n"
