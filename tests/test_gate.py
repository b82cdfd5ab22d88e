# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the gate measures, against independent computations, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import distributions

from diwa.reward.metrics import calibration_error
from diwa.train.experiment import GateConfig
from diwa.train.gate_report import Verdict, gate_report, judge_classifier, position_drift
from diwa.world_model.image_metrics import mse, psnr, ssim
from diwa.world_model.open_loop import OpenLoop, open_loop
from diwa.world_model.rssm import State
from learning_fixtures import random_observation, tiny_world_model


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(seed: int, count: int = 3) -> torch.Tensor:
    rough = torch.rand(count, 40, 48, 3, generator=_generator(seed))
    return torch.from_numpy(gaussian_filter(rough.numpy(), (0, 2, 2, 0)))


def _ssim_by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    """One channel, windows inside the image only."""

    def smooth(value: np.ndarray) -> np.ndarray:
        return gaussian_filter(value, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mx, my = smooth(x), smooth(y)
    vx, vy, cov = smooth(x * x) - mx**2, smooth(y * y) - my**2, smooth(x * y) - mx * my
    top = (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
    return float((top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))).mean())


def test_ssim_equals_an_independent_computation() -> None:
    x, y = _images(1), _images(2)
    for a, b in ((x, y), (x, x + 0.05 * y)):
        expected = [
            np.mean(
                [
                    _ssim_by_scipy(p[..., c].double().numpy(), q[..., c].double().numpy())
                    for c in range(3)
                ]
            )
            for p, q in zip(a, b, strict=True)
        ]
        torch.testing.assert_close(
            ssim(a, b), torch.tensor(expected, dtype=torch.float32), atol=1e-4, rtol=1e-4
        )
    torch.testing.assert_close(ssim(x, x), torch.ones(3))


def test_psnr_follows_from_the_squared_error() -> None:
    x = torch.full((2, 16, 16, 3), 0.5)
    y = x.clone()
    y[1] += 0.1
    assert psnr(x, y)[1].item() == pytest.approx(20.0, abs=1e-3)
    assert psnr(x, y)[0].item() == pytest.approx(100.0)
    assert mse(x, y).tolist() == pytest.approx([0.0, 0.01], abs=1e-6)


def test_calibration_error_is_zero_for_honest_probabilities_only() -> None:
    score = torch.rand(40_000, generator=_generator())
    honest = (torch.rand(40_000, generator=_generator(2)) < score).long()
    assert calibration_error(score, honest) < 0.02
    boastful = (torch.rand(40_000, generator=_generator(2)) < score / 2).long()
    assert calibration_error(score, boastful) == pytest.approx(0.25, abs=0.02)
    assert calibration_error(torch.tensor([1.0, 0.0]), torch.tensor([1, 0])) == 0


def test_open_loop_kl_is_that_of_posterior_and_dreamed_prior() -> None:
    model = tiny_world_model(classes=3).eval()
    observation = random_observation(4, 9)
    action = torch.randn(4, 9, 7, generator=_generator(5)).clamp(-1, 1)
    first = torch.zeros(4, 9, dtype=torch.bool)
    first[:, 0] = True
    result = open_loop(model, observation, action, first, 3, _generator())
    with torch.no_grad():
        seen = model.observe(observation, action, first, generator=_generator())
        prior = model.rssm.prior(result.latent.deter)
        expected = distributions.kl_divergence(
            distributions.Categorical(logits=seen.post[:, 3:]),
            distributions.Categorical(logits=prior),
        ).sum(-1)
    torch.testing.assert_close(result.kl, expected.mean(0), atol=1e-4, rtol=1e-4)
    natural = model.decode(result.latent.feat)
    torch.testing.assert_close(result.vectors["proprio"], natural["proprio"])


def test_drift_is_the_mean_distance() -> None:
    truth = torch.zeros(2, 3, 3)
    predicted = truth.clone()
    predicted[0, 2] = torch.tensor([0.03, 0.0, 0.04])
    assert position_drift(predicted, truth).tolist() == pytest.approx([0, 0, 0.025])


def _measured(ratio: float, likeness: float) -> OpenLoop:
    curve = torch.linspace(0.1, 1.0, 10)
    images = {"rgb_static": {name: torch.full((10,), likeness) for name in ("mse", "psnr", "ssim")}}
    state = State(torch.zeros(1, 10, 2), torch.zeros(1, 10, 1, 1))
    return OpenLoop({"scene": ratio * curve}, {"scene": curve}, images, curve, state, {}, {})


@pytest.mark.parametrize(
    ("ratio", "likeness", "drift", "auc", "off", "complaint"),
    [
        (0.7, 0.9, 0.01, 0.95, 0.01, "0.70 of that of predicting no change"),
        (math.nan, 0.9, 0.01, 0.95, 0.01, "predicting no change"),
        (0.2, 0.5, 0.01, 0.95, 0.01, "SSIM of 0.500"),
        (0.2, 0.9, 0.08, 0.95, 0.01, "0.080 m off"),
        (0.2, 0.9, 0.01, 0.80, 0.01, "AUC on dreamed latents is 0.800"),
        (0.2, 0.9, 0.01, 0.95, 0.30, "0.300 off on average"),
    ],
)
def test_gate_names_what_failed_and_what_helps(
    ratio: float, likeness: float, drift: float, auc: float, off: float, complaint: str
) -> None:
    settings = GateConfig(
        horizons=(1, 5, 20),
        judge_horizon=5,
        min_ssim=0.8,
        max_position_drift_m=0.05,
        max_calibration_error=0.1,
    )
    drifts = torch.full((10,), drift)
    good = gate_report(_measured(0.2, 0.9), drifts / drift * 0.01, Verdict(0.95, 0.01), settings)
    assert good["passed"] and not good["failed"] and good["horizons"] == [1, 5]
    report = gate_report(_measured(ratio, likeness), drifts, Verdict(auc, off), settings)
    assert len(report["failed"]) == len(report["hints"]) == 1
    assert complaint in report["failed"][0]
    unjudged = gate_report(_measured(0.2, 0.1), None, Verdict(0.95, 0.9), GateConfig())
    assert unjudged["passed"], "what has no limit is measured and not judged"


def test_classifier_is_judged_on_both_ranking_and_probability() -> None:
    label = torch.tensor([0, 0, 1, 1])
    verdict = judge_classifier(torch.tensor([0.5, 0.6, 0.7, 0.8]), label)
    assert verdict.auc == 1.0
    assert verdict.calibration_error == pytest.approx((0.5 + 0.6 + 0.3 + 0.2) / 4)


def test_precision_and_recall_are_counted_at_the_dreams_threshold() -> None:
    label = torch.tensor([0, 0, 1, 1, 1])
    score = torch.tensor([0.9, 0.3, 0.85, 0.7, 0.95])
    verdict = judge_classifier(score, label, 0.8)
    assert verdict.precision == pytest.approx(2 / 3)
    assert verdict.recall == pytest.approx(2 / 3)
    assert judge_classifier(score, label, 0.99).plain()["precision"] is None
    assert judge_classifier(score, label, 0.99).recall == 0


@pytest.mark.parametrize("name", ["precision", "recall"])
def test_gate_judges_precision_and_recall_where_they_have_limits(name: str) -> None:
    settings = GateConfig(**{f"min_{name}": 0.8})
    measured = _measured(0.2, 0.9)
    good = Verdict(0.95, 0.01, precision=0.9, recall=0.9)
    assert gate_report(measured, None, good, settings)["passed"]
    report = gate_report(measured, None, good._replace(**{name: 0.7}), settings)
    assert f"{name} on dreamed latents is 0.700" in report["failed"][0]
    unknown = good._replace(**{name: math.nan})
    assert not gate_report(measured, None, unknown, settings)["passed"]
    assert gate_report(measured, None, unknown, GateConfig())["passed"], "no limit"


def test_gate_judges_what_rewards_the_dreams() -> None:
    settings = GateConfig(min_precision=0.8)
    classifier = Verdict(0.95, 0.01, precision=0.9, recall=0.9)
    decoded = classifier._replace(precision=0.5)
    assert gate_report(_measured(0.2, 0.9), None, classifier, settings)["passed"]
    report = gate_report(_measured(0.2, 0.9), None, classifier, settings, reward=decoded)
    assert "the reward's precision on dreamed latents is 0.500" in report["failed"][0]
    other = gate_report(_measured(0.2, 0.9), None, decoded, settings, reward=classifier)
    assert other["passed"]


def test_gate_refuses_what_it_cannot_judge() -> None:
    good = Verdict(0.95, 0.01)
    for verdict, held_out, complaint in [
        (good._replace(auc=math.nan), 2, "cannot be judged"),
        (good, 0, "no episode of play is held out"),
    ]:
        report = gate_report(_measured(0.2, 0.9), None, verdict, GateConfig(), held_out=held_out)
        assert len(report["failed"]) == 1 and complaint in report["failed"][0]
        assert report["hints"]
