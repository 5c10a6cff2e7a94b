"""What all tests share."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Repeat a test of real time at most twice, as the harness does with a disturbed trial.

    On a small machine the host stalls some 50 times a minute. A repetition is reported by name, so
    that a test that needs it often is seen. Processes that share the tests begin with the long
    ones, so that none of them is the last.
    """
    for item in items:
        if item.get_closest_marker("realtime") or item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=2))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
