# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder node and a made-up robot in one process, spun by hand."""

from __future__ import annotations

import gc
import os
import time

import numpy as np
import rclpy
import yaml
from geometry_msgs.msg import PoseStamped
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from diwa.data.bag_reader import BagReader
from diwa.data.decode import stamp_ns
from diwa_ros import qos
from diwa_ros.conversions import fill_image, fill_pose, make_image, make_pose, set_stamp
from diwa_ros.play_recorder import PlayRecorder

TIMEOUT_S = 60.0
NAMESPACE = f"/bench_{os.getpid()}"  # nobody else publishes here, even in the same domain
PERIOD_NS = 100_000_000
CONTRACT = {
    "name": "bench",
    "rate_hz": 10.0,
    "observations": {
        "ee_pose": {"kind": "pose", "topic": "ee_pose", "type": "geometry_msgs/msg/PoseStamped"},
        "camera": {
            "kind": "image",
            "topic": "camera/image_raw",
            "type": "sensor_msgs/msg/Image",
            "encoding": "rgb8",
            "height": 4,
            "width": 4,
        },
    },
    "proprio": ["position"],
    "action": {"topic": ""},
    "workspace": {"minimum": [-1, -1, -1], "maximum": [1, 1, 1]},
}
TYPES = {
    "ee_pose": PoseStamped,
    "camera/image_raw": Image,
    "camera/image_raw/compressed": CompressedImage,
}
POSE, CAMERA, COMPRESSED = TYPES
RELIABLE = qos.reliable(50)
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


class Bench:
    """`recorder` is up and configured from the parameters given."""

    def __init__(self, folder, domain, **parameters):
        self.folder = folder / "bags"
        self.step = 0
        self._publishers = {}
        contract = folder / "bench.yaml"
        contract.write_text(yaml.safe_dump(CONTRACT, sort_keys=False))
        settings = {
            "folder": str(self.folder),
            "contract": str(contract),
            "check_s": 0.0,
            **parameters,
        }
        path = folder / "recorder.yaml"
        path.write_text(yaml.safe_dump({"/**": {"ros__parameters": settings}}))
        arguments = ["--ros-args", "--params-file", str(path), "-r", f"__ns:={NAMESPACE}"]
        rclpy.init(args=arguments, domain_id=domain)
        self.executor = SingleThreadedExecutor()
        # As another process: topics have one type per participant.
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("robot", context=self._context, namespace=NAMESPACE)
        self._robot = SingleThreadedExecutor(context=self._context)
        self._robot.add_node(self.node)
        self.recorder = None

    def start(self):
        self.recorder = PlayRecorder()
        self.executor.add_node(self.recorder)
        self.recorder.bring_up()

    def stop(self):
        recorder, self.recorder = self.recorder, None
        self.executor.remove_node(recorder)
        recorder.destroy_node()

    def close(self):
        if self.recorder is not None:
            self.stop()
        self.executor.shutdown()
        self._robot.shutdown()
        self.node.destroy_node()
        gc.collect()  # what is left of the nodes goes before their contexts do
        rclpy.try_shutdown(context=self._context)
        rclpy.try_shutdown()

    @property
    def session(self):
        return self.recorder.session

    def wait_until(self, condition, what="it"):
        deadline = time.monotonic() + TIMEOUT_S
        while not (value := condition()):
            self.executor.spin_once(timeout_sec=0.02)
            self._robot.spin_once(timeout_sec=0)
            shown = what() if callable(what) else what
            assert time.monotonic() < deadline, f"no {shown} within {TIMEOUT_S} s"
        return value

    def call(self, kind, name, **fields):
        """Answer of one of the recorder's services, without DDS, which may lose it."""
        return self.calls(kind, name, kind.Request(**fields))[0]

    def calls(self, kind, name, *requests):
        """Answers to requests that come at the same time."""
        (service,) = (s for s in self.recorder.services if s.srv_name.endswith(f"/{name}"))
        tasks = [
            self.executor.create_task(service.callback, request, kind.Response())
            for request in requests
        ]
        self.wait_until(lambda: all(task.done() for task in tasks), f"answer of {name}")
        return [task.result() for task in tasks]

    def offer(self, topic, profile=RELIABLE):
        """Publish `topic` from now on; returns the publisher, which the recorder listens to."""
        events = PublisherEventCallbacks(use_default_callbacks=False)
        publisher = self.node.create_publisher(TYPES[topic], topic, profile, event_callbacks=events)
        self._publishers.setdefault(topic, []).append(publisher)
        self.wait_until(
            lambda: publisher.get_subscription_count() and self._is_matched(topic),
            f"subscription to {topic}",
        )
        return publisher

    def withdraw(self, topic):
        for publisher in self._publishers.pop(topic):
            self.node.destroy_publisher(publisher)
        self.wait_until(lambda: not self.recorder.get_publishers_info_by_topic(topic))

    def publish(self, steps=1, topics=None, wait=True):
        """Every offered topic (of `topics`) at the next steps, and until they have arrived."""
        for _ in range(steps):
            self.step += 1
            for topic in topics if topics is not None else self._publishers:
                for publisher in self._publishers[topic]:
                    publisher.publish(message(topic, self.step * PERIOD_NS))
            if wait:
                self.wait_until(lambda: self._arrived(topics))

    def _arrived(self, topics):
        recording = self.session.recording
        if recording is not None:
            newest = {name: count.last_ns for name, count in recording.cadence.topics.items()}
        else:
            newest = {item.topic: item.stamp_ns for item in self.recorder._arrivals.latest()}
        wanted = topics if topics is not None else self._publishers
        return all(
            newest.get(topic.removesuffix("/compressed")) == self.step * PERIOD_NS
            for topic in wanted
        )

    def _is_matched(self, topic):
        """Whether the recorder knows all publishers of a topic and subscribes as they publish."""
        infos = self.recorder.get_publishers_info_by_topic(topic)
        listening = self.recorder.get_subscriptions_info_by_topic(topic)
        weak = any(i.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for i in infos)
        wanted = ReliabilityPolicy.BEST_EFFORT if weak else ReliabilityPolicy.RELIABLE
        return len(infos) == len(self._publishers[topic]) and [
            info.qos_profile.reliability for info in listening
        ] == [wanted]

    def settle(self):
        """Until what was received is in the file's buffers of the operating system."""
        writer = self.session.recording._writer
        self.wait_until(lambda: writer._written == writer._taken, "writing")


def message(topic, stamp):
    if topic == POSE:
        pose = make_pose("world")
        fill_pose(pose, stamp, np.array([0, 0, 0, 0, 0, 0, 1.0]))
        return pose
    if topic == CAMERA:
        image = make_image("camera", "rgb8")
        fill_image(image, stamp, np.full((4, 4, 3), stamp // PERIOD_NS % 256, dtype=np.uint8))
        return image
    compressed = CompressedImage(format="jpeg", data=[1, 2, 3])
    set_stamp(compressed.header.stamp, stamp)
    return compressed


def steps_in(bag):
    """Steps recorded of every topic, by its name in the bag, which has a type for each."""
    found = {}
    with BagReader(bag) as reader:
        found = {name: [] for name in reader.topics}
        for name, _, item in reader.messages():
            found[name].append(stamp_ns(item) // PERIOD_NS)
    return found
