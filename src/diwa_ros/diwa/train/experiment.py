# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One experiment: everything that learning needs to know, from one YAML file."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from diwa.config import Config
from diwa.policy.config import PolicyConfig
from diwa.reward.classifier import ClassifierConfig
from diwa.rl.config import DreamConfig, PPOConfig
from diwa.world_model.config import WorldModelConfig

PositiveInt = Annotated[int, pydantic.Field(gt=0)]
PositiveFloat = Annotated[float, pydantic.Field(gt=0)]
Scale = Annotated[float, pydantic.Field(ge=0)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class WorldModelTraining(Config):
    """Optimisation of the world model; defaults are the paper's."""

    steps: PositiveInt = 2_000_000
    batch: PositiveInt = 50
    seq_len: PositiveInt = 50
    lr: PositiveFloat = 3.0e-4
    final_lr: PositiveFloat | None = None  # cosine decay to it; None: constant
    weight_decay: Scale = 0.05
    eps: PositiveFloat = 1.0e-5
    max_grad_norm: PositiveFloat = 100.0
    precision: Literal["fp32", "bf16"] = "fp32"  # of matrix products; sums and states stay fp32
    graph: bool = False  # on a GPU the step is recorded once and replayed; elsewhere no change
    eval_every: PositiveInt = 1000
    holdout: Share = 0.1  # share of the play frames, in whole episodes, never trained on
    # random: windows from anywhere, that begin like episodes. consecutive: each window begins with
    # the state that the one before it ended with, as in the paper.
    windows: Literal["random", "consecutive"] = "random"
    reset_rate: Share = 0.01  # consecutive: share of the frames at which the state is forgotten


class PolicyTraining(Config):
    """Behaviour cloning of the demonstrations; defaults are the paper's."""

    steps: PositiveInt = 100_000
    batch: PositiveInt = 256
    lr: PositiveFloat = 1.0e-4
    final_lr: PositiveFloat = 1.0e-5
    warmup_steps: Annotated[int, pydantic.Field(ge=0)] = 0  # in which the rate grows to `lr`
    weight_decay: Scale = 1.0e-6
    ema_decay: Share = 0.995
    ema_every: PositiveInt = 10
    demos: PositiveInt | None = None  # use only the first ones; None: all
    latent_passes: PositiveInt = 1  # filter passes over each demo, with fresh samples


class ClassifierTraining(Config):
    """Fitting the success classifier."""

    steps: PositiveInt = 3000
    batch: PositiveInt = 256
    lr: PositiveFloat = 3.0e-4
    labels: Literal["scene", "outcome"] = "scene"
    success_tail: PositiveInt = 10  # outcome labels: last frames of a success that count [steps]
    balance: bool = True  # as many successes as others in a batch; else as they come
    use_play: bool = True  # scene labels: learn from play frames too
    # Dreamed latents are learned from, too. Labelled by what was recorded at that moment, they
    # teach that a hand far enough along has succeeded; by what they decode to, they do not.
    dreams: Literal["recorded", "decoded", "none"] = "recorded"
    dream_context: PositiveInt = 1  # observed steps before a dream that gives training latents
    dream_horizon: PositiveInt = 80  # its length [steps]
    latents: PositiveInt = 60_000  # how many of each kind, observed and dreamed
    holdout: Share = 0.1


class StartConfig(Config):
    """Which recorded frames dreams start from."""

    source: Literal["play", "demo"] = "play"
    margin: Scale = 0.05  # TCP at most this far outside the box of the demos' starts [m]
    rotation_margin: Scale = 0.3  # TCP turned at most this far from the nearest demo start [rad]
    max_step: Scale = 0.006  # TCP moved at most this far in the last control step [m]
    scene_tolerance: Scale = 0.02  # the task's own scene entry, against the demos' starts


class GateConfig(Config):
    """What a world model must reach before reinforcement learning may use it."""

    horizons: tuple[PositiveInt, ...] = (1, 5, 10, 20, 40, 80)  # dream lengths measured [steps]
    context: PositiveInt = 5  # observed steps before each dream
    dreams: PositiveInt = 256
    judge_horizon: PositiveInt = 40
    max_error_ratio: PositiveFloat = 0.5  # against predicting that nothing changes
    min_auc: Share = 0.9  # classifier on dreamed latents
    enforce: bool = True  # False: measured all the same, but nothing is refused (an ablation)
    # What follows depends on the camera, the robot and the task: measured, judged where it is set.
    max_calibration_error: Share | None = None  # of the classifier on dreamed latents
    min_precision: Share | None = None  # of the dream's reward, at its threshold
    min_recall: Share | None = None
    max_position_drift_m: PositiveFloat | None = None  # of the dreamed TCP
    min_ssim: Share | None = None  # of the worst camera


class RefereeConfig(Config):
    """A second world model and classifier, that the policy does not learn from, to judge it."""

    seed: int = 1000  # added to the experiment's: other weights, other held-out episodes
    steps: PositiveInt | None = None  # of its world model; None: as many as the first one's

    @pydantic.field_validator("seed")
    @classmethod
    def _another(cls, seed: int) -> int:
        if seed == 0:
            raise ValueError("0 would make the referee the same model: choose another number")
        return seed


class EvaluationConfig(Config):
    """Paired evaluation in the simulator."""

    episodes: PositiveInt = 100
    max_steps: PositiveInt = 72  # control steps
    seed: int = 100_000


class OnlineConfig(Config):
    """The online baseline: PPO in the simulator, after the evaluation, for comparison."""

    tables: PositiveInt = 48  # simulated side by side
    workers: PositiveInt = 2  # processes
    iterations: PositiveInt = 60
    chunks: PositiveInt = 36  # chunk steps collected per table and iteration
    eval_every: PositiveInt = 3
    judge_rounds: PositiveInt = 2  # episodes per table and judgement


class ExperimentConfig(Config):
    """A whole experiment; see `config/experiments/`."""

    name: str
    task: str
    seed: int = 42
    threads: PositiveInt | None = None  # CPU threads; None: what PyTorch chooses
    device: str = "auto"
    world_model: WorldModelConfig
    world_model_training: WorldModelTraining = WorldModelTraining()
    policy: PolicyConfig = PolicyConfig()
    policy_training: PolicyTraining = PolicyTraining()
    classifier: ClassifierConfig = ClassifierConfig()
    classifier_training: ClassifierTraining = ClassifierTraining()
    starts: StartConfig = StartConfig()
    gate: GateConfig = GateConfig()
    dream: DreamConfig = DreamConfig()
    referee: RefereeConfig | None = None
    ppo: PPOConfig = PPOConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    online: OnlineConfig | None = None
    save_every_s: PositiveFloat = 60.0  # how much work a crash may cost
    claim: bool = True  # False: a rehearsal whose figures say nothing about the method

    @pydantic.model_validator(mode="after")
    def _whole_dreams(self) -> ExperimentConfig:
        if self.ppo.chunks < self.dream.max_chunks:
            raise ValueError(
                f"ppo.chunks is {self.ppo.chunks}, dream.max_chunks is {self.dream.max_chunks}: "
                "dreams begin anew in every iteration, so the ends of longer ones would never be "
                "learned from; raise ppo.chunks, or shorten the dreams"
            )
        return self

    def of_referee(self) -> ExperimentConfig:
        """The same experiment as the referee's models are trained by."""
        assert self.referee is not None
        training = self.world_model_training
        if self.referee.steps is not None:
            training = training.model_copy(update={"steps": self.referee.steps})
        changes = {"seed": self.seed + self.referee.seed, "world_model_training": training}
        return self.model_copy(update=changes)
