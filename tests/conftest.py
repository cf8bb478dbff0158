"""What several test files share."""

from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def compiled():
    """A list that grows by one for every program that XLA compiles during the test."""
    events = []

    def listen(name, duration, **_):
        if name.endswith("backend_compile_duration"):
            events.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def pytest_collection_modifyitems(items):
    """The notebooks first: they take longest, and the other process has all else to do."""
    items.sort(key=lambda item: "test_notebooks" not in item.nodeid)
