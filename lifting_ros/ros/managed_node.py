# SPDX-License-Identifier: Apache-2.0
"""What the nodes of this package have in common: parameters and the course of the lifecycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from lifting_ros.config import ConfigError
from lifting_ros.ros.conversions import first_line
from lifting_ros.ros.declaration import Parameters

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


class ManagedNode(LifecycleNode):
    """A lifecycle node that says why a transition failed, and leaves nothing running after that.

    A subclass implements `begin`, `close` and `describe`, and extends `release`.
    """

    def __init__(self, name: str, config_type: type, refuse: Callable[[Any], None], **node_options):
        """config_type, refuse: as in `Parameters`. ConfigError in one line for an invalid
        parameter."""
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **node_options)
        self.parameters = Parameters(self, config_type, refuse=refuse)
        self._failure = ""
        self._starting = False

    def begin(self) -> None:
        """Start what an active node does."""
        raise NotImplementedError

    def close(self) -> None:
        """End what `begin` started, also where it failed halfway."""
        raise NotImplementedError

    def describe(self) -> str:
        """What an active node does, for the log."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of what configuring made; all parameters may change again."""
        self.parameters.in_use = False

    def start(self) -> None:
        """Configure and activate; raises ConfigError in one line if that fails."""
        self._failure = ""
        self._starting = True
        try:
            if self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
                raise ConfigError(self._failure or "the node did not start")
        finally:
            self._starting = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fix the parameters that are not live."""
        self._failure = ""
        self.parameters.in_use = True
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin."""
        result = super().on_activate(state)
        try:
            self.begin()
        except Exception as error:
            # Such as a topic that SROS forbids. rclpy calls on_error and reports nothing itself.
            self.report_failure(error)
            raise

        self.get_logger().info(self.describe())
        return result

    def report_failure(self, error: Exception) -> None:
        """Keep the reason why a transition failed, and log it unless `start` will raise it."""
        self._failure = first_line(error)
        if not self._starting:
            self.get_logger().error(self._failure)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End everything and remove what is displayed; nothing is published after that."""
        self.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release."""
        self.release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End and release everything, from any state."""
        self.close()
        self.release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition failed: return to unconfigured, with nothing running."""
        self.close()
        return self.on_cleanup(state)
