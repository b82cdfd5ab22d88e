# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`summary.json`: the figures of a run, and whether its policies should be deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from diwa.config import Config, parse_config
from diwa.files import read_json, write_json
from diwa.train.facts import Machine, machine, versions
from diwa.train.run import Run
from diwa.train.statistics import mcnemar_exact, paired_difference, wilson

FILE_NAME = "summary.json"
EXPLOITATION_GAP = 0.25  # dream minus simulator, adapted: from here on the report warns

Rate = Annotated[float, pydantic.Field(ge=0, le=1)]
Difference = Annotated[float, pydantic.Field(ge=-1, le=1)]
Count = Annotated[int, pydantic.Field(ge=0)]


class SkillSummary(Config):
    """One skill, base against adapted on the same seeds; intervals are 95 %."""

    episodes: Annotated[int, pydantic.Field(gt=0)]
    base: Rate
    base_interval: tuple[Rate, Rate]  # Wilson
    adapted: Rate
    adapted_interval: tuple[Rate, Rate]
    difference: Difference
    difference_interval: tuple[Difference, Difference]  # paired, Newcombe's method 10
    p_value: Rate  # exact McNemar
    gained: Count  # seeds that only the adapted policy solves
    lost: Count  # seeds that only the base solves
    dream_base: Rate | None = None
    dream_adapted: Rate | None = None
    simulator_steps: Count  # used in fine-tuning
    checkpoint: str = ""  # folder of the adapted policy, relative to the run

    @classmethod
    def from_outcomes(
        cls,
        base: Sequence[bool],
        adapted: Sequence[bool],
        *,
        simulator_steps: int,
        dream_base: float | None = None,
        dream_adapted: float | None = None,
        checkpoint: str = "",
    ) -> SkillSummary:
        """Rates and intervals from paired outcomes: entry i of both has the same seed."""
        difference = paired_difference(base, adapted)
        first, second = (wilson(int(sum(item)), len(item)) for item in (base, adapted))
        pairs = list(zip(base, adapted, strict=True))
        return cls(
            episodes=len(pairs),
            base=first.value,
            base_interval=_clipped(first.low, first.high, 0.0),
            adapted=second.value,
            adapted_interval=_clipped(second.low, second.high, 0.0),
            difference=difference.value,
            difference_interval=_clipped(difference.low, difference.high, -1.0),
            p_value=min(mcnemar_exact(base, adapted), 1.0),
            gained=sum(bool(after and not before) for before, after in pairs),
            lost=sum(bool(before and not after) for before, after in pairs),
            dream_base=dream_base,
            dream_adapted=dream_adapted,
            simulator_steps=simulator_steps,
            checkpoint=checkpoint,
        )

    @property
    def dream_gap(self) -> float | None:
        """Success in the dream minus success in the simulator, of the adapted policy."""
        return None if self.dream_adapted is None else self.dream_adapted - self.adapted


class StageSummary(Config):
    """Cost of one stage over all its parts."""

    seconds: float
    peak_memory_bytes: Count
    peak_gpu_memory_bytes: Count | None = None


class Verdict(Config):
    """Whether to deploy, in one word and in one sentence."""

    decision: Literal["deploy", "do not deploy", "no claim", "not finished"]
    reason: str


class Summary(Config):
    """Everything that `summary.json` holds."""

    format: Literal["diwa-summary"] = "diwa-summary"
    version: Literal[1] = 1
    name: str
    created: str  # UTC, ISO 8601
    claim: bool = True  # False: a rehearsal whose figures say nothing about the method
    verdict: Verdict
    skills: dict[str, SkillSummary] = pydantic.Field(default_factory=dict)
    stages: dict[str, StageSummary] = pydantic.Field(default_factory=dict)
    dataset: dict[str, Any] = pydantic.Field(default_factory=dict)  # `facts.dataset_facts`
    gate: dict[str, Any] = pydantic.Field(default_factory=dict)  # what the gate measured
    seeds: dict[str, int] = pydantic.Field(default_factory=dict)
    versions: dict[str, str] = pydantic.Field(default_factory=dict)
    machine: Machine


def make_summary(
    run: Run,
    *,
    name: str,
    skills: Mapping[str, SkillSummary],
    claim: bool = True,
    dataset: Mapping[str, Any] | None = None,
    gate: Mapping[str, Any] | None = None,
    seeds: Mapping[str, int] | None = None,
) -> Summary:
    """Collect what the run folder and this machine know; unfinished stages are left out."""
    gate = dict(gate or {})
    return Summary(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        claim=claim,
        verdict=judge(skills, claim=claim, gate_failures=gate.get("failed", ())),
        skills=dict(skills),
        stages={
            record.name: StageSummary(
                seconds=record.seconds,
                peak_memory_bytes=record.peak_memory_bytes,
                peak_gpu_memory_bytes=record.peak_gpu_memory_bytes,
            )
            for record in run.records()
        },
        dataset=dict(dataset or {}),
        gate=gate,
        seeds=dict(seeds or {}),
        versions=versions(),
        machine=machine(),
    )


def judge(
    skills: Mapping[str, SkillSummary], *, claim: bool = True, gate_failures: Sequence[str] = ()
) -> Verdict:
    """Deploy only what is better beyond chance on every skill, without the simulator's help."""
    if not claim:
        return Verdict(
            decision="no claim",
            reason="This was a rehearsal with tiny settings. It shows that the chain works; "
            "its figures say nothing about the method.",
        )
    objections = list(gate_failures)
    for name, skill in skills.items():
        objections += _objections(name.replace("_", " "), skill)
    if not skills:
        objections.append("nothing was evaluated")
    if objections:
        reason = "; ".join(objections)
        return Verdict(decision="do not deploy", reason=reason[0].upper() + reason[1:] + ".")
    gains = (
        f"{name.replace('_', ' ')} by {100 * skill.difference:.0f} points"
        for name, skill in skills.items()
    )
    return Verdict(
        decision="deploy",
        reason=f"Better on the same starts, beyond what chance explains: {', '.join(gains)}.",
    )


def _objections(name: str, skill: SkillSummary) -> list[str]:
    low, high = skill.difference_interval
    points = f"{100 * low:+.0f} to {100 * high:+.0f} points"
    if skill.simulator_steps:
        return [f"{name} was fine-tuned with {skill.simulator_steps} simulator steps"]
    if high < 0:
        return [f"{name} became worse ({points})"]
    if low <= 0:
        return [f"the gain on {name} may be chance ({points})"]
    return []


def write_summary(run_path: Path, summary: Summary) -> Path:
    """Replace the run's `summary.json`."""
    path = run_path / FILE_NAME
    write_json(path, summary.model_dump(mode="json"))
    return path


def read_summary(run_path: Path) -> Summary | None:
    """The run's summary; None where there is none; `ConfigError` where it is none of ours."""
    path = run_path / FILE_NAME
    return parse_config(Summary, read_json(path), str(path)) if path.exists() else None


def _clipped(low: float, high: float, least: float) -> tuple[float, float]:
    """Rounding may leave the range by an ulp."""
    return max(low, least), min(high, 1.0)
