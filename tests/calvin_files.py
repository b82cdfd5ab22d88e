# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A small data set in CALVIN's published layout, written as CALVIN's tools write it."""

from pathlib import Path

import numpy as np
import yaml

INTERVALS = ((358, 417), (900, 941))
ANNOTATIONS = (
    ("open_drawer", 360, 375),
    ("turn_on_led", 370, 385),
    ("open_drawer", 905, 920),
    ("open_drawer", 400, 415),
)


def calvin_frame(index: int) -> dict[str, np.ndarray]:
    """Everything CALVIN stores of one frame; a smooth function of the index."""
    t = index / 30.0
    robot = np.zeros(15)
    robot[:3] = 0.1 * np.sin(t + np.arange(3)) + [0.0, -0.1, 0.5]
    robot[3:6] = [3.1 + 0.1 * np.sin(t), 0.1 * np.cos(t), 1.5 + 0.2 * np.sin(2 * t)]
    robot[6] = 0.04 + 0.04 * np.sin(t)
    robot[7:14] = np.sin(t + np.arange(7))
    robot[14] = 1.0 if np.sin(t) > 0 else -1.0
    scene = np.linspace(0, 0.5, 24) + 0.01 * np.sin(t)
    relative = np.clip(np.sin(3 * t + np.arange(7)), -1, 1)
    relative[6] = 1.0 if np.sin(t + 1 / 30) > 0 else -1.0
    rows, columns = np.mgrid[0:200, 0:200]
    static = np.stack([rows, columns, (rows + columns) // 2 + index % 40], axis=-1)
    return {
        "actions": np.concatenate([robot[:6], robot[14:]]),
        "rel_actions": relative,
        "robot_obs": robot,
        "scene_obs": scene,
        "rgb_static": static.astype(np.uint8),
        "rgb_gripper": static[:84, :84].astype(np.uint8),
        "depth_static": np.full((200, 200), 3.5, np.float32),
    }


def write_calvin(folder: Path, split: str = "training") -> Path:
    """Write the split and return the folder above it."""
    target = folder / split
    (target / "lang_annotations").mkdir(parents=True)
    robot = []
    for first, last in INTERVALS:
        for index in range(first, last + 1):
            frame = calvin_frame(index)
            robot.append(frame["robot_obs"])
            np.savez_compressed(target / f"episode_{index:07d}.npz", **frame)
    np.save(target / "ep_start_end_ids.npy", np.array(INTERVALS))
    np.save(target / "ep_lens.npy", np.array([last - first + 1 for first, last in INTERVALS]))
    tasks = [task for task, _, _ in ANNOTATIONS]
    content = {
        "language": {
            "ann": [f"please {task}" for task in tasks],
            "task": tasks,
            "emb": np.random.default_rng(0).normal(size=(len(tasks), 1, 384)).astype(np.float32),
        },
        "info": {"episodes": [], "indx": [(np.int64(a), b) for _, a, b in ANNOTATIONS]},
    }
    np.save(target / "lang_annotations" / "auto_lang_ann.npy", content, allow_pickle=True)
    entry = {"mean": np.mean(robot, axis=0).tolist(), "std": np.std(robot, axis=0).tolist()}
    target.joinpath("statistics.yaml").write_text(
        yaml.safe_dump({"robot_obs": [{"_target_": "NormalizeVector", **entry}]})
    )
    return folder
