# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The best learner so far, to be kept, and to go back to when learning collapses."""

from __future__ import annotations

import copy
import math
from typing import Any

from diwa.rl.ppo import PPO

SLOW_DOWN = 0.5  # of the actor's learning rate, after going back


class Keeper:
    """Remembers the best weights by a score.

    Args:
        learner: its actor, critic and optimisers are kept.
        score: of the policy before learning, in [0, 1].
        collapse_drop: a score this much below the best is a collapse.

    Attributes:
        score: of the best weights.
        iteration: after which they were found; 0: the base policy.
        last: after which the latest score was taken, or of the weights that were gone back to.
        since: scores since then.
        rollbacks: how often learning went back to them.
    """

    def __init__(self, learner: PPO, score: float, collapse_drop: float) -> None:
        self._learner = learner
        self._collapse_drop = collapse_drop
        self._best = self._snapshot()
        self.score = score
        self.iteration = 0
        self.last = 0
        self.since = 0
        self.rollbacks = 0

    def offer(self, score: float, iteration: int) -> bool:
        """Keep the learner as it is now if it is better; whether it is."""
        self.since += 1
        self.last = iteration
        if not score > self.score:
            return False
        self._best = self._snapshot()
        self.score, self.iteration, self.since = score, iteration, 0
        return True

    def collapsed(self, score: float) -> bool:
        """Whether learning went wrong: the score fell far, or is no number."""
        return math.isnan(score) or score < self.score - self._collapse_drop

    def roll_back(self) -> None:
        """Continue from the best, with smaller steps."""
        self.restore()
        self.last = self.iteration
        self._learner.lr_scale *= SLOW_DOWN
        self.rollbacks += 1

    def restore(self) -> None:
        """Put the best weights and optimiser states back.

        The iteration goes back too: a critic that has learned nothing yet, as the base policy's,
        is to learn alone again before the actor follows it.
        """
        kept = copy.deepcopy(self._best)
        self._learner.actor.load_state_dict(kept["actor"])
        self._learner.critic.load_state_dict(kept["critic"])
        self._learner.actor_optimiser.load_state_dict(kept["actor_optimiser"])
        self._learner.critic_optimiser.load_state_dict(kept["critic_optimiser"])
        self._learner.iteration = kept["iteration"]

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {
            "best": self._best,
            "score": self.score,
            "iteration": self.iteration,
            "last": self.last,
            "since": self.since,
            "rollbacks": self.rollbacks,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self._best = state["best"]
        self.score = float(state["score"])
        self.iteration, self.last = int(state["iteration"]), int(state["last"])
        self.since = int(state["since"])
        self.rollbacks = int(state["rollbacks"])

    def _snapshot(self) -> dict[str, Any]:
        learner = self._learner
        return copy.deepcopy(
            {
                "actor": dict(learner.actor.state_dict()),
                "critic": dict(learner.critic.state_dict()),
                "actor_optimiser": learner.actor_optimiser.state_dict(),
                "critic_optimiser": learner.critic_optimiser.state_dict(),
                "iteration": learner.iteration,
            }
        )
