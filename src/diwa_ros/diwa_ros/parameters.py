# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Declaring node parameters: every one has a description, and a range or choices where it can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from diwa.errors import ConfigError

Value = TypeVar("Value", bool, int, float, str)


def declare(
    node: Node,
    name: str,
    default: Value,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
) -> Value:
    """Declare a parameter, which is fixed for the node's life, and return its value.

    Args:
        node: where to declare it.
        name: with a unit suffix where the unit is not obvious (`_hz`, `_s`).
        default: also fixes the type.
        description: shown by `ros2 param describe`.
        minimum: smallest value of a number (a range needs `maximum` too).
        maximum: largest value of a number.
        choices: the allowed strings.

    Raises:
        ConfigError: the value given on start has another type or lies outside the range.
    """
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if minimum is not None and maximum is not None:
        if isinstance(default, float):
            bounds = FloatingPointRange(from_value=float(minimum), to_value=float(maximum))
            descriptor.floating_point_range = [bounds]
        else:
            bounds = IntegerRange(from_value=int(minimum), to_value=int(maximum), step=1)
            descriptor.integer_range = [bounds]
    if choices:
        descriptor.additional_constraints = "one of: " + ", ".join(choices)
    try:
        value: Any = node.declare_parameter(name, default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ConfigError(
            f"parameter {name} of node {node.get_name()}",
            got=error,
            expected=_expected(default, minimum, maximum),
            hint="numbers with a fraction are written with a point, as in 1.0",
        ) from error
    if choices and value not in choices:
        raise ConfigError(
            f"parameter {name} of node {node.get_name()}", got=value, expected=" or ".join(choices)
        )
    return cast(Value, value)


def _expected(default: object, minimum: float | None, maximum: float | None) -> str:
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    text = kind[type(default)]
    return text if minimum is None else f"{text} from {minimum} to {maximum}"
