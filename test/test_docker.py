# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile and the development container agree with the package and with what the
documentation says about them; no docker is needed."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tools" / "docker"
INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "SHELL", "WORKDIR"}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def instructions():
    """Pairs of an instruction and its text, continued lines joined."""
    text = re.sub(r"^#.*\n", "", read("tools/docker/Dockerfile"), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def of_kind(kind):
    return [text for name, text in instructions() if name == kind]


def stages():
    """Names of the stages and what each is built from."""
    found = [re.fullmatch(r"(\S+) AS (\S+)", text).groups() for text in of_kind("FROM")]
    return {name: source for source, name in found}


def arguments():
    return {text.partition("=")[0] for text in of_kind("ARG")}


def docker_lines():
    """Commands of docker in the documentation and in the Dockerfile's own comment."""
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", FOLDER / "Dockerfile"]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    stripped = [line.lstrip("# ") for line in lines]
    return [shlex.split(line) for line in stripped if line.startswith("docker ")]


def test_every_line_is_an_instruction():
    assert {name for name, _ in instructions()} <= INSTRUCTIONS


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_linter_has_no_complaint():
    done = subprocess.run(["hadolint", FOLDER / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_image_is_of_the_default_distribution():
    default = re.search(r"PIP_ROS:-(\w+)\}", read("tools/build.sh"))[1]
    assert stages()["system"] == f"ros:{default}-ros-base"
    text = read("tools/docker/Dockerfile") + read(".devcontainer/devcontainer.json")
    assert set(re.findall(r"/opt/ros/(\w+)/", text)) == {default}
    assert f"rosdep update --rosdistro {default}" in text


def test_variants_are_stages():
    assert stages()["node"] == "python-${VARIANT}"
    variants = {name.removeprefix("python-") for name in stages() if name.startswith("python-")}
    assert variants == {"cpu", "cuda"}
    given = [word.partition("=")[2] for words in docker_lines() for word in words]
    documented = re.findall(r"VARIANT=(\w+)", " ".join(map(" ".join, docker_lines())))
    assert given and set(documented) == variants


def test_documented_build_arguments_exist():
    builds = [words for words in docker_lines() if words[1] == "build"]
    assert builds
    for words in builds:
        assert words[words.index("-f") + 1] == "tools/docker/Dockerfile" and words[-1] == "."
        given = [words[k + 1] for k, word in enumerate(words) if word == "--build-arg"]
        assert {word.partition("=")[0] for word in given} <= arguments()


def test_documented_images_are_built_before_they_are_run():
    built = {words[words.index("-t") + 1] for words in docker_lines() if words[1] == "build"}
    run = [words for words in docker_lines() if words[1] == "run"]
    assert run
    for words in run:
        assert built & set(words), words
        launched = words[words.index("ros2") :]
        assert launched[1:3] == ["launch", "lifting_ros"]
        assert (ROOT / "launch" / launched[3]).is_file()


def test_copied_files_exist():
    for text in of_kind("COPY"):
        for source in text.split()[:-1]:
            assert (ROOT / source).exists(), source


def test_python_packages_are_those_of_the_requirements():
    installs = [text for text in of_kind("RUN") if text.startswith("pip install")]
    copied = "tools/requirements_pip.txt src/lifting_ros/tools/"
    assert len(installs) == 2 and copied in of_kind("COPY")
    assert all(text.endswith("-r src/lifting_ros/tools/requirements_pip.txt") for text in installs)


def test_first_start_of_an_image_has_nothing_to_compile():
    """What the node gets ready in its thread is made where images and virtual environments are."""
    preparation = read("lifting_ros/ros/preparation.py")
    assert "lifter.warm_up(" in preparation and "Tracker()" in preparation
    (build,) = [text for text in of_kind("RUN") if "colcon build" in text]
    for text in (build, read("tools/build.sh")):
        made = [text.find(name) for name in ("PoseEstimator()", "Tracker()")]
        assert min(made) > 0


def test_entrypoint_is_copied_and_can_be_run():
    (entrypoint,) = of_kind("ENTRYPOINT")
    assert f"tools/docker/entrypoint.sh {json.loads(entrypoint)[0]}" in of_kind("COPY")
    assert os.access(FOLDER / "entrypoint.sh", os.X_OK)


def test_development_container_uses_a_stage():
    settings = json.loads(read(".devcontainer/devcontainer.json"))
    build = settings["build"]
    folder = ROOT / ".devcontainer"
    assert (folder / build["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    assert (folder / build["context"]).resolve() == ROOT
    assert build["target"] in stages()
    mounted = re.search(r"target=([^,]+)", settings["workspaceMount"])[1]
    assert mounted == settings["workspaceFolder"] == "/ws/src/lifting_ros"
    (requirements,) = re.findall(r"-r (\S+)", settings["postCreateCommand"])
    assert (ROOT / requirements).is_file()
