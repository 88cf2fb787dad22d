# SPDX-License-Identifier: Apache-2.0
import conftest_ros  # noqa: F401
