# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What is served: a recurrent filter and a diffusion policy behind three calls.

The same agent acts in the simulator's evaluation and in the policy server. Call `observe` with
every frame at the control rate, `plan` when a new chunk is needed, `reset` when a skill starts.
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
from diwa.policy.actions import executable
from diwa.policy.diffusion import DiffusionPolicy
from diwa.reward.classifier import SuccessClassifier
from diwa.train.checkpoint import load_weights, save_weights
from diwa.train.models import build_classifier, build_policy, build_world_model
from diwa.world_model.model import WorldModel

KIND = "agent"


class Agent:
    """World model, policy and success classifier of one skill.

    Args:
        world_model: filters observations into latents.
        policy: latents to chunks.
        classifier: probability that the skill is done.
        meta: description that travels with the checkpoint.
        seed: every `reset` starts the same random sequence from it, unless it gets another.
    """

    def __init__(
        self,
        world_model: WorldModel,
        policy: DiffusionPolicy,
        classifier: SuccessClassifier,
        meta: Mapping[str, Any],
        seed: int = 0,
    ) -> None:
        self.world_model = world_model.eval().requires_grad_(False)
        self.policy = policy.eval().requires_grad_(False)
        self.classifier = classifier.eval().requires_grad_(False)
        self.meta = dict(meta)
        self.contract = parse_config(Contract, meta["contract"], "checkpoint")
        self.skill = str(meta["task"])
        self.act_horizon = policy.config.act_horizon
        self.keys = tuple(item.key for item in world_model.config.inputs)
        self.seed = seed
        self._generator = torch.Generator(device=world_model.device)
        self.reset()

    @classmethod
    def load(cls, directory: Path, device: str = "cpu", seed: int = 0) -> Agent:
        """Read a checkpoint folder written by `save`."""
        tensors, meta = load_weights(Path(directory), KIND)
        source = str(directory)
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
        return cls(
            parts["world_model"],  # type: ignore[arg-type]
            parts["policy"],  # type: ignore[arg-type]
            parts["classifier"],  # type: ignore[arg-type]
            meta,
            seed,
        )

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
        self._is_first = True
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
        frame = {
            key: torch.as_tensor(observation[key], device=device)[None, None] for key in self.keys
        }
        action = torch.as_tensor(previous_action, dtype=torch.float32, device=device)[None, None]
        first = torch.tensor([[self._is_first]], device=device)
        seen = self.world_model.observe(frame, action, first, self._state, self._generator)
        self._state = seen.state.at(0)
        self._is_first = False

    @torch.inference_mode()
    def plan(self) -> np.ndarray:
        """A chunk of executable actions for the newest frame: (Ta, 7) float32."""
        chunk = self.policy.sample(self._state.feat, self._generator)[0, : self.act_horizon]
        return executable(chunk, self.contract.action.gripper_threshold).cpu().numpy()

    @torch.inference_mode()
    def success_probability(self) -> float:
        """Probability in [0, 1] that the skill is done in the newest frame."""
        return float(self.classifier(self._state.feat)[0])

    def act(self, observation: Mapping[str, np.ndarray], previous_action: np.ndarray) -> np.ndarray:
        """Observe and return the action for this control step (7,); plans when out of actions."""
        self.observe(observation, previous_action)
        if not self._queue:
            self._queue.extend(self.plan())
        return self._queue.popleft()
