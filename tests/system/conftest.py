# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A graph of its own for every test, with a hard limit on its time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diwa.train.agents import assemble_agent
from diwa.train.pipeline import learning_stages
from diwa.train.run import Run, run_stages
from learning_fixtures import pushing_dataset, tiny_experiment
from system.graph import Graph

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(240))


@pytest.fixture
def graph(tmp_path, ros_domain, monkeypatch):
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros"))
    graph = Graph(tmp_path, ros_domain)
    yield graph
    graph.close()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny agent for open_drawer, trained for a moment on a made-up world."""
    run = Run(tmp_path_factory.mktemp("run"))
    dataset = pushing_dataset(tmp_path_factory.mktemp("pushing"))
    device = torch.device("cpu")
    run_stages(run, learning_stages(run, dataset, tiny_experiment(), device), until="classifier")
    stages = ("world_model", "policy", "classifier")
    folders = {name: run.stage_dir(name) / "model" for name in stages}
    path = tmp_path_factory.mktemp("agent") / "checkpoint"
    assemble_agent(folders, folders["policy"], device).save(path)
    return path
