# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The loop over time of the posterior filter with a backward pass written by hand.

Autograd would run two small matrix products per weight and step, and add the results up. Here the
backward loop only carries the gradients of the states; those of the weights are one large product
per weight over all steps. Gradients equal autograd's (a test compares them); on a CPU a training
step takes about half as long.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diwa.world_model.sampling import draw_index


class FilterWeights(NamedTuple):
    """Everything that the loop multiplies with; linear weights are (outputs, inputs)."""

    stoch_in: Tensor
    in_scale: Tensor
    in_shift: Tensor
    gru_in: Tensor
    gru_in_bias: Tensor
    gru_state: Tensor
    gru_state_bias: Tensor
    post_deter: Tensor
    post_scale: Tensor
    post_shift: Tensor
    post_out: Tensor
    post_out_bias: Tensor


class FilterSizes(NamedTuple):
    """Plain settings of the loop."""

    stoch: int
    classes: int
    eps: float


def _elu_slope(output: Tensor) -> Tensor:
    """Derivative of ELU from its output."""
    return (output + 1).clamp_max(1)


class FusedFilter(torch.autograd.Function):
    """(action_in, embed_in, keep, starts, deter, stoch, weights...) -> deters, stochs, posteriors.

    Shapes: action_in (T, B, H) and embed_in (T, B, H) with all biases added, keep (T, B, 1),
    starts (T, B, D), deter (B, D), stoch (B, S*C); results (T, B, D), (T, B, S*C), (T, B, S, C).
    """

    @staticmethod
    def forward(
        ctx: Any,
        sizes: FilterSizes,
        generator: torch.Generator | None,
        action_in: Tensor,
        embed_in: Tensor,
        keep: Tensor,
        starts: Tensor,
        deter: Tensor,
        stoch: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Filter all steps, remembering what the backward pass needs."""
        w = FilterWeights(*weights)
        hidden = [action_in.shape[-1]]
        shape = (-1, sizes.stoch, sizes.classes)
        rows: list[tuple[Tensor, ...]] = []  # what the backward loop needs, one entry a step
        deters, stochs, posts = [], [], []
        for t in range(len(keep)):
            deter, stoch = torch.addcmul(starts[t], deter, keep[t]), stoch * keep[t]
            u = torch.addmm(action_in[t], stoch, w.stoch_in.t())
            n, u_mean, u_rstd = torch.native_layer_norm(
                u, hidden, w.in_scale, w.in_shift, sizes.eps
            )
            x = torch.nn.functional.elu(n)
            gates_x = torch.addmm(w.gru_in_bias, x, w.gru_in.t())
            gates_h = torch.addmm(w.gru_state_bias, deter, w.gru_state.t())
            rx, zx, cx = gates_x.chunk(3, dim=1)
            rh, zh, ch = gates_h.chunk(3, dim=1)
            r, z = (rx + rh).sigmoid_(), (zx + zh).sigmoid_()
            c = torch.addcmul(cx, r, ch).tanh_()
            after = torch.lerp(c, deter, z)
            v = torch.addmm(embed_in[t], after, w.post_deter.t())
            m, v_mean, v_rstd = torch.native_layer_norm(
                v, hidden, w.post_scale, w.post_shift, sizes.eps
            )
            y = torch.nn.functional.elu(m)
            logits = torch.addmm(w.post_out_bias, y, w.post_out.t()).view(shape)
            log_prob = torch.log_softmax(logits, dim=-1)
            prob = log_prob.exp()
            index = draw_index(prob, generator)
            drawn = torch.zeros_like(prob).scatter_(-1, index, 1.0).flatten(1)
            rows.append(
                (deter, stoch, u, u_mean, u_rstd, x, r, z, c, ch, v, v_mean, v_rstd, y, prob, after)
            )
            deter, stoch = after, drawn
            deters.append(deter)
            stochs.append(stoch)
            posts.append(log_prob)
        ctx.rows, ctx.hidden = rows, hidden
        ctx.save_for_backward(keep, *weights)
        return torch.stack(deters), torch.stack(stochs), torch.stack(posts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Carry state gradients back through time, then one product per weight."""
        d_deters, d_stochs, d_posts = grads
        keep, *weights = ctx.saved_tensors
        w = FilterWeights(*weights)
        rows = ctx.rows
        d_deter = torch.zeros_like(rows[0][0])
        d_stoch = torch.zeros_like(rows[0][1])
        steps: list[tuple[Tensor, ...]] = []
        for t in range(len(rows) - 1, -1, -1):
            deter, _, u, u_mean, u_rstd, x, r, z, c, ch, v, v_mean, v_rstd, y, prob, _ = rows[t]
            d_log = d_posts[t] + (d_stochs[t] + d_stoch).view_as(prob) * prob
            d_logits = (d_log - prob * d_log.sum(-1, keepdim=True)).flatten(1)
            d_m = (d_logits @ w.post_out) * _elu_slope(y)
            d_v, d_ps, d_pb = torch.ops.aten.native_layer_norm_backward(
                d_m, v, ctx.hidden, v_mean, v_rstd, w.post_scale, w.post_shift, [True] * 3
            )
            d_after = torch.addmm(d_deters[t] + d_deter, d_v, w.post_deter)
            d_c = d_after * (1 - z) * (1 - c * c)
            d_z = d_after * (deter - c) * z * (1 - z)
            d_r = d_c * ch * r * (1 - r)
            d_gates_x = torch.cat((d_r, d_z, d_c), dim=1)
            d_gates_h = torch.cat((d_r, d_z, d_c * r), dim=1)
            d_n = (d_gates_x @ w.gru_in) * _elu_slope(x)
            d_u, d_is, d_ib = torch.ops.aten.native_layer_norm_backward(
                d_n, u, ctx.hidden, u_mean, u_rstd, w.in_scale, w.in_shift, [True] * 3
            )
            d_start = torch.addmm(d_after * z, d_gates_h, w.gru_state)
            d_deter = d_start * keep[t]
            d_stoch = (d_u @ w.stoch_in) * keep[t]
            layer = (d_is, d_ib, d_ps, d_pb)
            steps.append((d_u, d_v, d_gates_x, d_gates_h, d_logits, *layer, d_start))
        steps.reverse()
        d_starts = torch.stack([step[9] for step in steps])
        inputs = (*_inputs(steps), None, d_starts, d_deter, d_stoch)
        return (None, None, *inputs, *_weights(steps, rows))


def _inputs(steps: list[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Gradients of the inputs of every step: actions and embeddings."""
    return torch.stack([step[0] for step in steps]), torch.stack([step[1] for step in steps])


def _weights(steps: list[tuple[Tensor, ...]], rows: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Gradients of the weights, in the order of `FilterWeights`."""

    def joined(index: int) -> Tensor:
        return torch.cat([step[index] for step in steps])

    def seen(index: int) -> Tensor:
        return torch.cat([row[index] for row in rows])

    def total(index: int) -> Tensor:
        return torch.stack([step[index] for step in steps]).sum(0)

    d_u, d_v, d_x, d_h, d_logits = (joined(index) for index in range(5))
    return (
        d_u.t() @ seen(1),
        total(5),
        total(6),
        d_x.t() @ seen(5),
        d_x.sum(0),
        d_h.t() @ seen(0),
        d_h.sum(0),
        d_v.t() @ seen(15),
        total(7),
        total(8),
        d_logits.t() @ seen(13),
        d_logits.sum(0),
    )
