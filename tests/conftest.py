"""What several test files share."""

import shutil
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


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium, or a skip that says what is missing."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium on the path: install the package chromium to run browser tests")
    return path
