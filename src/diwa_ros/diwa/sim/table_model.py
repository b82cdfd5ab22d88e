# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""URDF text of the table, made from the measures in `geometry`."""

from __future__ import annotations

from pathlib import Path

from diwa.sim.geometry import BASE, LINKS, PEDESTAL, SLOPE_SECTION, Link, Part

FRICTION = 0.5


def write_table_urdf(folder: Path) -> Path:
    """Write the table's URDF and the prism mesh that it needs into `folder`."""
    (folder / "prism.obj").write_text(_prism_mesh(), encoding="ascii")
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
        shape = [
            f'<origin xyz="{x:.6f} {y:.6f} {z:.6f}" rpy="{part.roll:.9f} 0 0"/>',
            f"<geometry>{_shape(part)}</geometry>",
        ]
        red, green, blue, alpha = part.color
        material = (
            f'<material name="{name}_{index}">',
            f'<color rgba="{red} {green} {blue} {alpha}"/></material>',
        )
        lines += ["<visual>", *shape, *material, "</visual>"]
        lines += ["<collision>", *shape, "</collision>"]
    return [*lines, "</link>"]


def _shape(part: Part) -> str:
    a, b, c = part.size
    if part.shape == "box":
        return f'<box size="{a:.6f} {b:.6f} {c:.6f}"/>'
    if part.shape == "cylinder":
        return f'<cylinder radius="{a:.6f}" length="{c:.6f}"/>'
    if part.shape == "sphere":
        return f'<sphere radius="{a:.6f}"/>'
    return f'<mesh filename="prism.obj" scale="{a:.6f} {b:.6f} {c:.6f}"/>'


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


def _prism_mesh() -> str:
    """The slope's cross section, one metre wide along x and centred, as Wavefront OBJ."""
    vertices = [(x, y, z) for x in (-0.5, 0.5) for y, z in SLOPE_SECTION]
    faces = [(4, 3, 2, 1), (5, 6, 7, 8)]  # the two ends, seen from outside
    faces += [(i + 1, (i + 1) % 4 + 1, (i + 1) % 4 + 5, i + 5) for i in range(4)]
    triangles = [(a, b, c) for a, b, c, _ in faces] + [(a, c, d) for a, _, c, d in faces]
    lines = [f"v {x} {y} {z}" for x, y, z in vertices]
    return "\n".join([*lines, *(f"f {a} {b} {c}" for a, b, c in triangles)]) + "\n"
