# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the gate measured, and what is not good enough about it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from torch import Tensor

from diwa.reward.metrics import area_under_roc, calibration_error, precision_recall
from diwa.train.experiment import GateConfig
from diwa.train.meter import finite_or_none
from diwa.world_model.open_loop import OpenLoop

MORE_DATA = "record more and more varied play, or train the world model longer"
HOLD_OUT = "record more episodes of play, or hold some out (world_model_training.holdout)"
MORE_SUCCESS = "record play or demonstrations that show both success and failure of the task"
BETTER_CLASSIFIER = (
    "record more demonstrations, or let the classifier learn from longer dreams "
    "(classifier_training.dream_horizon)"
)


class Verdict(NamedTuple):
    """What tells success, on dreamed latents."""

    auc: float  # NaN where one of the classes is missing
    calibration_error: float
    precision: float = math.nan  # above the threshold; NaN where nothing is above it
    recall: float = math.nan  # NaN where nothing is a success

    def plain(self) -> dict[str, float | None]:
        """For JSON; None for what is not known."""
        return {name: finite_or_none(value) for name, value in self._asdict().items()}


class Failure(NamedTuple):
    """Something that is not good enough."""

    text: str
    hint: str


def judge_classifier(score: Tensor, label: Tensor, threshold: float = 0.5) -> Verdict:
    """Judge probabilities (N,) of success against labels (N,) int64 in {0, 1}."""
    precision, recall = precision_recall(score, label, threshold)
    auc = area_under_roc(score, label)
    return Verdict(auc, calibration_error(score, label), precision, recall)


def position_drift(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean distance [m] by dream length: positions (B, H, 3) [m], twice -> (H,)."""
    return (predicted - truth).norm(dim=-1).mean(dim=0)


def gate_report(
    result: OpenLoop,
    drift: Tensor | None,
    verdict: Verdict,
    settings: GateConfig,
    *,
    reward: Verdict | None = None,
    held_out: int = 1,
) -> dict[str, Any]:
    """Everything for `open_loop.json`; "failed" and "hints" say what is not good enough.

    Args:
        result: dreams beside reality.
        drift: (H,) [m] by dream length, where positions are decoded.
        verdict: of the success classifier.
        settings: the limits.
        reward: of what rewards the dreams, where that is not the classifier.
        held_out: episodes judged on that the model has not learned from; 0: there were none.
    """
    length = len(result.kl)
    horizons = [h for h in settings.horizons if h <= length]
    at = min(settings.judge_horizon, length) - 1

    def curve(values: Tensor) -> list[float]:
        return [float(values[h - 1]) for h in horizons]

    ratios = {
        key: float(result.error[key][at] / result.still[key][at].clamp_min(1e-9))
        for key in result.error
    }
    worst = max(ratios.values())
    likeness = [float(rows["ssim"][at]) for rows in result.images.values()]
    failures = [] if held_out else [Failure("no episode of play is held out to judge by", HOLD_OUT)]
    failures += _failures(
        settings, at + 1, worst, verdict, None if drift is None else float(drift[at]), likeness
    )
    failures += _missed(settings, verdict if reward is None else reward)
    return {
        "horizons": horizons,
        "unit": "mean squared error, observations scaled to unit variance",
        "keys": {
            key: {"error": curve(result.error[key]), "still": curve(result.still[key])}
            for key in result.error
        },
        "images": {
            key: {name: curve(values) for name, values in rows.items()}
            for key, rows in result.images.items()
        },
        "latent_kl": curve(result.kl),
        "position_drift_m": None if drift is None else curve(drift),
        "error_ratio": worst,
        "judge_horizon": at + 1,
        "auc": finite_or_none(verdict.auc),
        "calibration_error": verdict.calibration_error,
        "precision": finite_or_none(verdict.precision),
        "recall": finite_or_none(verdict.recall),
        "held_out_episodes": held_out,
        "enforced": settings.enforce,
        "failed": [failure.text for failure in failures],
        "hints": sorted({failure.hint for failure in failures}),
        "passed": not failures,
    }


def _failures(
    settings: GateConfig,
    steps: int,
    error_ratio: float,
    verdict: Verdict,
    drift: float | None,
    likeness: list[float],
) -> list[Failure]:
    found = []
    dream = f"a dream of {steps} steps"
    if not error_ratio <= settings.max_error_ratio:
        text = (
            f"error of {dream} is {error_ratio:.2f} of that of predicting no change, "
            f"at most {settings.max_error_ratio:.2f} allowed"
        )
        found.append(Failure(text, MORE_DATA))
    limit = settings.max_position_drift_m
    if drift is not None and limit is not None and not drift <= limit:
        text = f"the arm in {dream} is {drift:.3f} m off, at most {limit:.3f} m allowed"
        found.append(Failure(text, MORE_DATA))
    least = settings.min_ssim
    if likeness and least is not None and not min(likeness) >= least:
        text = f"images of {dream} have an SSIM of {min(likeness):.3f}, at least {least} needed"
        found.append(Failure(text, MORE_DATA))
    if math.isnan(verdict.auc):
        text = "the classifier cannot be judged: all dreamed latents are successes, or none is"
        found.append(Failure(text, MORE_SUCCESS))
    elif verdict.auc < settings.min_auc:
        text = (
            f"the classifier's AUC on dreamed latents is {verdict.auc:.3f}, "
            f"at least {settings.min_auc:.3f} needed"
        )
        found.append(Failure(text, BETTER_CLASSIFIER))
    most = settings.max_calibration_error
    if most is not None and not verdict.calibration_error <= most:
        text = (
            f"the classifier's probabilities on dreamed latents are "
            f"{verdict.calibration_error:.3f} off on average, at most {most:.3f} allowed"
        )
        found.append(Failure(text, BETTER_CLASSIFIER))
    return found


def _missed(settings: GateConfig, verdict: Verdict) -> list[Failure]:
    """Precision and recall of what rewards, where they have limits."""
    found = []
    for name in ("precision", "recall"):
        value, least = getattr(verdict, name), getattr(settings, f"min_{name}")
        if least is not None and not value >= least:
            text = f"the reward's {name} on dreamed latents is {value:.3f}, "
            found.append(Failure(text + f"at least {least:.3f} needed", BETTER_CLASSIFIER))
    return found
