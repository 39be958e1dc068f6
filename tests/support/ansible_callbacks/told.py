"""An Ansible callback: each result as a line of JSON in the file that TOLD names."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]

DOCUMENTATION = """
name: told
type: notification
short_description: each result as a line of JSON
description: For the tests of ctl.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "told"

    def v2_runner_on_ok(self, result: Any) -> None:
        self._tell(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._tell(result, failed=True)

    def _tell(self, result: Any, *, failed: bool = False) -> None:
        line = {
            "task": result.task.get_name(),
            "failed": failed,
            "result": result.result,
        }
        with open(os.environ["TOLD"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
