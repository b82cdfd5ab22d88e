# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Strict YAML into frozen models: an unknown key, a duplicate key or a wrong type is an error."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from diwa.errors import ConfigError


class Config(pydantic.BaseModel):
    """Base of every configuration model: frozen, and unknown keys are refused."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


ConfigType = TypeVar("ConfigType", bound=Config)


class _StrictLoader(yaml.SafeLoader):
    """YAML without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key!r}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> Any:
    """Parse one YAML document; problems are `ConfigError`s that name file and line."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="check the path") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder", expected="a YAML file") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not valid YAML", got=error, hint="mend that line") from error


def load_config(model: type[ConfigType], path: Path, overrides: Sequence[str] = ()) -> ConfigType:
    """Read `path` as `model`, after applying `a.b=value` overrides (values are YAML).

    Raises:
        ConfigError: unreadable file, unknown key, wrong type or value.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: wrong content", got=type(raw).__name__, expected="a mapping")
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(model, raw, str(path))


def parse_config(model: type[ConfigType], raw: Any, source: str) -> ConfigType:
    """Validate plain data as `model`; `source` is named in errors."""
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        lines = []
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"]) or "(top level)"
            lines.append(f"{where}: {item['msg']} (found {item['input']!r})")
        raise ConfigError(
            f"{source}: cannot be used as {model.__name__}",
            got="; ".join(lines),
            hint="correct these keys (numbers like 3e-4 must be written 3.0e-4 in YAML)",
        ) from error


def parse_overrides(model: type[ConfigType], overrides: Sequence[str], source: str) -> ConfigType:
    """`model` with its defaults, after applying `a.b=value` overrides (values are YAML)."""
    raw: dict[str, Any] = {}
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(model, raw, source)


def _apply_override(raw: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise ConfigError(f"override {override!r}", expected="key.subkey=value")
    *parents, last = name.split(".")
    target = raw
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise ConfigError(f"override {override!r}", got=f"{parent} is not a mapping")
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}", got=error, expected="a YAML value") from error


def config_hash(value: Config | Any) -> str:
    """Short, stable hash of a configuration or of plain JSON data."""
    plain = value.model_dump(mode="json") if isinstance(value, Config) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
