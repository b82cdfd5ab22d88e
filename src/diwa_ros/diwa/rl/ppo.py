# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""PPO over denoising steps (DiWA section 3.4; DPPO, Ren et al. 2024).

Every trained denoising step is an action with its own ratio and its own clip range; the advantage
of the chunk, discounted by `gamma_denoise` towards the noisier steps, is shared by all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.advantages import RewardScaler, gae
from diwa.rl.config import PPOConfig
from diwa.rl.rollout import Rollout


def clip_schedule(config: PPOConfig, count: int) -> Tensor:
    """(K',) clip ranges from the noisiest trained step to the last, growing exponentially."""
    share = torch.linspace(0, 1, count) if count > 1 else torch.ones(1)
    rate = torch.tensor(config.clip_coef_rate)
    growth = (torch.exp(rate * share) - 1) / (torch.exp(rate) - 1)
    return config.clip_coef_base + (config.clip_coef - config.clip_coef_base) * growth


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """One minibatch. Vectors have one entry per trained denoising step, noisiest first."""

    total: Tensor
    kl: Tensor  # (K',) mean of r - 1 - log r
    clip_fraction: Tensor  # (K',)


def policy_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: Tensor, gamma_denoise: float
) -> PolicyLoss:
    """The clipped surrogate.

    Args:
        log_prob: (B, K') under the current policy.
        old_log_prob: (B, K') when sampled.
        advantage: (B,) of the chunk steps.
        clip: (K',) of `clip_schedule`.
        gamma_denoise: discount towards the noisier steps.
    """
    count = log_prob.shape[1]
    steps_left = torch.arange(count - 1, -1, -1, device=log_prob.device)
    scaled = advantage[:, None] * gamma_denoise**steps_left
    difference = log_prob - old_log_prob
    ratio = difference.exp()
    clipped = torch.maximum(torch.minimum(ratio, 1 + clip), 1 - clip)
    total = torch.maximum(-scaled * ratio, -scaled * clipped).mean()
    with torch.no_grad():
        kl = (ratio - 1 - difference).mean(dim=0)
        outside = ((ratio - 1).abs() > clip).float().mean(dim=0)
    return PolicyLoss(total, kl, outside)


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What one iteration did; vectors per trained denoising step, noisiest first."""

    kl: list[float]
    clip_fraction: list[float]
    log_prob_low: list[float]
    log_prob_high: list[float]
    policy_loss: float
    value_loss: float
    bc_loss: float
    explained_variance: float
    epochs: int


class PPO:
    """The learner: optimisers, reward scale, and one `update` per rollout."""

    def __init__(self, policy: DiffusionPolicy, critic: nn.Module, config: PPOConfig) -> None:
        assert policy.tuned is not None, "call policy.start_finetuning() first"
        self.policy = policy
        self.actor = policy.tuned
        self.critic = critic
        self.config = config
        self.scaler = RewardScaler(config.reward_gamma, config.reward_clip)
        self.iteration = 0
        self.lr_scale = 1.0  # of the actor; smaller after a collapse
        device = next(critic.parameters()).device
        self.clip = clip_schedule(config, policy.config.finetune_steps).to(device)
        self.actor_optimiser = torch.optim.AdamW(
            self.actor.parameters(), lr=config.actor_lr, weight_decay=0.0
        )
        self.critic_optimiser = torch.optim.AdamW(
            critic.parameters(), lr=config.critic_lr, weight_decay=0.0
        )

    def update(self, rollout: Rollout, generator: torch.Generator) -> UpdateResult:
        """Learn from one rollout: `epochs` passes in minibatches, BC term included."""
        config = self.config
        self._warm_up()
        reward = self.scaler(rollout.reward, rollout.ended)
        advantage, ret = gae(
            reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
            config.gamma,
            config.gae_lambda,
        )
        data = _Flat(
            rollout.latent.flatten(0, 1),
            rollout.chain.flatten(0, 1),
            rollout.log_prob.flatten(0, 1),
            advantage.flatten(),
            ret.flatten(),
        )
        train_actor = self.iteration >= config.critic_iterations
        bc_latent, bc_chain = self._base_chains(data.latent, generator)
        log = _Log(self.policy.config.finetune_steps)
        for _ in range(config.epochs):
            order = torch.randperm(len(data.ret), generator=generator, device=data.ret.device)
            for rows in order.split(config.batch):
                if train_actor:
                    pick = torch.randint(
                        len(bc_latent),
                        (min(config.bc_batch or len(rows), len(bc_latent)),),
                        generator=generator,
                        device=rows.device,
                    )
                    self._actor_step(data, rows, bc_latent[pick], bc_chain[pick], log)
                self._critic_step(data, rows, log)
            log.epochs += 1
            if train_actor and log.last_kl > config.target_kl:
                break
        self.iteration += 1
        return log.result(data)

    def _warm_up(self) -> None:
        share = min(1.0, (self.iteration + 1) / max(1, self.config.warmup_iterations))
        for group in self.actor_optimiser.param_groups:
            group["lr"] = self.config.actor_lr * share * self.lr_scale
        for group in self.critic_optimiser.param_groups:
            group["lr"] = self.config.critic_lr * share

    def _base_chains(self, latent: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Chains of the frozen base policy at some of the visited latents, for the BC term."""
        rows = torch.randperm(len(latent), generator=generator, device=latent.device)
        chosen = latent[rows[: self.config.bc_samples]]
        if self.config.bc_scale == 0:
            return chosen, chosen.new_zeros(len(chosen), 0)
        return chosen, self.policy.sample_chain(chosen, generator, use_base=True).chain

    def _actor_step(
        self, data: _Flat, rows: Tensor, bc_latent: Tensor, bc_chain: Tensor, log: _Log
    ) -> None:
        config = self.config
        chosen = data.advantage[rows]
        advantage = (chosen - chosen.mean()) / (chosen.std(correction=0) + 1e-8)
        log_prob = self.policy.log_prob(data.latent[rows], data.chain[rows])
        loss = policy_loss(
            log_prob, data.log_prob[rows], advantage, self.clip, config.gamma_denoise
        )
        total, bc_value = loss.total, 0.0
        if config.bc_scale > 0:
            bc = -self.policy.log_prob(bc_latent, bc_chain).mean()
            total = total + config.bc_scale * bc
            bc_value = float(bc.detach())
        self.actor_optimiser.zero_grad(set_to_none=True)
        total.backward()
        if config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.actor.parameters(), config.max_grad_norm)
        self.actor_optimiser.step()
        log.actor(loss, log_prob.detach(), bc_value)

    def _critic_step(self, data: _Flat, rows: Tensor, log: _Log) -> None:
        error = self.critic(data.latent[rows]) - data.ret[rows]
        loss = self.config.value_scale * 0.5 * error.square().mean()
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.critic.parameters(), self.config.max_grad_norm)
        self.critic_optimiser.step()
        log.value_losses.append(float(loss.detach()))


@dataclass(frozen=True, slots=True)
class _Flat:
    """A rollout with (L, N) flattened to B."""

    latent: Tensor
    chain: Tensor
    log_prob: Tensor
    advantage: Tensor
    ret: Tensor


class _Log:
    """Collects minibatch figures of one update."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.kl: list[Tensor] = []
        self.clip: list[Tensor] = []
        self.low: list[Tensor] = []
        self.high: list[Tensor] = []
        self.policy_losses: list[float] = []
        self.bc_losses: list[float] = []
        self.value_losses: list[float] = []
        self.last_kl = 0.0
        self.epochs = 0

    def actor(self, loss: PolicyLoss, log_prob: Tensor, bc: float) -> None:
        self.kl.append(loss.kl)
        self.clip.append(loss.clip_fraction)
        self.low.append(log_prob.amin(dim=0))
        self.high.append(log_prob.amax(dim=0))
        self.policy_losses.append(float(loss.total.detach()))
        self.bc_losses.append(bc)
        self.last_kl = float(loss.kl.mean())

    def result(self, data: _Flat) -> UpdateResult:
        def rows(values: list[Tensor], how: str) -> list[float]:
            if not values:
                return [0.0] * self.count
            stacked = torch.stack(values)
            if how == "mean":
                return [float(value) for value in stacked.mean(dim=0)]
            extreme = stacked.amin(dim=0) if how == "min" else stacked.amax(dim=0)
            return [float(value) for value in extreme]

        def mean(values: list[float]) -> float:
            return sum(values) / len(values) if values else 0.0

        residual = data.advantage  # ret - value
        spread = float(data.ret.var(correction=0))
        explained = 1 - float(residual.var(correction=0)) / spread if spread > 0 else 0.0
        return UpdateResult(
            kl=rows(self.kl, "mean"),
            clip_fraction=rows(self.clip, "mean"),
            log_prob_low=rows(self.low, "min"),
            log_prob_high=rows(self.high, "max"),
            policy_loss=mean(self.policy_losses),
            value_loss=mean(self.value_losses),
            bc_loss=mean(self.bc_losses),
            explained_variance=explained,
            epochs=self.epochs,
        )
