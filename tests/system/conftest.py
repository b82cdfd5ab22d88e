# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A graph of its own for every test, with a hard limit on its time."""

from __future__ import annotations

from pathlib import Path

import pytest

from system.graph import Graph

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120))


@pytest.fixture
def graph(tmp_path, ros_domain, monkeypatch):
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros"))
    graph = Graph(tmp_path, ros_domain)
    yield graph
    graph.close()
