# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recurrent state-space model (DiWA section 3.1, DreamerV2 with one plain GRU cell).

What does not depend on the recurrent state (the projections of actions and embeddings, the prior
head) is computed for all steps at once, outside the loop over time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from diwa.world_model.config import WorldModelConfig


class State(NamedTuple):
    """A latent: `deter` (..., D) float32 and `stoch` (..., S, C) float32, one-hot over C."""

    deter: Tensor
    stoch: Tensor

    @property
    def feat(self) -> Tensor:
        """(..., F) float32: `deter` beside the flattened `stoch`."""
        return torch.cat((self.deter, self.stoch.flatten(-2)), dim=-1)

    def at(self, step: int) -> State:
        """The states (B, ...) at one step of a sequence (B, T, ...)."""
        return State(self.deter[:, step], self.stoch[:, step])

    def detach(self) -> State:
        """The same values without gradient history."""
        return State(self.deter.detach(), self.stoch.detach())


class Observed(NamedTuple):
    """What `observe` returns; every field has leading axes (B, T)."""

    state: State
    post: Tensor  # (B, T, S, C) log-probabilities
    prior: Tensor  # (B, T, S, C) log-probabilities


def sample_one_hot(log_prob: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one-hot samples with straight-through gradients.

    Args:
        log_prob: (..., C) float32, normalised log-probabilities.
        generator: source of randomness.

    Returns:
        (..., C) float32, one-hot in value; its gradient is that of the probabilities.
    """
    prob = log_prob.exp()
    race = torch.empty_like(prob).exponential_(generator=generator)
    index = (prob.detach() / race.clamp_min(1e-30)).argmax(dim=-1)
    one_hot = functional.one_hot(index, prob.shape[-1]).to(prob.dtype)
    return one_hot + prob - prob.detach()


class RSSM(nn.Module):
    """Posterior filtering and prior dreaming over (deter, stoch) latents."""

    neutral_action: Tensor

    def __init__(self, config: WorldModelConfig, embed_size: int, neutral_action: Tensor) -> None:
        super().__init__()
        self.config = config
        action_size = neutral_action.numel()
        stoch_size = config.stoch * config.classes
        hidden = config.hidden
        self.register_buffer("neutral_action", neutral_action.float())
        self.stoch_in = nn.Linear(stoch_size, hidden)
        self.action_in = nn.Linear(action_size, hidden, bias=False)
        self.in_norm = nn.LayerNorm(hidden, eps=1e-3)
        self.cell = nn.GRUCell(hidden, config.deter)
        self.prior_head = nn.Sequential(
            nn.Linear(config.deter, hidden),
            nn.LayerNorm(hidden, eps=1e-3),
            nn.ELU(),
            nn.Linear(hidden, stoch_size),
        )
        self.post_deter = nn.Linear(config.deter, hidden)
        self.post_embed = nn.Linear(embed_size, hidden, bias=False)
        self.post_head = nn.Sequential(
            nn.LayerNorm(hidden, eps=1e-3), nn.ELU(), nn.Linear(hidden, stoch_size)
        )
        self.apply(_initialise)

    def initial(self, batch_size: int) -> State:
        """The state before anything was seen: zeros, shapes (B, D) and (B, S, C)."""
        weight = self.post_deter.weight
        return State(
            weight.new_zeros(batch_size, self.config.deter),
            weight.new_zeros(batch_size, self.config.stoch, self.config.classes),
        )

    def observe(
        self,
        embed: Tensor,
        previous_action: Tensor,
        is_first: Tensor,
        state: State | None = None,
        generator: torch.Generator | None = None,
    ) -> Observed:
        """Filter a sequence through the posterior.

        Args:
            embed: (B, T, E) float32, embedded observations.
            previous_action: (B, T, A) float32, the action executed before each observation.
            is_first: (B, T) bool; where true, state and action before are forgotten.
            state: state before the first step, zeros when None.
            generator: source of randomness for the samples.
        """
        batch, length = is_first.shape
        assert embed.shape[:2] == (batch, length), (embed.shape, is_first.shape)
        assert previous_action.shape[:2] == (batch, length), previous_action.shape
        first = is_first.unsqueeze(-1)
        action = torch.where(first, self.neutral_action, previous_action)
        action_in = self.action_in(action).unbind(1)  # T x (B, hidden)
        embed_in = self.post_embed(embed).unbind(1)
        keep = (~first).to(embed.dtype).unbind(1)
        state = self.initial(batch) if state is None else state
        deters, stochs, posts = [], [], []
        deter, stoch = state
        for t in range(length):
            deter = self._transition(deter * keep[t], stoch.flatten(1) * keep[t], action_in[t])
            post = self._log_prob(self.post_head(self.post_deter(deter) + embed_in[t]))
            stoch = sample_one_hot(post, generator)
            deters.append(deter)
            stochs.append(stoch)
            posts.append(post)
        all_deter = torch.stack(deters, dim=1)  # (B, T, D)
        prior = self._log_prob(self.prior_head(all_deter))
        return Observed(
            State(all_deter, torch.stack(stochs, dim=1)), torch.stack(posts, dim=1), prior
        )

    def imagine_step(
        self, state: State, action: Tensor, generator: torch.Generator | None = None
    ) -> State:
        """Dream one step ahead with the prior: `action` (B, A) -> next state, sampled."""
        deter = self._transition(state.deter, state.stoch.flatten(1), self.action_in(action))
        prior = self._log_prob(self.prior_head(deter))
        return State(deter, sample_one_hot(prior, generator))

    def imagine(
        self, start: State, action: Tensor, generator: torch.Generator | None = None
    ) -> State:
        """Dream `action` (B, H, A) from `start`; the states after each action, axes (B, H)."""
        states, state = [], start
        for t in range(action.shape[1]):
            state = self.imagine_step(state, action[:, t], generator)
            states.append(state)
        return State(
            torch.stack([s.deter for s in states], dim=1),
            torch.stack([s.stoch for s in states], dim=1),
        )

    def _transition(self, deter: Tensor, stoch_flat: Tensor, action_in: Tensor) -> Tensor:
        inputs = functional.elu(self.in_norm(self.stoch_in(stoch_flat) + action_in))
        return self.cell(inputs, deter)

    def _log_prob(self, logits: Tensor) -> Tensor:
        shape = (*logits.shape[:-1], self.config.stoch, self.config.classes)
        log_prob = functional.log_softmax(logits.reshape(shape).float(), dim=-1)
        if self.config.unimix > 0:
            uniform = self.config.unimix / self.config.classes
            log_prob = (log_prob.exp() * (1 - self.config.unimix) + uniform).log()
        return log_prob


def kl_divergence(post: Tensor, prior: Tensor) -> Tensor:
    """KL(post || prior) of (..., S, C) log-probabilities, summed over the variables: (...)."""
    return (post.exp() * (post - prior)).sum(dim=(-2, -1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.GRUCell):
        nn.init.xavier_uniform_(module.weight_ih)
        nn.init.orthogonal_(module.weight_hh)
        nn.init.zeros_(module.bias_ih)
        nn.init.zeros_(module.bias_hh)
