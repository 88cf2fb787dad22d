# SPDX-License-Identifier: Apache-2.0
"""The files that describe the package agree with one another: messages, versions, dependencies,
installed folders."""

import ast
import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import lifting_ros

ROOT = Path(__file__).resolve().parent.parent
MESSAGES = sorted(path.name for path in (ROOT / "msg").glob("*.msg"))
PIP = "pip"
"""Installed from tools/requirements_pip.txt."""

KEYS = {
    "ament_index_python": "rclpy",
    "builtin_interfaces": "builtin_interfaces",
    "c3d": None,
    "cv2": "python3-opencv",
    "cv_bridge": "cv_bridge",
    "diagnostic_msgs": "diagnostic_msgs",
    "embreex": None,
    "geometry_msgs": "geometry_msgs",
    "h5py": None,
    "launch": "launch",
    "launch_ros": "launch_ros",
    "lifecycle_msgs": "lifecycle_msgs",
    "lifting_ros": "rosidl_default_runtime",
    "matplotlib": "python3-matplotlib",
    "numba": PIP,
    "numpy": "python3-numpy",
    "onnx": None,
    "onnxruntime": None,
    "onnxscript": None,
    "openvino": None,
    "pyarrow": None,
    "rcl_interfaces": "rclpy",
    "ray": None,
    "rclpy": "rclpy",
    "rerun": None,
    "rosbags": PIP,
    "rosgraph_msgs": "rclpy",
    "safetensors": PIP,
    "scipy": "python3-scipy",
    "sensor_msgs": "sensor_msgs",
    "std_msgs": "std_msgs",
    "std_srvs": "std_srvs",
    "tf2_msgs": "tf2_msgs",
    "tf_transformations": "tf_transformations",
    "torch": PIP,
    "tqdm": "python3-tqdm",
    "transforms3d": "python3-transforms3d",
    "visualization_msgs": "visualization_msgs",
    "yaml": "python3-yaml",
}
"""Imported modules and the key in package.xml that installs them; None: optional and without a key
(checked in rosdistro's python.yaml)."""

WITHOUT_DEBIAN_PACKAGE = {"python3-numba", "python3-rosbags-pip", "python3-torch"}
"""Keys that rosdep knows and Ubuntu 24.04 cannot install: no package, or one from pip, which a
Debian package of this one could not depend on."""

PLACEHOLDER = ".invalid"
"""Top-level domain of addresses that never resolve (RFC 2606)."""


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def package_xml():
    return ElementTree.fromstring(read("package.xml"))


def declared_keys():
    return {e.text for e in package_xml() if e.tag in ("depend", "exec_depend", "build_depend")}


def requirement_lines(name):
    lines = [line.split("#")[0].strip() for line in read(name).splitlines()]
    return {line for line in lines if line}


def required_modules(name):
    """The modules of a requirements file, whose lines read `NAME RANGE  # MODULE: why`."""
    return re.findall(r"^[A-Za-z][^#]*# ([\w.]+):", read(name), re.M)


def requirement_names(lines):
    return {re.split(r"[<>=\[ ]", line)[0].lower() for line in lines}


def quoted_list(text, key):
    """The strings of the TOML list `key = [...]`: tomllib is not in Python 3.10."""
    return set(
        ast.literal_eval("[" + re.search(rf"^{key} = \[(.*?)^\]", text, re.S | re.M)[1] + "]")
    )


def imported_modules():
    files = [*(ROOT / "lifting_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    nodes = [
        node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    return {name.split(".")[0] for name in names}


def third_party_modules():
    return imported_modules() - set(sys.stdlib_module_names)


def message_class(name):
    messages = pytest.importorskip(
        "lifting_ros.msg", reason="the messages have not been generated: make build"
    )
    return getattr(messages, name)


def test_every_message_file_is_listed_in_cmake():
    listed = re.findall(r'"msg/(\w+\.msg)"', read("CMakeLists.txt"))
    assert MESSAGES and sorted(listed) == MESSAGES


def test_versions_agree():
    assert package_xml().findtext("version") == lifting_ros.__version__
    assert 'attr = "lifting_ros.__version__"' in read("pyproject.toml")
    assert re.search(r"^(Forthcoming|\d+\.\d+\.\d+ \(.*\))$", read("CHANGELOG.rst"), re.M)


@pytest.mark.parametrize("name", ["package.xml", "tools/pip_ros/tf2_msgs/package.xml"])
def test_placeholder_addresses_are_explained(name):
    package = ElementTree.fromstring(read(name))
    addresses = [package.find("maintainer").get("email")]
    addresses += [url.text for url in package.findall("url")]
    assert all(addresses) and not any("example." in address for address in addresses)
    if any(PLACEHOLDER in address for address in addresses):
        assert re.search(r"<!-- (A placeholder|Placeholders)", read(name))


def test_package_can_be_released():
    """What bloom and a build farm ask for: who, where, licences, and no download in the build."""
    package = package_xml()
    kinds = {url.get("type") for url in package.findall("url")}
    assert kinds == {"website", "bugtracker", "repository"}
    assert package.findtext("author") and package.find("maintainer").get("email")
    assert (ROOT / package.find("license").get("file")).is_file()
    installed = re.search(r"install\(FILES ([\w. ]+) DESTINATION share", read("CMakeLists.txt"))[1]
    assert {"LICENSE", "NOTICE"} <= set(installed.split())
    downloads = r"FetchContent|ExternalProject|DOWNLOAD|https?://|\b(pip|curl|wget|git)\b"
    assert not re.search(downloads, read("CMakeLists.txt"))


def test_citation_has_the_version_of_the_package():
    assert f"\nversion: {lifting_ros.__version__}\n" in read("CITATION.cff")


def test_message_dependencies_are_declared():
    fields = re.findall(
        r"^([a-z]\w+)/\w+", "\n".join(read(f"msg/{name}") for name in MESSAGES), re.M
    )
    used = set(fields)
    in_cmake = set(re.search(r"DEPENDENCIES ([\w ]+)\)", read("CMakeLists.txt"))[1].split())
    assert in_cmake == used
    assert used <= {e.text for e in package_xml().findall("depend")}
    assert used <= set(re.findall(r"find_package\((\w+)", read("CMakeLists.txt")))


def test_every_import_has_a_dependency():
    unknown = third_party_modules() - KEYS.keys()
    assert not unknown, f"add to KEYS and package.xml: {sorted(unknown)}"
    wanted = {KEYS[module] for module in third_party_modules()} - {None, PIP}
    assert wanted <= declared_keys(), f"missing in package.xml: {sorted(wanted - declared_keys())}"


def test_dependencies_without_rosdep_key_are_in_a_comment():
    comments = " ".join(re.findall(r"<!--(.*?)-->", read("package.xml"), re.S))
    assert all(module in comments for module, key in KEYS.items() if key in (None, PIP))


def test_modules_from_pip_are_in_their_requirements():
    from lifting_ros.requirements import FROM_PIP

    modules = {module for module, key in KEYS.items() if key == PIP}
    installed = set(required_modules("tools/requirements_pip.txt"))
    assert installed - modules == {"openvino"}  # without it torch runs the networks
    assert modules <= installed and modules == set(FROM_PIP)
    others = {name.split(".")[0] for name in required_modules("tools/requirements.txt")}
    assert others - {"rosbags"} <= {
        module for module, key in KEYS.items() if key not in (None, PIP)
    }


def test_rosdep_installs_every_key_on_ubuntu_noble():
    assert not declared_keys() & WITHOUT_DEBIAN_PACKAGE


@pytest.mark.parametrize("distro", ["jazzy", "kilted"])
def test_ros_wheels_are_pinned_and_cover_messages(distro):
    lines = requirement_lines(f"tools/ros_{distro}.txt") | requirement_lines(
        f"tools/ros_{distro}_build.txt"
    )
    assert all("==" in line for line in lines)
    interfaces = {k for k in declared_keys() if re.fullmatch(r"\w+_(msgs|srvs|interfaces)", k)} - {
        "tf2_msgs"
    }
    assert {"ros-" + k.replace("_", "-") for k in interfaces} <= requirement_names(lines)


def test_pip_build_requirements_are_the_jazzy_wheels():
    requires = quoted_list(read("pyproject.toml"), "requires")
    build = requirement_lines("tools/ros_jazzy_build.txt")
    jazzy = requirement_lines("tools/ros_jazzy.txt") | build
    assert build <= requires
    assert {line for line in requires if line.startswith("ros-")} <= jazzy


def test_requirements_give_module_and_reason():
    for path in sorted((ROOT / "tools").glob("requirements*.txt")):
        text = path.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert lines and all(re.match(r"\S+( ; .+?)?\s+# [\w.]+: \w+", line) for line in lines)


def test_scripts_are_installed_and_lead_to_modules():
    scripts = sorted((ROOT / "scripts").iterdir())
    installed = set(re.findall(r"scripts/(\w+)", read("CMakeLists.txt")))
    assert {path.name for path in scripts} == installed
    for path in scripts:
        assert path.stat().st_mode & 0o111, path
        module = re.search(
            r"from lifting_ros\.([\w.]+) import main", path.read_text(encoding="utf-8")
        )[1]
        assert (ROOT / "lifting_ros" / (module.replace(".", "/") + ".py")).is_file(), module


def test_array_sizes_match_the_joint_orders():
    skeleton = pytest.importorskip("lifting_ros.skeleton")
    joints, keypoints = len(skeleton.JOINT_NAMES), len(skeleton.KEYPOINT_NAMES)
    assert len(message_class("Skeleton3D")().joints) == joints
    assert len(message_class("Skeleton2D")().keypoints) == keypoints
    info = message_class("SkeletonInfo")()
    assert {len(info.joint_names), len(info.joint_parents), len(info.joint_flip)} == {joints}
    sizes = {
        len(info.keypoint_names),
        len(info.keypoint_parents),
        len(info.keypoint_flip),
        len(info.keypoint_to_joint),
    }
    assert sizes == {keypoints}


def test_message_comments_give_the_joint_orders():
    skeleton = pytest.importorskip("lifting_ros.skeleton")
    for name, order in (
        ("Skeleton2D", skeleton.KEYPOINT_NAMES),
        ("Skeleton3D", skeleton.JOINT_NAMES),
    ):
        words = re.findall(r"\w+", read(f"msg/{name}.msg").split("# Order:")[1])
        assert tuple(words[: len(order)]) == tuple(order)


def test_generated_messages_are_those_of_the_files():
    for name in MESSAGES:
        fields = re.findall(r"^[\w/]+(?:\[\d*\])? +(\w+)(?: *#.*)?$", read(f"msg/{name}"), re.M)
        generated = message_class(name.removesuffix(".msg")).get_fields_and_field_types()
        assert list(generated) == fields, f"{name}: run make build"


def test_share_file_finds_what_ships():
    from lifting_ros.paths import share_file

    assert share_file("config/fastdds_shm.xml").is_file()
    with pytest.raises(
        FileNotFoundError, match=r"no_such\.yaml: expected in one of .*share/lifting_ros"
    ):
        share_file("config/no_such.yaml")


def test_child_processes_do_not_run_the_command_again():
    """multiprocessing imports the parent's script under the name __mp_main__."""
    runpy.run_path(str(ROOT / "scripts" / "lifting"), run_name="__mp_main__")
