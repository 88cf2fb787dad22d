# SPDX-License-Identifier: Apache-2.0
"""MediaPipe Pose's side of `bench/peers.py`, run by the Python of its own environment.

    mediapipe_video.py FRAMES.npy

FRAMES.npy: (N, H, W, 3) uint8 RGB. Each line of the standard input is a number of frames; the
answer is a line with the seconds that the next so many frames took, and how many showed somebody.
"""

import sys
import time

import mediapipe
import numpy as np

FULL = 1
"""MediaPipe's number of the model `full`."""


def main() -> None:
    frames = np.load(sys.argv[1], mmap_mode="r", allow_pickle=False)
    pose = mediapipe.solutions.pose.Pose(model_complexity=FULL)
    pose.process(np.array(frames[0]))

    print("ready", flush=True)
    position = 0
    for line in sys.stdin:
        chunk = [np.array(image) for image in frames[position : position + int(line)]]
        position += len(chunk)
        begun = time.perf_counter()
        found = [pose.process(image).pose_landmarks is not None for image in chunk]
        print(time.perf_counter() - begun, sum(found), flush=True)


if __name__ == "__main__":
    main()
