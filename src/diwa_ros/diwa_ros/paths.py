# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Where contracts and node settings are: in a source checkout or in an installed package."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from diwa.errors import ConfigError

SOURCE_ROOT = Path(__file__).resolve().parents[3]


def config_directory() -> Path:
    """Folder `config` of the checkout this runs from, or of the installed package."""
    candidates = [SOURCE_ROOT / "config", Path(sys.prefix) / "share" / "diwa_ros" / "config"]
    # There is an index only where ROS is installed or set up; pip alone sets no variables.
    with contextlib.suppress(PackageNotFoundError, OSError):
        candidates.append(Path(get_package_share_directory("diwa_ros")) / "config")
    for candidate in candidates:
        if (candidate / "contracts").is_dir():
            return candidate
    raise ConfigError(
        "no config folder with contracts",
        got=", ".join(str(candidate) for candidate in candidates),
        hint="install the package again, or give full paths",
    )


def find_contract(name: str) -> Path:
    """Path of a contract, from a path or the name of one that comes with the package."""
    return find_packaged("contract", "contracts", name)


def find_packaged(what: str, folder_name: str, name: str) -> Path:
    """Path of a YAML file, from a path or the name of one in a folder of the package's config.

    Args:
        what: it is, for the error.
        folder_name: where those are that come with the package.
        name: a path, or a name without suffix.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    folder = config_directory() / folder_name
    packaged = folder / f"{name}.yaml"
    if not packaged.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ConfigError(f"{what} {name!r}", expected=f"a YAML file, or one of: {known}")
    return packaged
