# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Python objects inside `.npy` files, read as plain data: nothing in the file is ever called.

NumPy saves dictionaries and lists as a program for a small stack machine, which may ask for any
function to be called. The interpreter here knows only the instructions that build plain values;
calls stay descriptions, and of these only NumPy's arrays, types and numbers are understood.
"""

from __future__ import annotations

import pickletools  # disassembles; it has no way to execute
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diwa.errors import ConfigError

_CONSTANTS = {
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_SILENT = {"PROTO", "FRAME"}
_MARK = object()


@dataclass(eq=False, slots=True)
class _Name:
    """A function or class that the file names."""

    text: str


@dataclass(eq=False, slots=True)
class _Call:
    """A call that the file asks for, and the state that it wants to give to the result."""

    name: str
    arguments: tuple
    state: Any = None


class _Unknown(Exception):
    """Something that plain data does not need."""


def read_object(path: Path) -> Any:
    """The object in a `.npy` file that `numpy.save` made of a dictionary or a list.

    Returns:
        dictionaries, lists, tuples, text, numbers and arrays.

    Raises:
        ConfigError: unreadable, or it holds more than data.
    """
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            reader = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                reader = np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(stream)
            if not dtype.hasobject:
                raise _Unknown(f"an array of {dtype}")
            value = _plain(_interpret(stream.read()))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="check the path") from error
    except (OSError, ValueError, IndexError, KeyError, TypeError, _Unknown) as error:
        raise ConfigError(
            f"{path}: cannot be read as plain data",
            got=error,
            expected="dictionaries, lists, text, numbers and arrays, saved by NumPy",
            hint="get the file again from where it was published",
        ) from error
    return value[0] if shape == () and isinstance(value, list) else value


def _interpret(program: bytes) -> Any:
    """Run the instructions that build data; the value that is left at the end."""
    stack: list[Any] = []
    memory: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(program):
        name = opcode.name
        if name in _CONSTANTS:
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}.get(name, argument))
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name in _PUTS:
            memory[len(memory) if argument is None else int(argument)] = stack[-1]
        elif name in _GETS:
            stack.append(memory[int(str(argument))])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "STOP":
            return stack.pop()
        elif name not in _SILENT:
            _combine(name, argument, stack)
    raise _Unknown("a broken-off file")


def _combine(name: str, argument: Any, stack: list[Any]) -> None:
    """Instructions that take something off the stack."""
    if name == "APPEND":
        value = stack.pop()
        stack[-1].append(value)
    elif name == "APPENDS":
        items = _since_mark(stack)
        stack[-1].extend(items)
    elif name == "SETITEM":
        key, value = stack.pop(-2), stack.pop()
        stack[-1][key] = value
    elif name == "SETITEMS":
        items = _since_mark(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name == "TUPLE":
        items = _since_mark(stack)
        stack.append(tuple(items))
    elif name == "GLOBAL":
        stack.append(_Name(str(argument)))
    elif name == "STACK_GLOBAL":
        module, member = stack.pop(-2), stack.pop()
        stack.append(_Name(f"{module} {member}"))
    elif name == "REDUCE":
        function, arguments = stack.pop(-2), stack.pop()
        stack.append(_Call(function.text, tuple(arguments)))
    elif name == "BUILD" and isinstance(stack[-2], _Call):
        state = stack.pop()
        stack[-1].state = state
    else:
        raise _Unknown(f"instruction {name}")


def _since_mark(stack: list[Any]) -> list[Any]:
    where = len(stack) - 1 - stack[::-1].index(_MARK)
    items = stack[where + 1 :]
    del stack[where:]
    return items


def _plain(value: Any) -> Any:
    """Descriptions of NumPy's calls replaced by what they would have made."""
    if isinstance(value, _Call):
        return _made_by(value)
    if isinstance(value, _Name):
        raise _Unknown(value.text)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value


def _made_by(call: _Call) -> Any:
    module, _, function = call.name.partition(" ")
    if (module, function) == ("numpy", "dtype"):
        order = call.state[1] if call.state else "|"
        return np.dtype(("" if order == "|" else str(order)) + str(call.arguments[0]))
    if (module, function) == ("_codecs", "encode"):  # bytes in files of older Pythons
        return str(call.arguments[0]).encode("latin-1")
    if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        if function == "scalar":
            dtype, data = map(_plain, call.arguments)
            return np.frombuffer(data, dtype)[0].item()
        if function == "_reconstruct" and call.state is not None:
            _, shape, kind, fortran, data = call.state
            if isinstance(data, list):
                return [_plain(item) for item in data]
            array = np.frombuffer(_plain(data), _plain(kind))
            return array.reshape(shape, order="F" if fortran else "C")
    raise _Unknown(f"a call of {call.name}")
