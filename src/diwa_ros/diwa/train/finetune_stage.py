# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `finetune`: PPO over denoising steps, in the dream only (DiWA section 3.4).

The simulator must not be loaded here, let alone used; the stage refuses to run otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diwa.data.dataset import Dataset
from diwa.train.experiment import ExperimentConfig
from diwa.train.improve import improve
from diwa.train.judging import Dreams
from diwa.train.meter import finite_or_none
from diwa.train.models import load_policy, save_policy
from diwa.train.run import StageContext

SIMULATOR_MODULES = ("pybullet", "diwa.sim.play_table")


def require_no_simulator() -> None:
    """Raise when a simulator is loaded: fine-tuning is strictly offline."""
    loaded = [name for name in SIMULATOR_MODULES if name in sys.modules]
    if loaded:
        raise RuntimeError(f"fine-tuning is offline, but {', '.join(loaded)} is loaded")


def finetune(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    folders: Mapping[str, Path],
) -> dict[str, Any]:
    """Fine-tune the policy in dreams; keeps the last weights and, by held-out dreams, the best."""
    require_no_simulator()
    policy, meta = load_policy(folders["policy"], device)
    dreams = Dreams(dataset, config, device, folders)
    base = dreams.score(policy)
    keeper = improve(
        context,
        "fine-tuning in the dream",
        policy,
        dreams.train,
        dreams.score,
        config.ppo,
        base=base,
        seed=config.seed + 40,
        enough=config.ppo.enough,
    )
    require_no_simulator()
    latest = {**meta, "finetuned_iterations": keeper.last}
    save_policy(context.directory / "last", policy, latest)
    keeper.restore()
    facts = {**meta, "finetuned_iterations": keeper.iteration}
    save_policy(context.directory / "model", policy, facts)
    adapted = dreams.score(policy) if keeper.iteration else base
    return {
        "dream_base": base.dream,
        "dream_adapted": adapted.dream,
        "judged_base": base.decisive,
        "judged_adapted": adapted.decisive,
        "exploitation_gap_base": finite_or_none(base.gap),
        "exploitation_gap_adapted": finite_or_none(adapted.gap),
        "best_iteration": keeper.iteration,
        "rollbacks": keeper.rollbacks,
        "simulator_steps": 0,
        **dreams.facts,
    }
