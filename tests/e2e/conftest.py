import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from group import Group  # noqa: E402


@pytest.fixture(scope="module")
def group():
    """A group that serves the demo model, shared by a file's tests."""
    with Group() as running:
        yield running.wait_until_listening()


@pytest.fixture
def client(group):
    return group.connect()
