"""That the suite runs side by side as it is meant to."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("honoured")
def test_a_group_is_honoured(request: pytest.FixtureRequest) -> None:
    """Tests of one group share what their module sets up, and must not run beside each other."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("needs several workers: bin/test without PATH")
    assert request.node.nodeid.endswith("@honoured")
