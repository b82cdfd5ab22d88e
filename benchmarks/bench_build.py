# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How fast bags become a dataset: two 200x200 cameras, joints, pose and action at 30 Hz.

Gives recorded seconds per second for 0 and 2 workers, with images stored at 64x64 and as they are,
the processor time of each stage, and the peak memory of a worker for bags of two lengths. Keeps
the figures under "build" in runs/bench.json.
"""

from __future__ import annotations

import argparse
import resource
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from diwa.data import convert, frames, segments, shards
from diwa.data.bag_reader import BagReader
from diwa.data.bags import BagWriter, contract_topics
from diwa.data.build import build_dataset
from diwa.data.contract import Contract, load_contract
from diwa.data.episode import EpisodeRecord
from diwa.data.message_types import typestore_for
from diwa.files import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = 8  # pictures that differ, in turn


def make_contract(stored: tuple[int, int] | None) -> Contract:
    """The camera contract with two 200x200 images and no scene."""
    plain = load_contract(ROOT / "config/contracts/panda_calvin.yaml").model_dump(mode="json")
    del plain["observations"]["scene_state"]
    plain["observations"]["rgb_gripper"].update(height=200, width=200)
    for key in ("rgb_static", "rgb_gripper"):
        plain["observations"][key]["store"] = stored
    return Contract.model_validate(plain)


def serialized_messages(contract: Contract) -> dict[str, list[bytes]]:
    """Some messages of every topic; their stamps are put in later."""
    kinds = contract_topics(contract)
    store = typestore_for(set(kinds.values()))
    make = store.types
    rng = np.random.default_rng(0)

    def header(frame: str = "") -> Any:
        time_zero = make["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
        return make["std_msgs/msg/Header"](stamp=time_zero, frame_id=frame)

    def image(stream: Any) -> Any:
        shape = (stream.height, stream.width, 3)
        return make[stream.type](
            header=header(stream.frame_id),
            height=shape[0],
            width=shape[1],
            encoding=stream.encoding,
            is_bigendian=0,
            step=3 * shape[1],
            data=rng.integers(0, 256, shape, dtype=np.uint8).reshape(-1),
        )

    def pose(stream: Any) -> Any:
        point = make["geometry_msgs/msg/Point"](x=0.1, y=0.2, z=0.3)
        turn = make["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
        inner = make["geometry_msgs/msg/Pose"](position=point, orientation=turn)
        return make[stream.type](header=header(stream.frame_id), pose=inner)

    def joints(stream: Any) -> Any:
        values, none = rng.normal(size=len(stream.names)), np.empty(0)
        return make[stream.type](
            header=header(), name=list(stream.names), position=values, velocity=none, effort=none
        )

    makers: dict[str, Callable[[Any], Any]] = {"image": image, "pose": pose, "joints": joints}
    flags = dict.fromkeys(("clipped", "workspace_limited", "leashed", "rejected", "held"), False)
    values = rng.uniform(-1, 1, 7).astype(np.float32)
    action = make[contract.action.type](
        header=header(), epoch=0, requested=values, action=values, **flags
    )
    made = {contract.action.topic: [bytes(store.serialize_cdr(action, contract.action.type))]}
    for stream in contract.observations.values():
        count = VARIANTS if stream.kind == "image" else 1
        messages = [makers[stream.kind](stream) for _ in range(count)]
        made[stream.topic] = [bytes(store.serialize_cdr(m, stream.type)) for m in messages]
    return made


def write_bag(path: Path, contract: Contract, seconds: float) -> Path:
    """A recording of that length."""
    messages = serialized_messages(contract)
    writer = BagWriter(path, contract, backend="rosbags")
    steps = round(seconds * contract.rate_hz)
    for step in range(steps):
        stamp = round(step * 1e9 / contract.rate_hz)
        for topic, variants in messages.items():
            data = bytearray(variants[step % len(variants)])
            struct.pack_into("<iI", data, 4, stamp // 10**9, stamp % 10**9)  # after CDR's header
            writer.write(topic, 10**18 + stamp, bytes(data))
    record = EpisodeRecord(
        id=path.name, kind="play", contract=contract, ended_ns=round(seconds * 1e9)
    )
    writer.close(record)
    return path


class StageTimes:
    """Processor time per stage, each without the stages that it calls."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._stages = ["rest"]
        self._since = time.process_time()

    def switch(self, stage: str | None) -> None:
        """Enter `stage`, or leave the current one."""
        now = time.process_time()
        self.seconds[self._stages[-1]] += now - self._since
        self._since = now
        if stage is None:
            self._stages.pop()
        else:
            self._stages.append(stage)

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, counted."""

        def counted(*arguments: Any, **options: Any) -> Any:
            self.switch(stage)
            try:
                return function(*arguments, **options)
            finally:
                self.switch(None)

        return counted

    def around_each(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """An iterator, counted item by item."""

        def counted(*arguments: Any, **options: Any) -> Iterator[Any]:
            items = function(*arguments, **options)
            while True:
                self.switch(stage)
                item = next(items, None)
                self.switch(None)
                if item is None:
                    return
                yield item

        return counted


def time_stages(bags: list[Path], out: Path) -> dict[str, float]:
    """Processor seconds per recorded second, by stage, in one process."""
    times = StageTimes()
    frames.decode = times.around("decode", frames.decode)
    frames.compose_observation = times.around("resize and proprio", frames.compose_observation)
    frames.FrameBuilder.push = times.around("align", frames.FrameBuilder.push)
    segments.stack_frames = times.around("write", segments.stack_frames)
    shards.EpisodeShards.append = times.around("write", shards.EpisodeShards.append)
    shards.EpisodeShards.close = times.around("hash and moments", shards.EpisodeShards.close)
    convert.BagReader.messages = times.around_each("read and deserialise", BagReader.messages)
    dataset = build_dataset(bags, out, workers=0)
    times.switch("rest")
    recorded = sum(info.length for info in dataset.episodes) / dataset.contract.rate_hz
    return {stage: seconds / recorded for stage, seconds in times.seconds.most_common()}


def build_once(bags: list[Path], out: Path, workers: int) -> dict[str, float]:
    """One build in a fresh process: speed and peak memory of the largest process."""
    started = time.perf_counter()
    dataset = build_dataset(bags, out, workers=workers)
    seconds = time.perf_counter() - started
    recorded = sum(info.length for info in dataset.episodes) / dataset.contract.rate_hz
    who = resource.RUSAGE_CHILDREN if workers else resource.RUSAGE_SELF
    return {
        "recorded_s": recorded,
        "seconds": seconds,
        "times_real_time": recorded / seconds,
        "peak_mb_per_process": resource.getrusage(who).ru_maxrss / 1024,
    }


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a process of its own, which may have children."""
    context = get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_put_result, args=(queue, function, arguments))
    process.start()
    result = queue.get()
    process.join()
    return result


def _put_result(queue: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    queue.put(function(*arguments))


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """All figures; bags are removed with `folder`."""
    figures: dict[str, Any] = {}
    for name, stored in (("stored at 64x64", (64, 64)), ("stored as they are", None)):
        contract = make_contract(stored)
        place = folder / name.replace(" ", "_")
        bags = [write_bag(place / f"bag{n}", contract, seconds) for n in range(4)]
        long = [write_bag(place / "long", contract, 4 * seconds)]
        figures[name] = {
            "4 bags, 2 processes": in_fresh_process(build_once, bags, place / "two", 2),
            "4 bags, 1 process": in_fresh_process(build_once, bags, place / "one", 0),
            "1 bag, 4 times as long": in_fresh_process(build_once, long, place / "long_out", 0),
            "processor_seconds_per_second": in_fresh_process(time_stages, bags, place / "stages"),
        }
    return figures


def show(figures: dict[str, Any]) -> None:
    """Print a table."""
    for name, rows in figures.items():
        print(f"\nbuild, two 200x200 cameras at 30 Hz, {name}")
        for row, values in rows.items():
            if row == "processor_seconds_per_second":
                stages = ", ".join(f"{k} {1e3 * v:.2f}" for k, v in values.items())
                print(f"  processor time per recorded second [ms]: {stages}")
                continue
            print(
                f"  {row:<24}{values['times_real_time']:8.1f} times real time, "
                f"{values['peak_mb_per_process']:6.0f} MB in the largest process"
            )


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a bag")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/bench.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), arguments.seconds)
    show(figures)
    kept = read_json(arguments.out) if arguments.out.is_file() else {}
    kept["build"] = figures
    write_json(arguments.out, kept)


if __name__ == "__main__":
    main()
