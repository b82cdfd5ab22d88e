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
from diwa.world_model.fast_dream import DreamLayers, dream_ahead
from diwa.world_model.fused import FilterSizes, FilterWeights, FusedFilter
from diwa.world_model.initialise import initialise_xavier
from diwa.world_model.sampling import sample_one_hot


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
        self.post_norm = nn.LayerNorm(hidden, eps=1e-3)
        self.post_out = nn.Linear(hidden, stoch_size)
        self.start = (
            nn.Sequential(
                nn.Linear(embed_size, hidden),
                nn.LayerNorm(hidden, eps=1e-3),
                nn.ELU(),
                nn.Linear(hidden, config.deter),
                nn.Tanh(),
            )
            if config.start_from_observation
            else None
        )
        self.apply(initialise_xavier)

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
        embed = embed.float()
        first = is_first.unsqueeze(-1)
        action = torch.where(first, self.neutral_action, previous_action)
        inputs = self.action_in(action).float().transpose(0, 1)  # (T, B, hidden)
        seen = self.post_embed(embed).float().transpose(0, 1)
        keep = (~first).to(embed.dtype).transpose(0, 1)
        state = self.initial(batch) if state is None else state
        starts = self._starts(embed, is_first).transpose(0, 1)
        loop = self._fused_loop if self._can_fuse(embed) else self._plain_loop
        after, post = loop(inputs, seen, keep, starts, state, generator)
        return Observed(after, post, self.prior(after.deter))

    def _starts(self, embed: Tensor, is_first: Tensor) -> Tensor:
        """What `deter` is before each first frame, (B, T, D); zero elsewhere."""
        starts = embed.new_zeros(*is_first.shape, self.config.deter)
        if self.start is not None and embed.is_cuda:  # choosing frames would wait for the device
            starts = torch.where(is_first.unsqueeze(-1), self.start(embed).float(), starts)
        elif self.start is not None:
            starts = starts.masked_scatter(
                is_first.unsqueeze(-1), self.start(embed[is_first]).float()
            )
        return starts

    def _can_fuse(self, value: Tensor) -> bool:
        plain = value.device.type == "cpu" and value.dtype == torch.float32
        return plain and self.config.unimix == 0 and _cpu_precision() is not None

    def _plain_loop(
        self,
        inputs: Tensor,
        seen: Tensor,
        keep: Tensor,
        starts: Tensor,
        state: State,
        generator: torch.Generator | None,
    ) -> tuple[State, Tensor]:
        """Filter all steps with autograd: states (B, T, ...) and posteriors (B, T, S, C)."""
        deters, stochs, posts = [], [], []
        deter, stoch = state
        for t in range(len(keep)):
            before = deter * keep[t] + starts[t]
            deter = self._transition(before, stoch.flatten(1) * keep[t], inputs[t])
            hidden = self.post_norm(self.post_deter(deter) + seen[t])
            post = self._log_prob(self.post_out(functional.elu(hidden)))
            stoch = sample_one_hot(post, generator)
            deters.append(deter)
            stochs.append(stoch)
            posts.append(post)
        states = State(torch.stack(deters, dim=1), torch.stack(stochs, dim=1))
        return states, torch.stack(posts, dim=1)

    def _fused_loop(
        self,
        inputs: Tensor,
        seen: Tensor,
        keep: Tensor,
        starts: Tensor,
        state: State,
        generator: torch.Generator | None,
    ) -> tuple[State, Tensor]:
        """The same with the hand-written backward pass."""
        weights = FilterWeights(
            self.stoch_in.weight,
            self.in_norm.weight,
            self.in_norm.bias,
            self.cell.weight_ih,
            self.cell.bias_ih,
            self.cell.weight_hh,
            self.cell.bias_hh,
            self.post_deter.weight,
            self.post_norm.weight,
            self.post_norm.bias,
            self.post_out.weight,
            self.post_out.bias,
        )
        half = _cpu_precision() == torch.bfloat16
        sizes = FilterSizes(self.config.stoch, self.config.classes, self.in_norm.eps, half)
        deter, stoch, post = FusedFilter.apply(
            sizes,
            generator,
            inputs + self.stoch_in.bias,
            seen + self.post_deter.bias,
            keep,
            starts,
            state.deter,
            state.stoch.flatten(1),
            *weights,
        )
        split = (*deter.shape[:2], self.config.stoch, self.config.classes)
        states = State(deter.transpose(0, 1), stoch.view(split).transpose(0, 1))
        return states, post.transpose(0, 1)

    def prior(self, deter: Tensor) -> Tensor:
        """What is expected before the frame is seen: (..., D) -> (..., S, C) log-probabilities."""
        return self._log_prob(self.prior_head(deter))

    def imagine_step(
        self, state: State, action: Tensor, generator: torch.Generator | None = None
    ) -> State:
        """Dream one step ahead with the prior: `action` (B, A) -> next state, sampled."""
        deter = self._transition(state.deter, state.stoch.flatten(1), self.action_in(action))
        return State(deter, sample_one_hot(self.prior(deter), generator))

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

    @torch.no_grad()
    def dream(
        self, start: State, action: Tensor, generator: torch.Generator | None = None
    ) -> State:
        """The last state of `imagine`, without gradients and faster.

        Args:
            start: sampled states, (B, ...).
            action: (B, H, A) float32.
            generator: source of randomness.
        """
        precision = _cpu_precision()
        if self._can_fuse(start.deter) and precision is not None:
            layers = DreamLayers(self.stoch_in, self.in_norm, self.cell, self.prior_head)
            with torch.autocast("cpu", enabled=False):
                known = self.action_in(action)
                return State(*dream_ahead(layers, *start, known, generator, precision))
        return self.imagine(start, action, generator).at(-1)

    def _transition(self, deter: Tensor, stoch_flat: Tensor, action_in: Tensor) -> Tensor:
        inputs = functional.elu(self.in_norm(self.stoch_in(stoch_flat) + action_in))
        return self.cell(inputs, deter).float()

    def _log_prob(self, logits: Tensor) -> Tensor:
        shape = (*logits.shape[:-1], self.config.stoch, self.config.classes)
        log_prob = functional.log_softmax(logits.reshape(shape).float(), dim=-1)
        if self.config.unimix > 0:
            uniform = self.config.unimix / self.config.classes
            log_prob = (log_prob.exp() * (1 - self.config.unimix) + uniform).log()
        return log_prob


def _cpu_precision() -> torch.dtype | None:
    """Of matrix products in the fused loop; None: it knows no loop for what autocast wants."""
    if not torch.is_autocast_enabled("cpu"):
        return torch.float32
    wanted = torch.get_autocast_dtype("cpu")
    return wanted if wanted == torch.bfloat16 else None


def kl_divergence(post: Tensor, prior: Tensor) -> Tensor:
    """KL(post || prior) of (..., S, C) log-probabilities, summed over the variables: (...)."""
    return (post.exp() * (post - prior)).sum(dim=(-2, -1))
