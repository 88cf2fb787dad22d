# SPDX-License-Identifier: Apache-2.0
"""Configuration of Sphinx for `sphinx-build -W docs out/docs`; rosdoc2 reads it too."""

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

project = "lifting_ros"
copyright = "lifting_ros contributors"
html_theme = "alabaster"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"

# The pages can be built without the libraries of the package.
LIBRARIES = ("numba", "numpy", "safetensors", "scipy", "torch", "yaml")
autodoc_mock_imports = [name for name in LIBRARIES if find_spec(name) is None]
