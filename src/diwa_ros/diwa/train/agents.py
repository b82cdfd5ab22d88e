# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Putting trained parts together as what is served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from diwa.agent import Agent
from diwa.train.models import load_classifier, load_policy, load_world_model


def assemble_agent(folders: Mapping[str, Path], policy_dir: Path, device: torch.device) -> Agent:
    """An agent from the folders of a run's stages, with the policy in `policy_dir`."""
    world_model, world_meta = load_world_model(folders["world_model"], device)
    classifier, classifier_meta = load_classifier(folders["classifier"], device)
    policy, policy_meta = load_policy(policy_dir, device)
    meta = {**world_meta, **classifier_meta, **policy_meta}
    return Agent(world_model, policy, classifier, meta)
