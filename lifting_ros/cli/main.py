# SPDX-License-Identifier: Apache-2.0
"""The command `lifting`: one file a verb beside this one, imported only when its verb is called."""

from __future__ import annotations

import argparse
import importlib
import sys

from lifting_ros.memory import keep_freed_memory
from lifting_ros.research.rendering.render_errors import RendererMissingError, RenderError

VERBS = {
    "demo": "run the node on a video or camera, record a bag of poses, end with a table and a picture",
    "estimate": "persons of an image, a folder of images, a video, a camera device or a bag",
    "bag": "a recorded bag with poses added, no image dropped",
    "record": "record topics into a bag, without rosbag2",
    "poses": "the poses of a bag as CSV or .npz",
    "view": "the poses of a bag or .npz in a 3D viewer",
    "detect": "2D keypoints of images",
    "lift": "2D keypoints to 3D skeletons with covariances",
    "label": "3D labels for photographs, with quality scores and a contact sheet",
    "fit-prior": "learn the pose prior from motion capture",
    "import-prior": "turn the model file of the paper's release into a prior",
    "train": "train the network, a lifter, or image to 3D",
    "render": "synthetic people with exact labels: windows, crowds and rooms without people",
    "evaluate": "measure keypoints, lifting and detection on validation data",
    "benchmark": "how fast this machine finds and lifts people, step by step",
}


class CommandError(Exception):
    """Bad input to a verb; the text is one clear line."""


def main(argv: list[str] | None = None) -> int:
    """Run one verb; exit status 2 and one line on standard error for bad input."""
    keep_freed_memory()
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        "lifting", description="Monocular 3D human pose with a probabilistic prior."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, text in VERBS.items():
        verbs.add_parser(verb, help=text, add_help=False)
    verb, rest = (
        parser.parse_known_args(argv)[0].verb,
        argv[argv.index(next(a for a in argv if a in VERBS)) + 1 :] if argv else [],
    )
    module = importlib.import_module(f"lifting_ros.cli.{verb.replace('-', '_')}")
    arguments = argparse.ArgumentParser(
        f"lifting {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(arguments)
    try:
        return module.run(arguments.parse_args(rest)) or 0
    except (CommandError, RenderError, ValueError, OSError) as error:
        hint = (
            getattr(module, "WITHOUT_RENDERER", "")
            if isinstance(error, RendererMissingError)
            else ""
        )
        print(f"lifting {verb}: {' '.join(f'{error}{hint}'.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":  # the verbs raise this package's CommandError, not __main__'s
    from lifting_ros.cli.main import main as package_main

    sys.exit(package_main())
