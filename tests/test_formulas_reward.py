# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The classifier's loss and its figures against loops over samples and pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diwa.reward.classifier import ClassifierConfig, SuccessClassifier, supervised_nt_xent
from diwa.reward.metrics import area_under_roc, calibration_error, precision_recall

FEAT = 6


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _nt_xent(embed: np.ndarray, label: list[int], temperature: float) -> float:
    """For each anchor, the mean over its positives; for all, the mean over anchors with any."""
    count = len(label)

    def likeness(i: int, j: int) -> float:
        size = math.sqrt((embed[i] ** 2).sum() * (embed[j] ** 2).sum())
        return float((embed[i] * embed[j]).sum() / size / temperature)

    anchors = []
    for i in range(count):
        others = sum(math.exp(likeness(i, j)) for j in range(count) if j != i)
        terms = [
            -math.log(math.exp(likeness(i, j)) / others)
            for j in range(count)
            if j != i and label[j] == label[i]
        ]
        if terms:
            anchors.append(sum(terms) / len(terms))
    return sum(anchors) / len(anchors)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("label", [[1, 0, 1, 1, 0, 0, 1], [0, 0, 1, 0], [0, 1, 2, 2, 0]])
def test_nt_xent_equals_a_double_loop(label: list[int], temperature: float) -> None:
    embed = torch.randn(len(label), 5, generator=_generator(), dtype=torch.float64)
    loss = supervised_nt_xent(embed, torch.tensor(label), temperature)
    assert float(loss) == pytest.approx(_nt_xent(embed.numpy(), label, temperature), rel=1e-9)


def test_nt_xent_without_any_pair_teaches_nothing() -> None:
    embed = torch.randn(2, 5, generator=_generator(), requires_grad=True)
    loss = supervised_nt_xent(embed, torch.tensor([0, 1]), 0.5)
    loss.backward()
    assert loss.item() == 0
    assert embed.grad is not None and not embed.grad.any()


@pytest.mark.parametrize(("ce", "contrastive"), [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)])
def test_loss_is_the_weighted_sum_of_cross_entropy_and_nt_xent(
    ce: float, contrastive: float
) -> None:
    torch.manual_seed(0)
    config = ClassifierConfig(
        encoder_units=8,
        embed=5,
        head_units=8,
        temperature=0.3,
        ce_scale=ce,
        contrastive_scale=contrastive,
    )
    classifier = SuccessClassifier(config, FEAT).double()
    latent = torch.randn(9, FEAT, generator=_generator(), dtype=torch.float64)
    label = [1, 0, 0, 1, 0, 1, 1, 0, 0]
    with torch.no_grad():
        loss = classifier.loss(latent, torch.tensor(label)).item()
        probability = classifier(latent).tolist()
        embed = classifier.encoder(latent).numpy()
    likelihood = [p if y else 1 - p for p, y in zip(probability, label, strict=True)]
    cross_entropy = -sum(math.log(p) for p in likelihood) / len(label)
    expected = ce * cross_entropy + contrastive * _nt_xent(embed, label, 0.3)
    assert loss == pytest.approx(expected, rel=1e-9)


def _scores(levels: int, count: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    """Few levels: many ties. Successes score somewhat higher."""
    label = (torch.rand(count, generator=_generator(levels)) < 0.3).long()
    drawn = torch.rand(count, generator=_generator(levels + 1)) * 0.7 + 0.3 * label
    return (drawn * levels).floor() / levels, label


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
def test_auc_counts_pairs_and_ties_as_half(levels: int) -> None:
    score, label = _scores(levels)
    good = [s for s, y in zip(score.tolist(), label.tolist(), strict=True) if y == 1]
    bad = [s for s, y in zip(score.tolist(), label.tolist(), strict=True) if y == 0]
    won = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
    assert area_under_roc(score, label) == pytest.approx(won / (len(good) * len(bad)), rel=1e-12)
    assert math.isnan(area_under_roc(score, torch.ones_like(label)))


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.6, 1.0])
def test_precision_and_recall_count_scores_above_the_threshold(threshold: float) -> None:
    score, label = _scores(5)
    pairs = list(zip(score.tolist(), label.tolist(), strict=True))
    limit = torch.tensor(threshold).item()  # as float32 has it, like the scores
    assert threshold in (0.0, 1.0) or any(s == limit for s, _ in pairs), "one is on the edge"
    hits = sum(s > limit and y == 1 for s, y in pairs)
    chosen, wanted = sum(s > limit for s, _ in pairs), sum(y for _, y in pairs)
    precision, recall = precision_recall(score, label, threshold)
    assert recall == hits / wanted
    assert precision == pytest.approx(hits / chosen if chosen else math.nan, nan_ok=True)


@pytest.mark.parametrize("bins", [4, 10])
def test_calibration_error_equals_a_loop_over_bins(bins: int) -> None:
    score, label = _scores(1000)
    score[:3] = torch.tensor([0.0, 1.0, 0.5])  # the ends; 1 belongs to the last bin
    pairs = list(zip(score.tolist(), label.tolist(), strict=True))
    error = 0.0
    for index in range(bins):
        last = index == bins - 1
        inside = [(s, y) for s, y in pairs if index <= s * bins < index + 1 or (last and s == 1)]
        if inside:
            confidence = sum(s for s, _ in inside) / len(inside)
            share = sum(y for _, y in inside) / len(inside)
            error += len(inside) / len(pairs) * abs(confidence - share)
    assert error > 0.01
    assert calibration_error(score, label, bins) == pytest.approx(error, rel=1e-6)
