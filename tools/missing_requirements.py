# SPDX-License-Identifier: Apache-2.0
"""Prints the lines of requirements files whose module this Python cannot import: what pip has to
add to a ROS machine.

Usage: missing_requirements.py FILE...   Each line reads `NAME RANGE  # MODULE: why`.
"""

import importlib.util
import re
import sys

LINE = re.compile(r"(?P<requirement>[A-Za-z][^#]*?)\s*# (?P<module>[\w.]+): ")


def is_importable(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as lines:
        for match in filter(None, map(LINE.match, lines)):
            if not is_importable(match["module"]):
                print(match["requirement"])
