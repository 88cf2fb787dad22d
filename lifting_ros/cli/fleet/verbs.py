# SPDX-License-Identifier: Apache-2.0
"""The verbs that a fleet runs, and what determines their output."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import lifting_ros
from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.fleet.sources import BAG, IMAGES, VIDEO
from lifting_ros.cli.models import Models

if TYPE_CHECKING:
    from lifting_ros.estimator import EstimatorConfig

Arguments = dict[str, Any]

FILE_OPTIONS = ("camera", "params", "prior", "recipe", "weights")
"""Options of the verbs that name a file."""


@dataclass(frozen=True)
class Verb:
    """A verb of `lifting` that makes one output of one source."""

    name: str
    kinds: tuple[str, ...]
    """What it takes."""
    suffixes: tuple[str, ...]
    """What its output may end in, the default first."""
    places: Callable[[Path, Path], Arguments]
    """Its arguments for a source and an output."""
    config: Callable[[argparse.Namespace], EstimatorConfig]
    """The configuration that names its models."""

    @property
    def module(self) -> ModuleType:
        """Its module of the command line."""
        return importlib.import_module(f"lifting_ros.cli.{self.name}")

    def parse(self, words: Sequence[str]) -> Arguments:
        """The arguments of its options, without source and output.

        CommandError for words that name a source or an output as well, or a file that is not
        there; exits as every verb does for an option that it does not have.
        """
        parser = argparse.ArgumentParser(f"lifting fleet --verb {self.name}")
        self.module.add_arguments(parser)
        source, out = Path("SOURCE"), Path("OUT")
        arguments = vars(parser.parse_args([str(source), "--out", str(out), *words]))
        places = self.places(source, out)
        outputs = arguments.get("overlay") or arguments.get("stages")
        if not places.items() <= arguments.items() or outputs:
            raise CommandError(
                f"--verb {self.name} {' '.join(words)}: expected options that name no source,"
                " --out, --overlay or --stages"
            )

        options = {name: value for name, value in arguments.items() if name not in places}
        for name in FILE_OPTIONS:
            if options.get(name):
                # A worker may run in another folder.
                path = Path(options[name]).absolute()
                if not path.is_file():
                    raise CommandError(f"--{name} {path}: no such file")
                options[name] = str(path)
        return options

    def check(self, options: Arguments, out: Path) -> None:
        """Raise LiftingError for options that are wrong for every source; out: of any of them."""
        places = self.places(out.with_name("source"), out)
        self.module.check(argparse.Namespace(**options, **places))

    def run(self, options: Arguments, source: Path, out: Path, models: Models) -> None:
        """Make the output of one source, or none where there is nothing to write."""
        arguments = argparse.Namespace(**options, **self.places(source, out))
        self.module.process(arguments, models)

    def task(self, options: Arguments) -> dict[str, Any]:
        """What determines an output besides its source, as JSON has it.

        LiftingError or OSError for a model or a file that cannot be read.
        """
        from lifting_ros.io.checkpoint import sha256_of

        config = self.config(argparse.Namespace(**options))
        given = dict(options)
        for name in FILE_OPTIONS:
            if given.get(name):
                given[name] = {"sha256": sha256_of(given[name])}

        task = {
            "verb": self.name,
            "version": lifting_ros.__version__,
            "options": given,
            "models": {name: sha256_of(path) for name, path in model_files(config).items()},
        }
        return json.loads(json.dumps(task))


def model_files(config: EstimatorConfig) -> dict[str, Path]:
    """The files that an estimator is loaded from, by what they are."""
    from lifting_ros.estimator import network_and_detector
    from lifting_ros.lifting.lifters import WEIGHTS, weights_of

    network, detector = network_and_detector(config)
    prior = Path(config.prior or WEIGHTS / "prior.npz")
    files = {"network": network, "detector": detector, "prior": prior}
    lifter = weights_of(config.lifter, config.lifter_weights)
    if lifter:
        files["lifter"] = lifter
    return files


def _estimate_places(source: Path, out: Path) -> Arguments:
    return {"source": str(source), "out": str(out)}


def _estimate_config(args: argparse.Namespace) -> EstimatorConfig:
    from lifting_ros.cli.estimate import make_config

    return make_config(args)


def _bag_places(source: Path, out: Path) -> Arguments:
    return {"bag": source, "out": out}


def _bag_config(args: argparse.Namespace) -> EstimatorConfig:
    from lifting_ros.cli.bag import make_config
    from lifting_ros.cli.demo import check_ros

    check_ros()
    return make_config(args).estimator


def _label_places(source: Path, out: Path) -> Arguments:
    return {"images": [str(source)], "out": str(out)}


def _label_config(args: argparse.Namespace) -> EstimatorConfig:
    from lifting_ros.estimator import EstimatorConfig

    return EstimatorConfig(prior=args.prior, lifter="stereo", lifter_weights=args.weights)


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "estimate",
            (BAG, VIDEO, IMAGES),
            (".npz", ".mcap"),
            _estimate_places,
            _estimate_config,
        ),
        Verb("bag", (BAG,), (".mcap",), _bag_places, _bag_config),
        Verb("label", (IMAGES,), (".labels",), _label_places, _label_config),
    )
}
"""The verbs by name, the default first."""
