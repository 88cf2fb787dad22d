# SPDX-License-Identifier: Apache-2.0
"""The steps of bench/gpu.sh, one after the other, within a limit of time.

- agreement: the GPU gives what the CPU gives (bench/agree.py)
- inference: lite, full and paper in torch, plain and as CUDA graphs, at batch 1, 8 and 32
  (bench/network.py)
- runtimes: lite and full in ONNX Runtime beside torch, at the same batches (bench/runtimes.py);
  paper has no graphs
- lifter: one person and many a call, on the CPU (bench/lifting.py)
- node at 30 Hz, node at 60 Hz: age and rate of the answers, images of 640x480 (bench/cameras.py)
- training: steps of each network (bench/network.py)

A step that fails, or takes longer than its share of the time, costs the others nothing. gpu.json in
the folder --out has the figures of all steps and how each ended; STEP.log what it printed. The exit
status is 1 unless every step succeeded.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lifting_ros.cli.files import write_json

HERE = Path(__file__).parent
LIMIT_S = 600.0
RESERVE_S = 5.0
"""Time that is left for the end."""
END_WITHIN_S = 10.0
"""Time that a step has to end in after it was told to."""


@dataclass(frozen=True)
class Step:
    """One program of this folder."""

    name: str
    program: str
    options: tuple[str, ...]
    quick: tuple[str, ...]
    """Options that follow for a rehearsal."""
    most_s: float
    on_device: bool = True
    """Whether it has the option --device."""


BATCHES = ("--batches", "1", "8", "32")
FEW = ("--batches", "1", "2")
SHORT = ("--seconds", "0", "--dtypes", "float32")

STEPS = (
    Step("agreement", "agree.py", (), ("--frames", "1"), 90),
    Step(
        "inference",
        "network.py",
        ("--parts", "inference", *BATCHES, "--seconds", "0.5"),
        (*FEW, *SHORT),
        110,
    ),
    Step(
        "runtimes",
        "runtimes.py",
        ("--runtimes", "torch", "onnx", *BATCHES, "--threads", "1"),
        (*FEW, "--calls", "1", "--frames", "1", "--weights", "lite"),
        140,
    ),
    Step(
        "lifter",
        "lifting.py",
        (),
        ("--batch", "4", "--rounds", "1", "--reference", "1"),
        40,
        on_device=False,
    ),
    Step("node at 30 Hz", "cameras.py", ("--cameras", "1", "--hz", "30"), ("--seconds", "2"), 60),
    Step("node at 60 Hz", "cameras.py", ("--cameras", "1", "--hz", "60"), ("--seconds", "2"), 60),
    Step(
        "training",
        "network.py",
        ("--parts", "training", "--seconds", "1"),
        ("--train-batch", "2", "--variants", "lite", *SHORT),
        90,
    ),
)


def command_of(step: Step, device: str, out: Path, quick: bool) -> list[str]:
    """What runs a step; it writes its figures into `figures_of(step, out)`."""
    words = [sys.executable, str(HERE / step.program), *step.options]
    if quick:
        words += step.quick
    if step.on_device:
        words += ["--device", device]
    return [*words, "--json", str(figures_of(step, out))]


def figures_of(step: Step, out: Path) -> Path:
    return out / f"{step.name.replace(' ', '_')}.json"


def run_step(step: Step, command: Sequence[str], out: Path, most_s: float) -> dict:
    """Run a step for at most so long: how it ended, and its figures where it wrote any."""
    figures = figures_of(step, out)
    figures.unlink(missing_ok=True)
    start = time.monotonic()
    with figures.with_suffix(".log").open("wb") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            status = child.wait(most_s)
            ended = "done" if status == 0 else f"failed with status {status}"
        except subprocess.TimeoutExpired:
            ended = f"ended after {most_s:.0f} s"
            # A signal that the step can end its own children at
            child.terminate()
            try:
                child.wait(END_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    result = {"ended": ended, "seconds": round(time.monotonic() - start, 1)}
    if figures.is_file():
        result["figures"] = json.loads(figures.read_text(encoding="utf-8"))
    return result


def machine(device: str) -> dict[str, object]:
    """Versions, processor and GPU."""
    import torch

    found: dict[str, object] = {
        "device": device,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(torch.device(device))
        found["cuda"] = torch.version.cuda
    try:
        import onnxruntime

        found["onnxruntime"] = onnxruntime.__version__
        found["providers"] = onnxruntime.get_available_providers()
    except ImportError:
        found["onnxruntime"] = None

    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:n or cpu (default cuda)")
    parser.add_argument("--out", type=Path, default=Path("out/gpu"), metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="small sizes: a rehearsal")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help="seconds in all")
    parser.add_argument("--begun", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in STEPS])
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)

    spent_s = max(0.0, time.time() - args.begun) if args.begun else 0.0
    end = time.monotonic() + args.limit - spent_s - RESERVE_S
    result: dict = {"machine": machine(args.device), "quick": args.quick, "steps": {}}
    for step in STEPS:
        if args.steps and step.name not in args.steps:
            continue
        left_s = end - time.monotonic() - END_WITHIN_S
        if left_s <= 0:
            result["steps"][step.name] = {"ended": "not begun: no time was left", "seconds": 0.0}
        else:
            print(f"{step.name} ...", flush=True)
            command = command_of(step, args.device, args.out, args.quick)
            most_s = left_s if args.quick else min(step.most_s, left_s)
            result["steps"][step.name] = run_step(step, command, args.out, most_s)

        one = result["steps"][step.name]
        print(f"{step.name}: {one['ended']}, {one['seconds']} s", flush=True)
        write_json(str(args.out / "gpu.json"), result)  # so far, should something end this program

    return int(any(one["ended"] != "done" for one in result["steps"].values()))


if __name__ == "__main__":
    sys.exit(main())
