"""launch/install, on systems that have one package or another: dpkg and apt are stand-ins."""

import os
import re
import subprocess

import pytest
from group import PATIENCE_SECONDS, PROJECT

ALL = re.search(r"build_packages=\((.*?)\n\)", (PROJECT / "launch/install").read_text(), re.S).group(1)
WITHOUT_BOOST = re.sub(r"'[^']*'", "", ALL).split()


def install(directory, installed, apt=True):
    """Runs launch/install build where these packages, {name: version}, are installed. What apt-get was asked comes back too."""
    status = "".join(f"ii  {name} {version}\n" for name, version in installed.items())
    scripts = {"dpkg-query": f"cat <<'END'\n{status}END\n", "sudo": 'case $1 in -v) ;; *) exec "$@" ;; esac\n',
               "apt-get": f'printf "%s\\n" "$@" >>{directory}/asked\n'}
    tools = directory / "bin"
    tools.mkdir()
    for name, script in scripts.items():
        if apt or name != "apt-get":
            (tools / name).write_text("#!/bin/sh\n" + script)
            (tools / name).chmod(0o755)
    for name in ["bash", "cat", "dirname", "dpkg", "env", "grep", "mktemp", "rm", "sed", "sh"]:
        if not (tools / name).exists():
            (tools / name).symlink_to(f"/usr/bin/{name}")
    result = subprocess.run([PROJECT / "launch/install", "build"], env=os.environ | {"PATH": str(tools)},
                            capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    asked = directory / "asked"
    return result, asked.read_text() if asked.exists() else ""


@pytest.mark.parametrize("boost", [
    pytest.param({"libboost1.81-dev": "1.81.0-5+deb12u1"}, id="Debian 12"),
    pytest.param({"libboost1.83-dev": "1.83.0-4.2"}, id="Debian 13"),
    pytest.param({"libboost1.83-dev": "1.83.0-2.1ubuntu3"}, id="Ubuntu 24.04"),
    pytest.param({"libboost-dev": "1.90.0.1"}, id="a newer one by default"),
])
def test_any_boost_that_will_do_is_enough(tmp_path, boost):
    result, asked = install(tmp_path, dict.fromkeys(WITHOUT_BOOST, "9") | boost)
    assert result.returncode == 0, result.stderr
    assert asked == "" and result.stdout == ""


@pytest.mark.parametrize("boost", [{}, {"libboost-dev": "1.74.0.3"}], ids=["none", "too old"])
def test_what_is_missing_is_asked_for_by_all_its_names(tmp_path, boost):
    result, asked = install(tmp_path, dict.fromkeys(WITHOUT_BOOST, "9") | boost)
    assert result.returncode == 0, result.stderr
    assert "libboost1.81-dev or libboost1.83-dev" in result.stdout
    assert "\nsatisfy\n" in asked and "--no-remove\n" in asked
    assert re.search(r"^libboost1\.81-dev \| libboost1\.83-dev \| ", asked, re.M)
    assert "g++" not in asked


def test_without_apt_the_equivalents_are_named_and_the_build_goes_on(tmp_path):
    result, asked = install(tmp_path, {}, apt=False)
    assert result.returncode == 0
    assert "Fedora: " in result.stderr and "Arch: " in result.stderr


def toolkit(directory, version):
    """A CUDA toolkit with NCCL's header, as far as it is looked for."""
    (directory / "bin").mkdir(parents=True)
    (directory / "include").mkdir()
    (directory / "include/nccl.h").touch()
    nvcc = directory / "bin/nvcc"
    nvcc.write_text(f'#!/bin/sh\necho "Cuda compilation tools, release {version}, V{version}.88"\n')
    nvcc.chmod(0o755)
    return nvcc


def run_with_toolkit(directory, *command):
    return subprocess.run(command, env=os.environ | {"CUDA_HOME": str(directory)}, capture_output=True, text=True,
                          timeout=PATIENCE_SECONDS)


def test_a_cuda_toolkit_that_is_new_enough_is_used_and_nothing_fetched(tmp_path):
    nvcc = toolkit(tmp_path, "13.1")
    assert run_with_toolkit(tmp_path, PROJECT / "launch/find-nvcc").stdout == f"{nvcc}\n"
    result = run_with_toolkit(tmp_path, PROJECT / "launch/install", "cuda")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_an_older_cuda_toolkit_is_passed_by(tmp_path):
    nvcc = toolkit(tmp_path, "12.9")
    assert str(nvcc) not in run_with_toolkit(tmp_path, PROJECT / "launch/find-nvcc").stdout
