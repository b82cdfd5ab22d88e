# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What is served: a recurrent filter and a diffusion policy behind three calls.

The same agent acts in the simulator's evaluation and in the policy server. Call `observe` with
every frame at the control rate, `plan` when a new chunk is needed, `reset` when a skill starts.
On a CPU the models run through `StepFilter` and `StepChain`, which are made for one robot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diwa.config import parse_config
from diwa.data.contract import Contract
from diwa.errors import ConfigError
from diwa.files import sha256_file
from diwa.policy.actions import executable
from diwa.policy.diffusion import DiffusionPolicy
from diwa.policy.step_chain import StepChain
from diwa.reward.classifier import SuccessClassifier
from diwa.train.checkpoint import FILE_NAME, load_weights, save_weights
from diwa.train.models import build_classifier, build_policy, build_world_model
from diwa.world_model.model import WorldModel
from diwa.world_model.step_filter import StepFilter

KIND = "agent"
HASH_DIGITS = 16


class Agent:
    """World model, policy and success classifier of one skill.

    Args:
        world_model: filters observations into latents.
        policy: latents to chunks.
        classifier: probability that the skill is done.
        meta: description that travels with the checkpoint.
        seed: every `reset` starts the same random sequence from it, unless it gets another.
        overlap: filter with two threads, on a CPU; see `StepFilter`.

    Attributes:
        hash: of the checkpoint that it was loaded from; empty when it was put together in memory.
    """

    def __init__(
        self,
        world_model: WorldModel,
        policy: DiffusionPolicy,
        classifier: SuccessClassifier,
        meta: Mapping[str, Any],
        seed: int = 0,
        *,
        overlap: bool = False,
    ) -> None:
        self.world_model = world_model.eval().requires_grad_(False)
        self.policy = policy.eval().requires_grad_(False)
        self.classifier = classifier.eval().requires_grad_(False)
        self.meta = dict(meta)
        self.contract = parse_config(Contract, meta["contract"], "checkpoint")
        self.skill = str(meta["task"])
        self.act_horizon = policy.config.act_horizon
        self.keys = world_model.config.observed
        self.seed = seed
        self.hash = ""
        self._generator = torch.Generator(device=world_model.device)
        fits = StepFilter.fits(world_model)
        self._filter = StepFilter(world_model, overlap=overlap) if fits else None
        self._chain = StepChain(policy) if StepChain.fits(policy) else None
        self.reset()

    @classmethod
    def load(
        cls,
        directory: Path,
        device: str = "cpu",
        seed: int = 0,
        serve_steps: int | None = None,
        *,
        overlap: bool = False,
    ) -> Agent:
        """Read a checkpoint folder written by `save`.

        Args:
            directory: of the checkpoint.
            device: where the models run.
            seed: see the class.
            serve_steps: DDIM steps when acting; None: as the checkpoint says.
            overlap: see the class.
        """
        tensors, meta = load_weights(Path(directory), KIND)
        source = str(directory)
        meta = {**meta, "policy": _with_steps(meta["policy"], serve_steps)}
        parts = {
            "world_model": build_world_model(meta, source),
            "policy": build_policy(meta, source),
            "classifier": build_classifier(meta, source),
        }
        for name, module in parts.items():
            prefix = f"{name}."
            module.load_state_dict(
                {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            )
            module.to(device)
        agent = cls(
            parts["world_model"],  # type: ignore[arg-type]
            parts["policy"],  # type: ignore[arg-type]
            parts["classifier"],  # type: ignore[arg-type]
            meta,
            seed,
            overlap=overlap,
        )
        agent.hash = sha256_file(Path(directory) / FILE_NAME)[:HASH_DIGITS]
        return agent

    def save(self, directory: Path) -> None:
        """Write everything that serving needs into one folder."""
        modules = {
            "world_model": self.world_model,
            "policy": self.policy,
            "classifier": self.classifier,
        }
        tensors = {
            f"{prefix}.{name}": value
            for prefix, module in modules.items()
            for name, value in module.state_dict().items()
        }
        save_weights(directory, tensors, {**self.meta, "kind": KIND})

    def reset(self, seed: int | None = None) -> None:
        """Forget everything: the next observation is the first of a skill."""
        self._state = self.world_model.rssm.initial(1)
        self._feat = self._state.feat
        self._is_first = True
        if self._filter is not None:
            self._filter.reset()
        if self._chain is not None:
            self._chain.refresh()
        self._queue: deque[np.ndarray] = deque()
        self._generator.manual_seed(self.seed if seed is None else seed)

    @torch.inference_mode()
    def observe(self, observation: Mapping[str, np.ndarray], previous_action: np.ndarray) -> None:
        """Filter one frame.

        Args:
            observation: per key one array as `diwa.data.frames.compose_observation` makes it.
            previous_action: (7,) float32, what was really executed since the last frame;
                ignored in the first one.
        """
        missing = [key for key in self.keys if key not in observation]
        if missing:
            raise ConfigError(
                f"observation for skill {self.skill}",
                got=f"keys {sorted(observation)}",
                expected=f"{', '.join(missing)} as well",
                hint="run the robot under the contract that the checkpoint carries",
            )
        device = self.world_model.device
        frame = {key: torch.as_tensor(observation[key], device=device) for key in self.keys}
        action = torch.as_tensor(previous_action, dtype=torch.float32, device=device)
        if self._filter is not None:
            self._state = self._filter.step(frame, action, self._generator)
        else:
            first = torch.tensor([[self._is_first]], device=device)
            sequence = {key: value[None, None] for key, value in frame.items()}
            seen = self.world_model.observe(
                sequence, action[None, None], first, self._state, self._generator
            )
            self._state = seen.state.at(0)
        self._feat = self._state.feat
        self._is_first = False

    @torch.inference_mode()
    def plan(self) -> np.ndarray:
        """A chunk of executable actions for the newest frame: (Ta, 7) float32."""
        sampler = self.policy if self._chain is None else self._chain
        chunk = sampler.sample(self._feat, self._generator)[0, : self.act_horizon]
        return executable(chunk, self.contract.action.gripper_threshold).cpu().numpy()

    @torch.inference_mode()
    def success_probability(self) -> float:
        """Probability in [0, 1] that the skill is done in the newest frame."""
        return float(self.classifier(self._feat)[0])

    def act(self, observation: Mapping[str, np.ndarray], previous_action: np.ndarray) -> np.ndarray:
        """Observe and return the action for this control step (7,); plans when out of actions."""
        self.observe(observation, previous_action)
        if not self._queue:
            self._queue.extend(self.plan())
        return self._queue.popleft()


def _with_steps(policy: Mapping[str, Any], serve_steps: int | None) -> dict[str, Any]:
    return dict(policy) if serve_steps is None else {**policy, "serve_steps": serve_steps}
