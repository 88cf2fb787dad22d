# SPDX-License-Identifier: Apache-2.0
"""The recipes in config/ are the code's own values, each with its meaning beside it."""

import dataclasses
from pathlib import Path

import pytest

from lifting_ros.config import from_mapping, read_yaml
from lifting_ros.research.training.train_depth_cue import DepthCueTrainConfig
from lifting_ros.research.training.train_detector import DetectorTrainConfig
from lifting_ros.research.training.train_image import ImageTrainConfig
from lifting_ros.research.training.train_joint_offsets import JointOffsetsTrainConfig
from lifting_ros.research.training.train_network import RECIPES as NETWORKS
from lifting_ros.research.training.train_pose_correction import RECIPES as CORRECTIONS
from lifting_ros.research.training.train_relative import RelativeTrainConfig
from lifting_ros.research.training.train_stereo import StereoTrainConfig
from lifting_ros.research.training.train_supervised import SupervisedTrainConfig

CONFIG = Path(__file__).parents[2] / "config"
RECIPES = {
    "train_detector.yaml": DetectorTrainConfig(),
    "train_depth-cue.yaml": DepthCueTrainConfig(),
    "train_joint-offsets.yaml": JointOffsetsTrainConfig(),
    **{f"train_{name}.yaml": recipe for name, recipe in (NETWORKS | CORRECTIONS).items()},
    "train_supervised.yaml": SupervisedTrainConfig(),
    "train_relative.yaml": RelativeTrainConfig(),
    "train_stereo.yaml": StereoTrainConfig(),
    "train_image.yaml": ImageTrainConfig(),
}


@pytest.mark.parametrize(("name", "recipe"), RECIPES.items())
def test_the_recipe_that_ships_is_the_default(name, recipe):
    assert from_mapping(type(recipe), read_yaml(CONFIG / name)) == recipe


@pytest.mark.parametrize(("name", "recipe"), RECIPES.items())
def test_every_value_stands_in_the_file_with_its_meaning(name, recipe):
    text = (CONFIG / name).read_text(encoding="utf-8")
    todo = [recipe]
    while todo:
        for field in dataclasses.fields(config := todo.pop()):
            assert f"{field.name}:" in text and field.metadata["description"] in text
            if dataclasses.is_dataclass(getattr(config, field.name)):
                todo.append(getattr(config, field.name))
