"""The mark in the environment of every process that a test starts: whose it is, on a machine where other tests run."""

from __future__ import annotations

import os

MARK = "CTL_TEST_ID"
# Every mark of one process of pytest begins with it, also in the processes that it starts.
SESSION = os.environ.get(MARK, "").partition("-")[0] or os.urandom(6).hex()
