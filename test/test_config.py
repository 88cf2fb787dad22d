# SPDX-License-Identifier: Apache-2.0
import pytest

from lifting_ros.config import ConfigError, from_mapping, read_yaml, updated
from lifting_ros.estimator import EstimatorConfig


def test_nested_values_arrive():
    config = from_mapping(
        EstimatorConfig, {"device": "cpu", "lifting": {"rotations": 20}, "detector": {"score": 1}}
    )
    assert (config.device, config.lifting.rotations, config.detector.score) == ("cpu", 20, 1.0)
    assert config.lifting.modes == EstimatorConfig().lifting.modes


def test_what_an_update_does_not_name_stays():
    base = from_mapping(EstimatorConfig, {"device": "cpu", "lifting": {"rotations": 20}})
    config = updated(base, {"threads": 3, "lifting": {"modes": 2}})
    assert (config.device, config.threads) == ("cpu", 3)
    assert (config.lifting.rotations, config.lifting.modes) == (20, 2)
    with pytest.raises(ConfigError, match=r"^lifting\.mode: unknown parameter"):
        updated(base, {"lifting": {"mode": 2}})


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"devise": "cpu"}, "devise"),
        ({"lifting": {"rotation": 3}}, "lifting.rotation"),
        ({"lifting": {"rotations": 3}}, "lifting.rotations"),
        ({"lifting": {"rotations": 30.5}}, "lifting.rotations"),
        ({"threads": True}, "threads"),
        ({"device": 3}, "device"),
        ({"detector": 3}, "detector"),
        ({"detector": {"score": 1.5}}, "detector.score"),
    ],
)
def test_wrong_key_or_value_is_named(values, key):
    with pytest.raises(ConfigError, match=f"^{key}: "):
        from_mapping(EstimatorConfig, values)


def test_broken_yaml_is_one_line(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [1\nb: }")
    with pytest.raises(ConfigError) as error:
        read_yaml(tmp_path / "a.yaml")
    assert "a.yaml" in str(error.value) and "\n" not in str(error.value)


def test_yaml_cannot_make_objects(tmp_path):
    (tmp_path / "a.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError):
        read_yaml(tmp_path / "a.yaml")
