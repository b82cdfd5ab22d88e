# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: blind paired trials of two checkpoints on the simulated table or on an arm; then it ends.

It starts the policy servers itself. Which checkpoint drives which trial is in a sealed file until
the last trial is judged.
"""

from __future__ import annotations

import getpass
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from diwa_msgs.action import RunSkill
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from diwa.config import read_yaml
from diwa.errors import ConfigError
from diwa.trials.plan import identify, inspect_pair, require_unchanged
from diwa.trials.results import as_text, write_results
from diwa.trials.series import PLAN, Series, Trial, begin_series
from diwa_ros.asking import Asking
from diwa_ros.driving import Driver
from diwa_ros.keyboard import Terminal
from diwa_ros.parameters import declare
from diwa_ros.processes import Parameter
from diwa_ros.running import run_node
from diwa_ros.scene_oracle import SceneOracle
from diwa_ros.skill_client import ENDED, FATAL, NEVER
from diwa_ros.trial_judges import PersonJudge, SceneJudge, TrialJudge
from diwa_ros.trial_robots import RealRobot, SimulatedRobot, TrialRobot
from diwa_ros.trial_servers import TrialServers

TRIES = 3  # of a trial that nobody watches, when the machinery broke it off


class TrialSettings(NamedTuple):
    """See the node's parameters."""

    folder: str
    base: str = ""
    adapted: str = ""
    pairs: int = 20
    seed: int = 0
    time_limit_s: float = 12.0
    success_threshold: float = 0.0
    judge: str = "scene"
    simulated: bool = True
    operator: str = ""
    bridge: str = "calvin_bridge"
    policy_params_file: str = ""
    home: bool = True


class Trials(Node):
    """Prepares, runs and judges trial after trial."""

    def __init__(self, settings: TrialSettings | None = None, namespace: str = "") -> None:
        super().__init__("trials", namespace=namespace or None)
        self.settings = settings or declare_settings(self)

    def work(self, executor: SingleThreadedExecutor) -> int:
        """Run what is left of the series; 0 when it is complete, 1 when a person stopped it."""
        settings = self.settings
        folder = Path(settings.folder).expanduser()
        if not (folder / PLAN).exists():
            plan_series(settings, folder)
        operator = settings.operator or _user()
        with Series(folder, operator) as series:
            if series.next is not None and not series.revealed:
                require_unchanged(series.plan)
                if not self._run_all(series, executor):
                    return 1
            series.reveal()
            text = as_text(write_results(series))
        self.get_logger().info(f"all trials are done; results in {folder}\n{text}")
        return 0

    def _run_all(self, series: Series, executor: SingleThreadedExecutor) -> bool:
        """Whether all trials were run and the order may be opened."""
        with ExitStack() as stack:
            asking, robot, judge = self._equip(series, executor, stack)
            parameters = read_parameters(self.settings.policy_params_file)
            servers = TrialServers(self, asking, series, parameters)
            stack.callback(servers.close)
            judge.say("loading both checkpoints")
            servers.load()
            self._require_alone(servers)
            series.log.append("session", operator=self.settings.operator or _user())
            while (trial := series.next) is not None:
                if not judge.ready(trial):
                    return False
                self._run_until_judged(series, trial, servers, robot, judge)
            return judge.finish()

    def _equip(
        self, series: Series, executor: SingleThreadedExecutor, stack: ExitStack
    ) -> tuple[Asking, TrialRobot, TrialJudge]:
        plan, bridge = series.plan, self.settings.bridge
        asking = Asking(self, executor)
        robot: TrialRobot
        if plan.simulated:
            contract = inspect_pair(Path(plan.base.path), Path(plan.adapted.path)).contract
            asking = driver = Driver(self, executor, contract, bridge, acts=False)
            robot = SimulatedRobot(driver, plan.skill)
            if plan.judge == "scene":
                oracle = SceneOracle(driver, plan.skill, contract.period_ns)
                return asking, robot, SceneJudge(driver, oracle, self._log)
        else:
            robot = RealRobot(self, asking, bridge, self.settings.home)
        terminal = stack.enter_context(Terminal())
        return asking, robot, PersonJudge(terminal, series, asking.spin_once)

    def _run_until_judged(
        self,
        series: Series,
        trial: Trial,
        servers: TrialServers,
        robot: TrialRobot,
        judge: TrialJudge,
    ) -> None:
        """One trial; again where it is void and nobody is there to ask."""
        for _ in range(TRIES):
            outcome = self._run(series, trial, servers, robot, judge)
            if outcome != "void" or series.plan.judge == "person":
                return
        raise ConfigError(
            f"trial {trial.number} was broken off {TRIES} times",
            got=series.log.records[-1].get("reason"),
            hint="are server and bridge in the same namespace and DDS domain?",
        )

    def _run(
        self,
        series: Series,
        trial: Trial,
        servers: TrialServers,
        robot: TrialRobot,
        judge: TrialJudge,
    ) -> str:
        plan, arm = series.plan, series.arm_of(trial)
        skills = servers.activate(arm)
        if problem := robot.prepare(trial):
            judge.say(f"  {problem}")
            servers.rest(servers.names[arm])
            return "void"
        series.begin(trial)
        judge.start()
        goal = RunSkill.Goal(
            skill=plan.skill,
            time_limit=plan.time_limit_s,
            success_threshold=plan.success_threshold,
            seed=trial.seed,
        )
        result = skills.run(goal, judge.enough)
        servers.rest(servers.names[arm])
        if result.error_code in FATAL and plan.judge == "scene":
            raise ConfigError(f"the skill could not be run: {result.error_msg}")
        robot.require_fair()
        judgement = judge.judge(result)
        reason = "" if result.error_code in ENDED else str(result.error_msg)
        facts = {"judge": plan.judge, "steps": int(result.steps), "reason": reason}
        series.end(trial, judgement.outcome, **facts)
        judge.say(f"trial {trial.number} of {2 * plan.pairs}: {judgement.outcome}")
        return judgement.outcome

    def _require_alone(self, servers: TrialServers) -> None:
        """Nobody else may drive."""
        found = [info.node_name for info in self.get_publishers_info_by_topic("action_chunk")]
        for name in servers.names.values():
            if name in found:
                found.remove(name)
        if found:
            raise ConfigError(
                f"{', '.join(sorted(found))} can drive the arm too",
                expected="nobody on action_chunk but the servers that the trials start",
                hint="stop it (it may be left of trials that were killed), and go on with the same "
                "command",
            )

    def _log(self, text: str) -> None:
        self.get_logger().info(text)


def declare_settings(node: Node) -> TrialSettings:
    """The settings as parameters."""
    return TrialSettings(
        folder=declare(node, "folder", "trials", "folder of the series; goes on where it stands"),
        base=declare(node, "base", "", "checkpoint to compare with; for a new series"),
        adapted=declare(node, "adapted", "", "checkpoint under test; for a new series"),
        pairs=declare(
            node, "pairs", 20, "starts, each tried by both", minimum=1, maximum=1_000_000
        ),
        seed=declare(
            node, "seed", 0, "of the first start; the next count up", minimum=0, maximum=2**31 - 1
        ),
        time_limit_s=declare(
            node, "time_limit_s", 12.0, "observation time per trial", minimum=0.1, maximum=3600.0
        ),
        success_threshold=declare(
            node,
            "success_threshold",
            0.0,
            "success probability that ends a trial; 0: none where the scene judges, else the "
            "server's own",
            minimum=0.0,
            maximum=2.0,
        ),
        judge=declare(
            node, "judge", "scene", "who judges: scene or person", choices=("scene", "person")
        ),
        simulated=declare(node, "simulated", True, "the bridge is that of the simulated table"),
        operator=declare(node, "operator", "", "who runs the trials; empty: the user's name"),
        bridge=declare(node, "bridge", "calvin_bridge", "name of the bridge's node"),
        policy_params_file=declare(
            node, "policy_params_file", "", "further parameters of both policy servers (YAML)"
        ),
        home=declare(
            node, "home", True, "lead an arm home before every trial; false: a person does"
        ),
    )


def plan_series(settings: TrialSettings, folder: Path) -> None:
    """Begin a new series after checking that it makes sense."""
    if not settings.base or not settings.adapted:
        raise ConfigError(
            f"{folder}: no series there, and no two checkpoints to begin one with",
            hint="name base and adapted checkpoint, or the folder of a series",
        )
    if settings.judge == "scene" and not settings.simulated:
        raise ConfigError(
            "the scene cannot judge a real arm", hint="let a person judge: judge:=person"
        )
    base, adapted = Path(settings.base).expanduser(), Path(settings.adapted).expanduser()
    common = inspect_pair(base, adapted)
    never = settings.judge == "scene" and not settings.success_threshold
    begin_series(
        folder,
        skill=common.skill,
        base=identify(base),
        adapted=identify(adapted),
        pairs=settings.pairs,
        first_seed=settings.seed,
        time_limit_s=settings.time_limit_s,
        success_threshold=NEVER if never else settings.success_threshold,
        judge="scene" if settings.judge == "scene" else "person",
        simulated=settings.simulated,
    )


def read_parameters(path: str) -> dict[str, Parameter]:
    """Node parameters of a file as ROS has them, top key `/**`; none where the path is empty."""
    if not path:
        return {}
    raw = read_yaml(Path(path).expanduser())
    try:
        return dict(raw["/**"]["ros__parameters"])
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{path}: not a file of node parameters", expected="/**: ros__parameters: name: value"
        ) from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in a container
        return "unknown"


def main() -> int:
    """Run the node."""
    return run_node(Trials, Trials.work)


if __name__ == "__main__":
    raise SystemExit(main())
