# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recurrent model against torchrl's: filtering with its backward pass, and dreaming."""

from __future__ import annotations

import argparse
import functools

import torch
from side_by_side import Comparison, compare, keep, threads
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor
from torch.nn import functional
from torchrl.modules.models.model_based import RSSMPosteriorV3, RSSMPriorV3, RSSMRolloutV3

from diwa.world_model.config import InputConfig, WorldModelConfig
from diwa.world_model.rssm import RSSM, State, kl_divergence

PEER = "torchrl"
BATCH, LENGTH = 16, 32
DETER, STOCH, CLASSES, EMBED, HIDDEN, ACTION = 512, 32, 32, 1024, 512, 7
DREAMS, DREAM_LENGTH = 512, 15


def our_model() -> RSSM:
    """Ours, at the sizes of the comparison."""
    torch.manual_seed(0)
    config = WorldModelConfig(
        inputs=(InputConfig(key="proprio"),),
        deter=DETER,
        stoch=STOCH,
        classes=CLASSES,
        hidden=HIDDEN,
        embed=EMBED,
    )
    return RSSM(config, EMBED, torch.zeros(ACTION))


def their_model() -> tuple[RSSMPriorV3, RSSMPosteriorV3, RSSMRolloutV3]:
    """The peer with one GRU cell and one prior layer: the same kind and size."""
    torch.manual_seed(0)
    prior = RSSMPriorV3(
        action_shape=torch.Size([ACTION]),
        action_dim=ACTION,
        hidden_dim=HIDDEN,
        rnn_hidden_dim=DETER,
        num_categoricals=STOCH,
        num_classes=CLASSES,
        prior_num_layers=1,
    )
    posterior = RSSMPosteriorV3(
        hidden_dim=HIDDEN,
        num_categoricals=STOCH,
        num_classes=CLASSES,
        rnn_hidden_dim=DETER,
        obs_embed_dim=EMBED,
    )
    rollout = RSSMRolloutV3(
        TensorDictModule(
            prior,
            in_keys=["state", "belief", "action"],
            out_keys=[("next", "prior_logits"), ("next", "state"), ("next", "belief")],
        ),
        TensorDictModule(
            posterior,
            in_keys=[("next", "belief"), ("next", "encoded_latents")],
            out_keys=[("next", "posterior_logits"), ("next", "state")],
        ),
    )
    return prior, posterior, rollout


def filtering(count: int) -> Comparison:
    """Posterior rollout and KL, forward and backward."""
    embed = torch.randn(BATCH, LENGTH, EMBED)
    action = torch.rand(BATCH, LENGTH, ACTION) * 2 - 1
    first = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    first[:, 0] = True
    model = our_model()
    prior, posterior, rollout = their_model()
    data = TensorDict(
        {
            "state": torch.zeros(BATCH, LENGTH, STOCH * CLASSES),
            "belief": torch.zeros(BATCH, LENGTH, DETER),
            "action": action,
            "is_init": first.unsqueeze(-1),
            "next": {"encoded_latents": embed},
        },
        [BATCH, LENGTH],
    )

    def ours() -> None:
        model.zero_grad(set_to_none=True)
        seen = model.observe(embed, action, first)
        kl = kl_divergence(seen.post, seen.prior).mean()
        (kl + seen.state.feat.square().mean()).backward()

    def theirs() -> None:
        prior.zero_grad(set_to_none=True)
        posterior.zero_grad(set_to_none=True)
        out = rollout(data.clone())["next"]
        shape = (BATCH, LENGTH, STOCH, CLASSES)
        post = functional.log_softmax(out["posterior_logits"].reshape(shape), -1)
        expected = functional.log_softmax(out["prior_logits"].reshape(shape), -1)
        kl = kl_divergence(post, expected).mean()
        feat = torch.cat((out["belief"], out["state"]), dim=-1)
        (kl + feat.square().mean()).backward()

    with threads(count):
        name = f"filter {BATCH} x {LENGTH} with KL, forward + backward"
        return compare(name, ours, PEER, theirs, "<= 0.85")


@torch.no_grad()
def dreaming(count: int, *, short: bool = False) -> Comparison:
    """Prior steps in dreams side by side; `short`: both with products of bfloat16."""
    model = our_model()
    prior, _, _ = their_model()
    actions = torch.rand(DREAMS, DREAM_LENGTH, ACTION) * 2 - 1
    start = torch.zeros(DREAMS, STOCH * CLASSES)
    start[:, ::CLASSES] = 1

    def ours() -> None:
        state = State(torch.zeros(DREAMS, DETER), start.view(DREAMS, STOCH, CLASSES))
        model.dream(state, actions)

    def theirs() -> None:
        state: Tensor = start
        belief = torch.zeros(DREAMS, DETER)
        for t in range(DREAM_LENGTH):
            _, state, belief = prior(state, belief, actions[:, t])

    with threads(count), torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=short):
        name = f"dream {DREAMS} x {DREAM_LENGTH} steps" + (", bf16" if short else "")
        return compare(
            name,
            ours,
            PEER,
            theirs,
            ">= 1.3",
            per_second=DREAMS * DREAM_LENGTH,
            unit="latent steps/s",
        )


def main() -> None:
    """Compare on one and on two threads."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    short = functools.partial(dreaming, short=True)
    keep("world model", [measure(n) for n in (1, 2) for measure in (filtering, dreaming, short)])


if __name__ == "__main__":
    main()
