# SPDX-License-Identifier: Apache-2.0
"""ROS' parser of message definitions imports a version of lark that warns when it is imported; here
it does so unheard."""

import contextlib
import warnings

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    warnings.simplefilter("ignore", DeprecationWarning)
    import lark  # noqa: F401
