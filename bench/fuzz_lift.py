# SPDX-License-Identifier: Apache-2.0
"""Ten thousand inputs through `lifting lift`: a well-formed answer, or exit status 2 with one line
and nothing left behind.

No traceback, no warning, no hang, no NaN where the status says that something is known. Ends with a
table by kind of input, and exit status 1 where anything was wrong; --keep FOLDER keeps the inputs
that it went wrong with.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import fuzz_cases
import numpy as np
from tqdm import tqdm

from lifting_ros.cli.main import main as lifting
from lifting_ros.estimator import EstimatorConfig, KeypointLifter

SHAPES = {
    "joints_m": (17, 3),
    "root_m": (3,),
    "covariance_m2": (17, 3, 3),
    "root_covariance_m2": (3, 3),
    "status": (17,),
    "log_likelihood": (),
    "hypotheses_m": (None, 17, 3),
    "hypothesis_weight": (None,),
}
TIME_OUT_S = 120
"""Processor time after which an input counts as a hang; one that only waits has WAITS times that on
the clock, which a busy machine takes as well."""
WAITS = 10
PROGRESS = re.compile(r"lifting: +\d+%.*|lifting lift: compiling numerical loops.*")
"""What may be on standard error beside an answer."""
UP = "\x1b[A"
"""Moves the cursor up: tqdm writes it after a bar that is drawn below another one."""


class HangError(BaseException):
    """An input that takes too long; not an Exception, so that nothing on the way catches it."""


def call(argv: list[str]) -> tuple[int | str, str]:
    """Exit status and standard error of one call in this process; the last line of a traceback, a
    warning or "hang" for a status."""
    error = io.StringIO()

    def ring(*_):
        raise HangError

    signal.signal(signal.SIGPROF, ring)
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_PROF, TIME_OUT_S)
    signal.alarm(WAITS * TIME_OUT_S)

    try:
        with (
            warnings.catch_warnings(record=True) as heard,
            contextlib.redirect_stderr(error),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("always")
            status: int | str = lifting(argv)
    except HangError:
        return "hang", error.getvalue()
    except SystemExit as end:
        return end.code, error.getvalue()
    except BaseException as fault:
        where = traceback.extract_tb(fault.__traceback__)[-1]
        return (
            (
                f"{type(fault).__name__}: {str(fault)[:90]} "
                f"({Path(where.filename).name}:{where.lineno})"
            ),
            error.getvalue(),
        )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)

    return (
        f"warning: {heard[0].message} ({Path(heard[0].filename).name}:{heard[0].lineno})"
        if heard
        else status,
        error.getvalue(),
    )


def call_child(argv: list[str]) -> tuple[int | str, str]:
    """The same in a process of its own."""
    command = [
        sys.executable,
        "-c",
        "import sys; from lifting_ros.cli.main import main; sys.exit(main())",
        *argv,
    ]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=WAITS * TIME_OUT_S)
    except subprocess.TimeoutExpired:
        return "hang", ""

    return child.returncode, child.stderr


def faults(case: fuzz_cases.Case, folder: Path, caller=call) -> tuple[int | str, list[str]]:
    """Run one case in an empty folder; its exit status, and what was wrong with the outcome in a
    few words each."""
    source = folder / "in.npz"
    out = folder / "out.npz"

    if case.content is not None:
        source.write_bytes(case.content)

    status, error = caller(["lift", str(source), "--out", str(out), *case.options])
    source.unlink(missing_ok=True)
    left = sorted(p.name for p in folder.iterdir())
    lines = [
        line
        for line in re.split(r"[\r\n]+", error.replace(UP, ""))
        if line.strip() and not PROGRESS.match(line.strip())
    ]
    wrong = []

    if status not in (0, 2):
        wrong.append(str(status))
    elif case.must is not None and status != case.must:
        wrong.append(f"exit status {status} instead of {case.must}")

    if status == 2 and len(lines) != 1:
        wrong.append(f"{len(lines)} lines on standard error")
    elif status == 2 and source.name not in lines[0] and "stature" not in lines[0]:
        wrong.append(f"names no file: {lines[0][:90]}")

    if status == 2 and left:
        wrong.append(f"left behind: {' '.join(left)}")

    if status == 0:
        wrong += [f"standard error: {lines[0][:90]}"] if lines else []
        wrong += answer_faults(out) if left == ["out.npz"] else [f"files: {' '.join(left)}"]

    for path in folder.iterdir():
        path.unlink()

    return status, wrong


def answer_faults(path: Path) -> list[str]:
    """What is wrong with an answer that was written."""
    with np.load(path, allow_pickle=False) as file:
        out = {name: file[name] for name in file.files}

    if set(out) != set(SHAPES):
        return [f"arrays {sorted(out)}"]

    count = len(out["status"])
    modes = out["hypothesis_weight"].shape[-1]

    for name, shape in SHAPES.items():
        if out[name].shape != (count, *(modes if s is None else s for s in shape)):
            return [f"{name} has the shape {out[name].shape}"]

    return [text for text, wrong in _contents(out).items() if wrong]


def _contents(out: dict[str, np.ndarray]) -> dict[str, bool]:
    known = out["status"] > 0
    weight = out["hypothesis_weight"]
    person = known.any(1)
    counted = np.nan_to_num(weight) > 0
    whole = known.all(1)
    joints = out["joints_m"]
    spread = out["covariance_m2"]
    root_spread = out["root_covariance_m2"]
    placed = person & np.isfinite(root_spread).all((1, 2))

    return {
        "status is not 0, 1 or 2": bool((~np.isin(out["status"], (0, 1, 2))).any()),
        "a known joint is not finite": not np.isfinite(joints[known]).all(),
        "a known covariance is not finite": not np.isfinite(spread[known]).all(),
        "an unknown joint is not NaN": not np.isnan(joints[~known]).all(),
        "an unknown covariance is not NaN": not np.isnan(spread[~known]).all(),
        "a covariance is not symmetric and positive": not _positive(
            spread[known & np.isfinite(spread).all((2, 3))]
        ),
        "a root covariance is half NaN": not np.isnan(root_spread[~placed]).all(),
        "a root covariance is not symmetric and positive": not _positive(root_spread[placed]),
        "a known root is not finite": not np.isfinite(out["root_m"][person]).all(),
        "an unknown root is not NaN": not np.isnan(out["root_m"][~person]).all(),
        "a likelihood is not finite": not np.isfinite(out["log_likelihood"][person]).all(),
        "weights do not sum to one": not np.allclose(np.nansum(weight[person], -1), 1, atol=1e-6),
        "a hypothesis with a weight is not finite": not np.isfinite(
            out["hypotheses_m"][counted]
        ).all(),
        "the root joint is not the root": not np.allclose(
            joints[whole, 0], out["root_m"][whole], equal_nan=True
        ),
    }


def _positive(matrices: np.ndarray) -> bool:
    """Symmetric and positive semidefinite, to the rounding of their largest entry or of a square
    micrometre."""
    size = np.abs(matrices).max((-1, -2), initial=1e-12, keepdims=True)
    symmetric = (np.abs(matrices - np.swapaxes(matrices, -1, -2)) <= 1e-9 * size).all()
    return bool(symmetric and (np.linalg.eigvalsh(matrices / size) >= -1e-6).all())


def warm_up() -> None:
    """Compile the loops now, which can take longer than an input may."""
    KeypointLifter(EstimatorConfig(device="cpu"))


def fuzz(
    count: int, seed: int, children: int = 0, keep: Path | None = None
) -> tuple[dict[str, Counter], dict[str, list[int]]]:
    """Cases 0..count-1 of a seed, the first `children` of them again in processes of their own.

    Returns how often each exit status came, by kind, and the cases that went wrong, by what was
    wrong.
    """
    outcomes: dict[str, Counter] = defaultdict(Counter)
    wrong: dict[str, list[int]] = defaultdict(list)
    todo = [(n, call) for n in range(count)] + [
        (n, call_child) for n in range(min(children, count))
    ]

    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        for number, caller in tqdm(todo, desc="fuzzing", unit="input", mininterval=5, delay=2):
            case = fuzz_cases.draw(np.random.default_rng((seed, number)))
            status, texts = faults(case, Path(folder), caller)
            outcomes[case.kind][status if status in (0, 2) else "fault"] += 1

            for text in texts:
                wrong[f"{case.kind}: {text}"].append(number)

            if texts and keep is not None and case.content is not None:
                (keep / f"{number}.npz").write_bytes(case.content)
                (keep / f"{number}.txt").write_text(
                    "\n".join([case.kind, *case.options, *texts]) + "\n", encoding="utf-8"
                )

    return outcomes, wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="inputs (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    parser.add_argument(
        "--children",
        type=int,
        default=30,
        help="inputs that go through processes of their own as well (default 30)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="keep inputs that went wrong here, and what went wrong",
    )
    args = parser.parse_args()

    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)

    outcomes, wrong = fuzz(args.count, args.seed, args.children, args.keep)
    print(f"{'kind':<28}{'answer':>8}{'refused':>9}{'fault':>7}")

    for kind, each in sorted(outcomes.items()):
        print(f"{kind:<28}{each[0]:>8}{each[2]:>9}{each['fault']:>7}")

    for text, numbers in sorted(wrong.items(), key=lambda item: -len(item[1])):
        print(f"WRONG {len(numbers)} x {text}; inputs {numbers[:5]}")

    print(
        f"{sum(sum(each.values()) for each in outcomes.values())} inputs, seed {args.seed}: "
        f"{sum(map(len, wrong.values()))} faults"
    )

    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
