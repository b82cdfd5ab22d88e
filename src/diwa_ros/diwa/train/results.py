# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From a run's finished stages to `summary.json` and `report.html`."""

from __future__ import annotations

from pathlib import Path

from diwa.data.dataset import Dataset
from diwa.files import read_json
from diwa.train.experiment import ExperimentConfig
from diwa.train.facts import dataset_facts
from diwa.train.report import write_report
from diwa.train.run import Run
from diwa.train.summary import SkillSummary, make_summary, write_summary

CHECKPOINT = "checkpoint"  # folder in a run that holds what is served


def write_results(run: Run, config: ExperimentConfig, dataset: Dataset) -> Path:
    """Write both files from what is there; stages that did not run are left out.

    Returns:
        path of the report.
    """
    skills: dict[str, SkillSummary] = {}
    evaluated, finetuned = run.done("evaluate"), run.done("finetune")
    if evaluated is not None and finetuned is not None:
        skills[config.task] = SkillSummary.from_outcomes(
            evaluated.result["base"],
            evaluated.result["adapted"],
            simulator_steps=finetuned.result["simulator_steps"],
            dream_base=finetuned.result["dream_base"],
            dream_adapted=finetuned.result["dream_adapted"],
            checkpoint=CHECKPOINT,
        )
    gate_path = run.stage_dir("gate") / "open_loop.json"
    summary = make_summary(
        run,
        name=config.name,
        skills=skills,
        claim=config.claim,
        dataset=dataset_facts(dataset.manifest),
        gate=read_json(gate_path) if gate_path.exists() else None,
        seeds={"experiment": config.seed, "evaluation": config.evaluation.seed},
    )
    write_summary(run.path, summary)
    return write_report(run.path)
