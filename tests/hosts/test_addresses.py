"""A group on hosts that have IPv6 addresses too, as most have: it answers, and nothing but our own log is written."""

import re

import pytest
from hosts.group import PROJECT, Group
from hosts.talking import complete


@pytest.mark.parametrize("hosts, ranks", [(1, 2), (2, 2)], indirect=["hosts"], ids=["one-host", "two-hosts"])
def test_ipv6_beside_ipv4(hosts, ranks, tmp_path):
    for i, name in enumerate(hosts.names):
        hosts.add_address(name, f"fd00:203:7::{i + 1}/64")
    with Group(ranks, ["--config", PROJECT / "configs/demo.yaml"], tmp_path / "log", hosts) as group:
        assert complete(group.url, prompt="It was", max_tokens=3)["finish_reason"] == "length"
        lines = group.log().splitlines()
        assert group.end()["exit"] == 0
    assert [line for line in lines if not re.match(r"\[\d{4}-\d\d-\d\d ", line)] == []
