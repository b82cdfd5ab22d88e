# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How well a classifier separates success from the rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def area_under_roc(score: Tensor, label: Tensor) -> float:
    """Probability that a random success scores above a random other one; ties count half.

    Args:
        score: (N,) float32.
        label: (N,) int64 in {0, 1}.

    Returns:
        in [0, 1]; NaN when one of the classes is missing.
    """
    positives = int((label == 1).sum())
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        return math.nan
    _, inverse, counts = torch.unique(score, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    rank = (last - (counts.double() - 1) / 2)[inverse]  # mean rank of tied scores
    u = float(rank[label == 1].sum()) - positives * (positives + 1) / 2
    return u / (positives * negatives)


def precision_recall(score: Tensor, label: Tensor, threshold: float) -> tuple[float, float]:
    """Precision and recall of `score > threshold`; NaN where nothing is predicted or true."""
    predicted, true = score > threshold, label == 1
    hits = float((predicted & true).sum())
    chosen, wanted = float(predicted.sum()), float(true.sum())
    return (hits / chosen if chosen else math.nan, hits / wanted if wanted else math.nan)


def calibration_error(score: Tensor, label: Tensor, bins: int = 10) -> float:
    """Expected calibration error: by how much probabilities differ from observed shares.

    Args:
        score: (N,) float32 in [0, 1], predicted probability of success.
        label: (N,) int64 in {0, 1}.
        bins: equal parts of [0, 1]; the error is the mean of theirs, weighted by their counts.

    Returns:
        in [0, 1].
    """
    index = (score * bins).long().clamp(0, bins - 1)
    counts = torch.bincount(index, minlength=bins).double()
    predicted = torch.bincount(index, score.double(), minlength=bins)
    observed = torch.bincount(index, label.double(), minlength=bins)
    return float((predicted - observed).abs().sum() / counts.sum())
