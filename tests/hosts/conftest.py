import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hosts import network  # noqa: E402


def pytest_collection_modifyitems(items):
    if why := network.missing():
        print(f"\nSKIPPED, all tests on several hosts: {why}", flush=True)
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture
def hosts(request, tmp_path):
    """Two hosts, or as many as the test is parametrized with."""
    with network.Network(getattr(request, "param", 2), tmp_path) as made:
        yield made
