# SPDX-License-Identifier: Apache-2.0
"""Every key of package.xml can be installed on every distribution that is supported, according to
a checkout of github.com/ros/rosdistro that LIFTING_ROSDISTRO names. Skipped without one."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "LIFTING_ROSDISTRO"
PLATFORMS = {"jazzy": "noble", "kilted": "noble", "lyrical": "resolute", "rolling": "resolute"}
"""Distributions and the Ubuntu that each is released for."""


@pytest.fixture(scope="module")
def rosdistro():
    if not os.environ.get(VARIABLE):
        pytest.skip(f"no checkout of rosdistro at hand (set {VARIABLE})")
    return Path(os.environ[VARIABLE])


def read(path):
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)


@pytest.fixture(scope="module")
def rules(rosdistro):
    """rosdep's rules by key."""
    files = [rosdistro / "rosdep" / f"{name}.yaml" for name in ("base", "python")]
    return {key: rule for path in files for key, rule in read(path).items()}


def released(distribution):
    """Names of the packages that a distribution releases."""
    names = set()
    for name, repository in distribution["repositories"].items():
        if "release" in repository:
            names |= set(repository["release"].get("packages", [name]))
    return names


def packages_of(rule, system, codename):
    """System packages that a rule of rosdep installs; none where it has nothing or pip."""
    found = rule.get(system, rule.get("*"))
    if isinstance(found, dict) and "pip" not in found:
        found = found.get(codename, found.get("*"))
    return found if isinstance(found, list) else []


@pytest.mark.parametrize("distro", sorted(PLATFORMS))
def test_every_key_has_a_system_package(rosdistro, rules, distro):
    distribution = read(rosdistro / distro / "distribution.yaml")
    assert distribution["release_platforms"]["ubuntu"] == [PLATFORMS[distro]]

    package = ElementTree.parse(ROOT / "package.xml").getroot()
    keys = {element.text for element in package if element.tag.endswith("depend")}
    for system, codenames in distribution["release_platforms"].items():
        if system in ("ubuntu", "debian"):
            missing = {
                key
                for key in keys - released(distribution)
                if not packages_of(rules.get(key, {}), system, codenames[0])
            }
            assert not missing, f"{system} {codenames[0]}"


def test_pip_rules_and_unknown_keys_have_no_package(rules):
    assert packages_of(rules["python3-numpy"], "ubuntu", "noble") == ["python3-numpy"]
    assert packages_of(rules["python3-torch"], "ubuntu", "focal") == []
    assert packages_of(rules["python3-rosbags-pip"], "ubuntu", "noble") == []
    assert packages_of({}, "ubuntu", "noble") == []
