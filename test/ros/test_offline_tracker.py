# SPDX-License-Identifier: Apache-2.0
"""The tracker of a bag sees the images, and none of them is kept."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from std_msgs.msg import Header

from lifting_ros.ros.bag_estimation import Answer, OfflineTracker, bag_tracker
from lifting_ros.tracking.tracking import TrackerConfig


@pytest.mark.parametrize("is_late", [False, True])
def test_tracker_of_a_bag_sees_the_image_that_is_not_kept(monkeypatch, is_late):
    tracker = bag_tracker(TrackerConfig(reidentify_s=5.0), smooth=True)
    update = tracker.update
    seen = []

    def look(stamp_ns, persons, image=None):
        seen.append(image)
        return update(stamp_ns, persons, image)

    monkeypatch.setattr(tracker, "update", look)
    offline = OfflineTracker(tracker)
    image = np.zeros((4, 6, 3), np.uint8)
    offline.add(Answer(Header(), (), is_late, image=image))
    offline.add(None)
    answer, nothing = offline.end()
    assert [one is image for one in seen] == ([] if is_late else [True])
    assert answer.image is None and nothing is None
