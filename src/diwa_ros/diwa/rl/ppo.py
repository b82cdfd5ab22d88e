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
from diwa.rl.precision import products_of
from diwa.rl.rollout import Rollout
from diwa.rl.update_log import UpdateLog, UpdateResult

__all__ = ["PPO", "PolicyLoss", "UpdateResult", "clip_schedule", "policy_loss"]


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


class PPO:
    """The learner: optimisers, reward scale, and one `update` per rollout."""

    def __init__(self, policy: DiffusionPolicy, critic: nn.Module, config: PPOConfig) -> None:
        assert policy.tuned is not None, "call policy.start_finetuning() first"
        self.policy = policy
        self.actor = policy.tuned
        self.critic = critic
        self.config = config
        self.iteration = 0
        self.lr_scale = 1.0  # of the actor; smaller after a collapse
        device = next(critic.parameters()).device
        self.scaler = RewardScaler(config.reward_gamma, config.reward_clip, device)
        self.products = products_of(config.precision, device)
        self.clip = clip_schedule(config, policy.config.finetune_steps).to(device)
        self.actor_optimiser = torch.optim.AdamW(
            self.actor.parameters(), lr=config.actor_lr, weight_decay=0.0, fused=True
        )
        self.critic_optimiser = torch.optim.AdamW(
            critic.parameters(), lr=config.critic_lr, weight_decay=0.0, fused=True
        )

    def update(self, rollout: Rollout, generator: torch.Generator) -> UpdateResult:
        """Learn from one rollout: `epochs` passes in minibatches, BC term included."""
        self._warm_up()
        data = self.flatten(rollout, self.scaler(rollout.reward, rollout.ended))
        log = self._learn(data, generator)
        self.iteration += 1
        return log.result(data.ret, data.advantage)

    def flatten(self, rollout: Rollout, reward: Tensor) -> FlatRollout:
        """A rollout with its advantages, by scaled rewards (L, N)."""
        config = self.config
        advantage, ret = gae(
            reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
            config.gamma,
            config.gae_lambda,
        )
        return FlatRollout(
            rollout.latent.flatten(0, 1),
            rollout.chain.flatten(0, 1),
            rollout.log_prob.flatten(0, 1),
            advantage.flatten(),
            ret.flatten(),
        )

    def _learn(self, data: FlatRollout, generator: torch.Generator) -> UpdateLog:
        """All steps of one update. Nothing in here waits for the device."""
        config = self.config
        train_actor = self.iteration >= config.critic_iterations
        bc_latent, bc_chain = self._base_chains(data.latent, generator)
        log = UpdateLog(self.policy.config.finetune_steps, data.ret.device)
        for optimiser in (self.actor_optimiser, self.critic_optimiser):
            optimiser.found_inf = log.stopped  # type: ignore[attr-defined]  # steps do nothing when 1
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
            log.end_epoch(config.target_kl if train_actor else None)
        return log

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
        self, data: FlatRollout, rows: Tensor, bc_latent: Tensor, bc_chain: Tensor, log: UpdateLog
    ) -> None:
        config = self.config
        chosen = data.advantage[rows]
        advantage = (chosen - chosen.mean()) / (chosen.std(correction=0) + 1e-8)
        log_prob = self.policy.log_prob(
            data.latent[rows], data.chain[rows], self.products.surrogate
        )
        loss = policy_loss(
            log_prob, data.log_prob[rows], advantage, self.clip, config.gamma_denoise
        )
        total, bc = loss.total, torch.zeros_like(loss.total)
        if config.bc_scale > 0:
            bc = -self.policy.log_prob(bc_latent, bc_chain, self.products.cloning).mean()
            total = total + config.bc_scale * bc
        self.actor_optimiser.zero_grad(set_to_none=True)
        total.backward()
        if config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.actor.parameters(), config.max_grad_norm)
        self.actor_optimiser.step()
        log.actor(loss.total.detach(), loss.kl, loss.clip_fraction, log_prob.detach(), bc.detach())

    def _critic_step(self, data: FlatRollout, rows: Tensor, log: UpdateLog) -> None:
        error = self.critic(data.latent[rows]) - data.ret[rows]
        loss = self.config.value_scale * 0.5 * error.square().mean()
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.critic.parameters(), self.config.max_grad_norm)
        self.critic_optimiser.step()
        log.critic(loss.detach())


@dataclass(frozen=True, slots=True)
class FlatRollout:
    """A rollout with (L, N) flattened to B."""

    latent: Tensor
    chain: Tensor
    log_prob: Tensor
    advantage: Tensor
    ret: Tensor
