"""Ansible callback: each task's result on each host as a line of JSON, in the file that ``RESULTS`` names."""

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: results
type: notification
short_description: Each result as a line of JSON
description: Each result as a line of JSON.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Writes down what each task said, of a loop all at once."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "results"

    def v2_runner_on_ok(self, result: Any) -> None:
        """Write what went well."""
        self._write(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Write what failed."""
        self._write(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Write where a host could not be reached."""
        self._write(result)

    def _write(self, result: Any) -> None:
        task = result._task.get_name().rpartition(" : ")[2]
        with open(os.environ["RESULTS"], "a") as file:
            file.write(json.dumps({"host": result._host.name, "task": task, **result._result}) + "\n")
