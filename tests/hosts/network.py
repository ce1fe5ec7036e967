"""Hosts on one machine: network namespaces, each with its own host name, on a switch. Only under tests/hosts/inside."""

import json
import os
import subprocess
from pathlib import Path

SUBNET = "10.203.7"  # of namespaces that reach nothing else


def missing():
    """Why hosts cannot be made here, or None."""
    answer = os.environ.get("SINKSTREAM_HOSTS", "started without tests/hosts/inside")
    return None if answer == "yes" else answer


def run(*command):
    subprocess.run(command, check=True, timeout=60)


class Network:
    """`count` hosts named host1, host2 and so on. `directory` gets the agent through which mpirun starts its daemons."""

    def __init__(self, count, directory):
        if why := missing():
            raise RuntimeError(why)
        self.names = [f"host{i + 1}" for i in range(count)]
        self._agent = Path(directory) / "agent"
        run("ip", "link", "add", "switch", "type", "bridge")
        run("ip", "address", "add", f"{SUBNET}.254/24", "dev", "switch")
        run("ip", "link", "set", "switch", "up")
        for name in self.names:
            self._add(name)
        with open("/etc/hosts", "a") as file:
            file.writelines(f"{self.address(name)} {name}\n" for name in self.names)
        # What mpirun calls like ssh, and which like ssh stays on the near host and has a shell there run the line that its
        # words make: OpenMPI 5's begins with assignments. $PREPARE_<host> runs there first, e.g. to hide a file.
        self._agent.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nhost=$1\nshift\n'
                               'eval "prepare=\\${PREPARE_$host:-:}"\n'
                               'there="hostname $host; $prepare; "\'exec sh -c "$0"\'\n'
                               'ip netns exec "$host" unshare --uts --mount sh -c "$there" "$*"\n')
        self._agent.chmod(0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in self.names:
            run("ip", "link", "delete", f"to-{name}")  # first, since a namespace is taken down later, in the background
            run("ip", "netns", "delete", name)
        run("ip", "link", "delete", "switch")

    def _add(self, name):
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"to-{name}", "master", "switch", "up")
        for command in (["address", "add", f"{self.address(name)}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                        ["link", "set", "lo", "up"]):
            run("ip", "-netns", name, *command)

    def address(self, name):
        return f"{SUBNET}.{self.names.index(name) + 1}"

    def add_address(self, name, address):
        run("ip", "-netns", name, "address", "add", address, "dev", "eth0", "nodad")

    def command(self, name, *command):
        """The command as a process of that host."""
        return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', name, *command]

    def environment(self):
        """For mpirun: how it reaches the hosts, in OpenMPI 4's words and in 5's."""
        return {"OMPI_MCA_plm_rsh_agent": str(self._agent), "OMPI_MCA_oob_tcp_if_include": "eth0",
                "PRTE_MCA_plm_ssh_agent": str(self._agent), "PRTE_MCA_prte_if_include": "eth0",
                "OMPI_MCA_btl_tcp_if_include": "eth0"}

    def cut(self, name):
        run("ip", "link", "set", f"to-{name}", "down")

    def mend(self, name):
        run("ip", "link", "set", f"to-{name}", "up")

    def degrade(self, name):
        """A slow link that loses packets, towards the host; says what was done. Without netem in the kernel it is a narrow
        one whose queue holds next to nothing, so that TCP loses packets again and again."""
        ways = (["netem", "delay", "5ms", "2ms", "loss", "1%"], ["tbf", "rate", "20mbit", "burst", "8kb", "limit", "6kb"])
        for way in ways:
            added = subprocess.run(["tc", "qdisc", "add", "dev", f"to-{name}", "root", *way], capture_output=True, timeout=60)
            if added.returncode == 0:
                return " ".join(way)
        raise RuntimeError(f"tc can do neither {' nor '.join(way[0] for way in ways)} here")

    def dropped(self, name):
        """Packets that the link has lost since it was degraded."""
        shown = subprocess.run(["tc", "-s", "-j", "qdisc", "show", "dev", f"to-{name}"], capture_output=True, check=True,
                               timeout=60)
        return json.loads(shown.stdout)[0]["drops"]

    def restore(self, name):
        run("tc", "qdisc", "delete", "dev", f"to-{name}", "root")
