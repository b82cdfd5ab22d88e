# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Ways to an arm; see `base`."""

from __future__ import annotations

import importlib

from diwa.errors import ConfigError
from diwa_ros.backends.base import Backend, Setup

BACKENDS = ("pose_target", "joint_target", "libfranka")


def make_backend(name: str, setup: Setup) -> Backend:
    """The backend called `name`; its module is imported only now."""
    if name not in BACKENDS:
        raise ConfigError(f"backend {name!r}", expected=" or ".join(BACKENDS))
    backend: Backend = importlib.import_module(f"diwa_ros.backends.{name}").make(setup)
    return backend
