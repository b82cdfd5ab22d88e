# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Scene D of CALVIN in numbers: a table with slider, drawer, button, switch and two lights.

Our own model from boxes, cylinders, a sphere and a prism; only measures are CALVIN's, so that
state, actions and tasks mean the same. World axes, metres: x along the table (robot at -x, -y),
y away from the front edge, z up. The slope panel is tilted 30 degrees from vertical: a joint
frame that lies in it is rolled by 60 degrees, its y axis points up the slope, its z axis outward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Vector = tuple[float, float, float]
Color = tuple[float, float, float, float]

WOOD: Color = (0.72, 0.55, 0.38, 1.0)
PANEL: Color = (0.60, 0.44, 0.30, 1.0)
DOOR: Color = (0.45, 0.60, 0.66, 1.0)
DRAWER: Color = (0.50, 0.40, 0.62, 1.0)
METAL: Color = (0.25, 0.25, 0.28, 1.0)
BUTTON: Color = (0.25, 0.30, 0.75, 1.0)
SWITCH: Color = (0.85, 0.50, 0.15, 1.0)
WHITE: Color = (1.0, 1.0, 1.0, 1.0)
BULB_ON: Color = (1.0, 1.0, 0.0, 1.0)
LED_ON: Color = (0.0, 1.0, 0.0, 1.0)

TILT = math.radians(60.0)
UP_SLOPE = (0.0, 0.5, math.sqrt(0.75))  # u: up along the slope panel
OUT_OF_SLOPE = (0.0, -math.sqrt(0.75), 0.5)  # n: its outward normal

SLIDE_RANGE, DRAWER_RANGE, BUTTON_RANGE, SWITCH_RANGE = 0.28, 0.22, 0.02, 0.088  # [m]
BUTTON_PRESSED = 0.01  # [m] above: pressed
SWITCH_ON = 0.044  # [m] above: on
SLIDE_HANDLE = (0.04, 0.0144, 0.5703)  # centre of the handle bars with the joints at zero
DRAWER_HANDLE = (0.18, -0.25, 0.36)
SWITCH_HANDLE = (0.30, 0.0181, 0.5288)
BUTTON_CENTRE = (-0.12, -0.12)


@dataclass(frozen=True)
class Part:
    """One primitive of a link, in the link's frame.

    Attributes:
        shape: box (size: edge lengths), cylinder along z (radius, radius, height), sphere
            (radius three times) or prism (the slope's cross section, size: width along x).
    """

    shape: Literal["box", "cylinder", "sphere", "prism"]
    size: Vector
    centre: Vector
    color: Color
    roll: float = 0.0  # [rad]


@dataclass(frozen=True)
class Link:
    """A part of the table that moves on a prismatic joint, or is fixed (no travel)."""

    name: str
    joint: str
    origin: Vector
    parts: tuple[Part, ...]
    mass: float  # [kg]
    axis: Vector = (0.0, 0.0, 1.0)
    travel: float = 0.0  # [m]
    roll: float = 0.0  # [rad]


def box(low: Vector, high: Vector, color: Color) -> Part:
    """A box between two corners."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    centre = ((x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2)
    return Part("box", (x1 - x0, y1 - y0, z1 - z0), centre, color)


def _legs() -> tuple[Part, ...]:
    return tuple(
        box((x, y, 0.0), (x + 0.04, y + 0.032, 0.40), METAL)
        for x in (-0.44, 0.40)
        for y in (-0.18, 0.148)
    )


BASE: tuple[Part, ...] = (
    box((-0.44, -0.18, 0.40), (0.44, 0.18, 0.44), WOOD),
    *_legs(),
    box((-0.02, -0.155, 0.31), (0.38, 0.06, 0.32), METAL),  # drawer housing: floor, sides, back
    box((-0.02, -0.155, 0.32), (-0.01, 0.06, 0.40), METAL),
    box((0.37, -0.155, 0.32), (0.38, 0.06, 0.40), METAL),
    box((-0.02, 0.061, 0.31), (0.38, 0.07, 0.40), METAL),
    Part("prism", (0.28, 1.0, 1.0), (0.30, 0.0, 0.0), PANEL),  # behind the switch
    Part("prism", (0.08, 1.0, 1.0), (-0.40, 0.0, 0.0), PANEL),
    box((-0.36, 0.16, 0.44), (0.16, 0.18, 0.648), PANEL),  # back wall
    box((-0.36, 0.14, 0.632), (0.16, 0.18, 0.648), PANEL),  # shelf
)

# Corners (y, z) of the prism: the slope from the table top to the shelf, then straight down.
SLOPE_SECTION = ((0.02, 0.44), (0.18, 0.44), (0.18, 0.648), (0.14, 0.648))

PLANK = Link(
    "plank_link", "base__plank", (0.0, 0.0, 0.0),
    (box((-0.36, 0.02, 0.42), (0.16, 0.16, 0.4405), DOOR),), mass=0.5,
)  # fmt: skip
SLIDE = Link(
    "slide_link", "base__slide", (-0.10, 0.075, 0.5353),
    (
        box((0.0, -0.11, 0.0), (0.28, 0.11, 0.02), DOOR),
        box((0.12, -0.08, 0.06), (0.16, 0.08, 0.08), METAL),
        box((0.12, -0.08, 0.02), (0.16, -0.06, 0.06), METAL),
        box((0.12, 0.06, 0.02), (0.16, 0.08, 0.06), METAL),
    ),
    mass=1.54, axis=(-1.0, 0.0, 0.0), travel=SLIDE_RANGE, roll=TILT,
)  # fmt: skip
DRAWER_LINK = Link(
    "drawer_link", "base__drawer", (0.18, 0.0, 0.32),
    (
        box((-0.22, -0.18, -0.02), (0.22, -0.16, 0.08), DRAWER),
        box((-0.12, -0.26, 0.02), (0.12, -0.24, 0.06), METAL),
        box((-0.12, -0.24, 0.02), (-0.095, -0.18, 0.06), METAL),
        box((0.095, -0.24, 0.02), (0.12, -0.18, 0.06), METAL),
        box((-0.18, -0.16, 0.0), (0.18, 0.06, 0.02), DRAWER),
        box((-0.18, -0.16, 0.02), (-0.165, 0.06, 0.08), DRAWER),
        box((0.165, -0.16, 0.02), (0.18, 0.06, 0.08), DRAWER),
        box((-0.165, 0.045, 0.02), (0.165, 0.06, 0.08), DRAWER),
    ),
    mass=4.23, axis=(0.0, -1.0, 0.0), travel=DRAWER_RANGE,
)  # fmt: skip
SWITCH_LINK = Link(
    "switch_link", "base__switch", (0.30, 0.0609, 0.4949),
    (
        box((-0.06, -0.008, 0.044), (0.06, 0.024, 0.064), SWITCH),
        box((-0.06, -0.008, 0.0), (-0.045, 0.024, 0.044), METAL),
        box((0.045, -0.008, 0.0), (0.06, 0.024, 0.044), METAL),
    ),
    mass=0.24, axis=(0.0, 1.0, 0.0), travel=SWITCH_RANGE, roll=TILT,
)  # fmt: skip
BUTTON_LINK = Link(
    "button_link", "base__button", (*BUTTON_CENTRE, 0.472),
    (Part("cylinder", (0.032, 0.032, 0.024), (0.0, 0.0, 0.0), BUTTON),),
    mass=0.15, axis=(0.0, 0.0, -1.0), travel=BUTTON_RANGE,
)  # fmt: skip
PEDESTAL = Part("cylinder", (0.04, 0.04, 0.02), (*BUTTON_CENTRE, 0.45), METAL)
LED_LINK = Link(
    "led_link", "base__led", (-0.12, 0.16, 0.656),
    (box((-0.08, -0.02, -0.008), (0.08, 0.02, 0.008), WHITE),), mass=0.1,
)  # fmt: skip
LIGHT_LINK = Link(
    "light_link", "base__light", (0.30, 0.16, 0.672),
    (Part("sphere", (0.028, 0.028, 0.028), (0.0, 0.0, 0.0), WHITE),), mass=0.1,
)  # fmt: skip
LINKS = (BUTTON_LINK, SWITCH_LINK, SLIDE, DRAWER_LINK, LED_LINK, LIGHT_LINK, PLANK)


@dataclass(frozen=True)
class Block:
    """A loose block: full edge lengths [m] and colour."""

    name: str
    size: Vector
    color: Color


BLOCKS = (  # in the order of scene_obs
    Block("block_red", (0.056, 0.04, 0.04), (0.90, 0.15, 0.15, 1.0)),
    Block("block_blue", (0.04, 0.04, 0.04), (0.15, 0.30, 0.90, 1.0)),
    Block("block_pink", (0.08, 0.04, 0.04), (0.95, 0.50, 0.75, 1.0)),
)
# Where loose blocks start: x and y range of the centre; all rest on z = 0.44.
BLOCK_SURFACES = (
    ((0.0, 0.35), (-0.15, -0.03)),  # table
    ((-0.31, -0.16), (0.085, 0.12)),  # compartment, left
    ((-0.05, 0.11), (0.085, 0.12)),  # compartment, right
)
SURFACE_HEIGHT = 0.4405  # [m]
