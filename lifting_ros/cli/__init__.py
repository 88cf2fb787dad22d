# SPDX-License-Identifier: Apache-2.0
import os

# One clear line is ours to print: OpenCV and FFmpeg are told not to add theirs, before either is
# loaded, for they look only once.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
