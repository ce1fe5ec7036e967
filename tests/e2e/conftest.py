import pytest

from group import Group


@pytest.fixture(scope="module")
def group():
    """A group that serves the demo model, shared by a file's tests."""
    with Group() as running:
        yield running.wait_until_listening()


@pytest.fixture
def client(group):
    return group.connect()
