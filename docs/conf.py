# SPDX-License-Identifier: Apache-2.0
"""Sphinx: `sphinx-build -W docs out/docs` with sphinx and myst-parser; rosdoc2 reads it, too."""

project = "lifting_ros"
copyright = "lifting_ros maintainers"
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "alabaster"
