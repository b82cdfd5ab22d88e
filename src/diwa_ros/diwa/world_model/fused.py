# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The loop over time of the posterior filter with a backward pass written by hand.

Autograd would run two small matrix products per weight and step, and add the results up. Here the
backward loop only carries the gradients of the states; those of the weights are one large product
per weight over all steps. Gradients equal autograd's (a test compares them); on a CPU a training
step takes about half as long.

With `FilterSizes.half` the matrix products take bfloat16 and add up in float32; states, gates,
norms and probabilities stay float32. CPUs with AMX multiply two to six times as fast that way.
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
    half: bool = False  # matrix products in bfloat16


def _cast(value: Tensor, half: bool) -> Tensor:
    return value.bfloat16() if half else value


def _product(value: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
    """`value @ weight + added` in float32; the product in the weight's type."""
    if weight.dtype == torch.float32:
        return value @ weight if added is None else torch.addmm(added, value, weight)
    result = (value.to(weight.dtype) @ weight).float()
    return result if added is None else result.add_(added)


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
        m_in, m_x, m_h, m_v, m_out = (
            _cast(matrix, sizes.half).t()
            for matrix in (w.stoch_in, w.gru_in, w.gru_state, w.post_deter, w.post_out)
        )
        hidden = [action_in.shape[-1]]
        shape = (-1, sizes.stoch, sizes.classes)
        rows: list[tuple[Tensor, ...]] = []  # what the backward loop needs, one entry a step
        deters, stochs, posts = [], [], []
        for t in range(len(keep)):
            deter, stoch = torch.addcmul(starts[t], deter, keep[t]), stoch * keep[t]
            u = _product(stoch, m_in, action_in[t])
            n, u_mean, u_rstd = torch.native_layer_norm(
                u, hidden, w.in_scale, w.in_shift, sizes.eps
            )
            x = torch.nn.functional.elu(n)
            gates_x = _product(x, m_x, w.gru_in_bias)
            gates_h = _product(deter, m_h, w.gru_state_bias)
            rx, zx, cx = gates_x.chunk(3, dim=1)
            rh, zh, ch = gates_h.chunk(3, dim=1)
            r, z = (rx + rh).sigmoid_(), (zx + zh).sigmoid_()
            c = torch.addcmul(cx, r, ch).tanh_()
            after = torch.lerp(c, deter, z)
            v = _product(after, m_v, embed_in[t])
            m, v_mean, v_rstd = torch.native_layer_norm(
                v, hidden, w.post_scale, w.post_shift, sizes.eps
            )
            y = torch.nn.functional.elu(m)
            logits = _product(y, m_out, w.post_out_bias).view(shape)
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
        ctx.rows, ctx.hidden, ctx.half = rows, hidden, sizes.half
        ctx.save_for_backward(keep, *weights)
        return torch.stack(deters), torch.stack(stochs), torch.stack(posts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Carry state gradients back through time, then one product per weight."""
        d_deters, d_stochs, d_posts = grads
        keep, *weights = ctx.saved_tensors
        w = FilterWeights(*weights)
        m_in, m_x, m_h, m_v, m_out = (
            _cast(matrix, ctx.half)
            for matrix in (w.stoch_in, w.gru_in, w.gru_state, w.post_deter, w.post_out)
        )
        rows = ctx.rows
        d_deter = torch.zeros_like(rows[0][0])
        d_stoch = torch.zeros_like(rows[0][1])
        steps: list[tuple[Tensor, ...]] = []
        for t in range(len(rows) - 1, -1, -1):
            deter, _, u, u_mean, u_rstd, x, r, z, c, ch, v, v_mean, v_rstd, y, prob, _ = rows[t]
            d_log = d_posts[t] + (d_stochs[t] + d_stoch).view_as(prob) * prob
            d_logits = (d_log - prob * d_log.sum(-1, keepdim=True)).flatten(1)
            d_m = _product(d_logits, m_out) * _elu_slope(y)
            d_v, d_ps, d_pb = torch.ops.aten.native_layer_norm_backward(
                d_m, v, ctx.hidden, v_mean, v_rstd, w.post_scale, w.post_shift, [True] * 3
            )
            d_after = _product(d_v, m_v, d_deters[t] + d_deter)
            d_c = d_after * (1 - z) * (1 - c * c)
            d_z = d_after * (deter - c) * z * (1 - z)
            d_r = d_c * ch * r * (1 - r)
            d_gates_x = torch.cat((d_r, d_z, d_c), dim=1)
            d_gates_h = torch.cat((d_r, d_z, d_c * r), dim=1)
            d_n = _product(d_gates_x, m_x) * _elu_slope(x)
            d_u, d_is, d_ib = torch.ops.aten.native_layer_norm_backward(
                d_n, u, ctx.hidden, u_mean, u_rstd, w.in_scale, w.in_shift, [True] * 3
            )
            d_start = _product(d_gates_h, m_h, d_after * z)
            d_deter = d_start * keep[t]
            d_stoch = _product(d_u, m_in) * keep[t]
            layer = (d_is, d_ib, d_ps, d_pb)
            steps.append((d_u, d_v, d_gates_x, d_gates_h, d_logits, *layer, d_start))
        steps.reverse()
        d_starts = torch.stack([step[9] for step in steps])
        inputs = (*_inputs(steps), None, d_starts, d_deter, d_stoch)
        return (None, None, *inputs, *_weights(steps, rows, ctx.half))


def _inputs(steps: list[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Gradients of the inputs of every step: actions and embeddings."""
    return torch.stack([step[0] for step in steps]), torch.stack([step[1] for step in steps])


def _weights(
    steps: list[tuple[Tensor, ...]], rows: list[tuple[Tensor, ...]], half: bool
) -> tuple[Tensor, ...]:
    """Gradients of the weights, in the order of `FilterWeights`."""

    def product(step: int, row: int) -> Tensor:
        gradients = torch.cat([_cast(item[step], half) for item in steps])
        return (gradients.t() @ torch.cat([_cast(item[row], half) for item in rows])).float()

    def total(index: int) -> Tensor:
        return torch.stack([step[index] for step in steps]).sum(0)

    def sums(index: int) -> Tensor:
        return torch.stack([step[index].sum(0) for step in steps]).sum(0)

    return (
        product(0, 1),
        total(5),
        total(6),
        product(2, 5),
        sums(2),
        product(3, 0),
        sums(3),
        product(1, 15),
        total(7),
        total(8),
        product(4, 13),
        sums(4),
    )
