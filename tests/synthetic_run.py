# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A run folder with made-up figures, in the shape that the stages write. For drawing only."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from diwa.files import write_json
from diwa.train.run import Run, Stage, StageContext, run_stages
from diwa.train.strips import film_strip
from diwa.train.summary import SkillSummary, make_summary, write_summary

CONFIG = {
    "name": "made-up",
    "task": "open_drawer",
    "seed": 42,
    "ppo": {"iterations": 60, "bc_scale": 0.05},
    "note": "<b>not bold</b>",
}


def outcomes(successes: int, episodes: int, seed: int) -> list[bool]:
    """That many successes, in random places."""
    order = np.random.default_rng(seed).permutation(episodes)
    return [bool(place < successes) for place in order]


def _world_model(context: StageContext) -> dict[str, float]:
    rng = np.random.default_rng(1)
    for step in range(0, 6000, 20):
        loss = 30 * math.exp(-step / 700) + 1.5 + 0.3 * rng.normal()
        context.metrics.log(
            step,
            loss=loss,
            kl_dyn=4 - 2 * math.exp(-step / 900),
            kl_rep=3.5 - 2 * math.exp(-step / 900),
            recon_proprio=0.6 * loss,
            recon_scene_state=0.3 * loss,
            grad_norm=abs(5 * rng.normal()),
        )
        if step % 500 == 480:
            context.metrics.log(step, held_out=loss + 0.8)
    return {"steps": 6000, "held_out": 2.3}


def _policy(context: StageContext) -> dict[str, float]:
    for step in range(0, 3000, 50):
        context.metrics.log(step, loss=0.9 * math.exp(-step / 400) + 0.05)
    return {"demos": 6}


def _classifier(context: StageContext) -> dict[str, float]:
    for step in range(0, 1500, 50):
        context.metrics.log(step, loss=2.0 * math.exp(-step / 300) + 0.3)
    context.metrics.log(1500, auc=0.987, precision=0.91, recall=0.97)
    return {"auc": 0.987}


def _gate(context: StageContext) -> dict[str, float]:
    horizons = [1, 5, 10, 20, 40, 80]
    write_json(
        context.directory / "open_loop.json",
        {
            "horizons": horizons,
            "unit": "mean squared error, observations scaled to unit variance",
            "keys": {
                "proprio": {
                    "error": [0.01, 0.02, 0.05, 0.09, 0.16, 0.3],
                    "still": [0.02, 0.2, 0.5, 0.8, 1.2, 1.5],
                },
                "scene_state": {
                    "error": [0.002, 0.004, 0.01, 0.03, 0.05, 0.09],
                    "still": [0.005, 0.04, 0.1, 0.2, 0.3, 0.5],
                },
            },
            "error_ratio": 0.17,
            "judge_horizon": 40,
            "auc": 0.971,
            "failed": [],
            "passed": True,
        },
    )
    return {"auc": 0.971, "error_ratio": 0.17}


def _finetune(context: StageContext) -> dict[str, float]:
    rng = np.random.default_rng(3)
    for step in range(60):
        success = 0.35 + 0.45 * (1 - math.exp(-step / 20)) + 0.03 * rng.normal()
        ramp = np.linspace(0.2, 1.0, 10)
        context.metrics.log(
            step,
            dream_success=success,
            reward=0.1 * success,
            kl=0.02 * ramp * math.exp(-step / 30),
            clip_fraction=0.3 * ramp[::-1] * math.exp(-step / 40),
            bc_loss=0.4 + 0.004 * step,
            explained_variance=None if step < 2 else 1 - math.exp(-step / 10),
            policy_loss=0.01 * rng.normal(),
        )
        if step % 5 == 4:
            context.metrics.log(
                step,
                held_out_dream_success=success - 0.05,
                cross_success=0.9 * success - 0.1,
                referee_success=0.8 * success - 0.15,
                exploitation_gap=0.1 + 0.2 * success,
                bc_distance=0.1 * (1 - math.exp(-step / 20)),
            )
    rng = np.random.default_rng(4)
    frames = [rng.integers(0, 255, (60, 60, 3), dtype=np.uint8) for _ in range(16)]
    path = context.directory / "dream_and_reality.png"
    film_strip(frames, path, 8, "First row: the dream. Second row: the recording. Every 10th step.")
    return {"dream_base": 0.36, "dream_adapted": 0.77, "simulator_steps": 0}


STAGES = {
    "world_model": _world_model,
    "policy": _policy,
    "classifier": _classifier,
    "gate": _gate,
    "finetune": _finetune,
}


def make_run(
    path: Path,
    *,
    until: str = "finetune",
    skills: dict[str, tuple[int, int]] | None = None,
    episodes: int = 100,
    claim: bool = True,
    dream_adapted: float = 0.77,
) -> Run:
    """Write the folder; `skills` gives base and adapted successes, None leaves the summary out."""
    run = Run(path)
    write_json(path / "config.json", CONFIG)
    run_stages(run, [Stage(name, "made-up", work) for name, work in STAGES.items()], until=until)
    if skills is None:
        return run
    summaries = {
        name: SkillSummary.from_outcomes(
            outcomes(base, episodes, 1),
            outcomes(adapted, episodes, 2),
            simulator_steps=0,
            dream_base=0.36,
            dream_adapted=dream_adapted,
            checkpoint="checkpoint",
        )
        for name, (base, adapted) in skills.items()
    }
    facts = {"play_minutes": 31.5, "demonstrations": {"open_drawer": 6}, "hash": "0123abcd"}
    summary = make_summary(
        run,
        name="made-up",
        skills=summaries,
        claim=claim,
        dataset=facts,
        gate={"auc": 0.971},
        seeds={"experiment": 42, "evaluation": 100_000},
    )
    write_summary(path, summary)
    return run
