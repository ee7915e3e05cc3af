"""What is read of the machine: a Jetson's files and commands, and this one's."""

import pytest

from litestereo.benchmarks.latency import environment
from litestereo.benchmarks.latency.environment import (
    clocks_locked,
    l4t_release,
    nvpmodel_mode,
    read_environment,
    read_jetson,
)

# Constructed from the documented formats.
CLOCKS = """SOC family:tegra234  Machine:NVIDIA Orin NX Developer Kit
Online CPUs: 0-7
cpu0: Online=1 Governor=schedutil MinFreq={low} MaxFreq=1984000 CurrentFreq=1984000 IdleStates: c7=0
GPU MinFreq={gpu} MaxFreq=918000000 CurrentFreq=918000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride=1
"""


def test_this_machine():
    place = read_environment()
    assert place.cpu.cores >= 1
    assert place.cpu.name
    assert place.packages["numpy"]
    assert place.jetson is None


def test_commit_is_the_checkouts(tmp_path):
    assert environment._commit(tmp_path) is None
    commit = environment._commit(environment.Path(environment.__file__).parent)
    if commit is None:
        pytest.skip("not a git checkout")
    assert len(commit.removesuffix("-dirty")) == 40


def test_jetson_is_recognised_by_its_files(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "etc/nv_tegra_release").write_text(
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
    )
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson Orin NX Developer Kit\0")
    said = {
        "nvpmodel": "NV Power Mode: MAXN_SUPER\n2\n",
        "jetson_clocks": CLOCKS.format(low=1984000, gpu=918000000),
    }
    monkeypatch.setattr(environment, "_output", lambda command, *rest: said[command])
    jetson = read_jetson(tmp_path)
    assert jetson.board == "NVIDIA Jetson Orin NX Developer Kit"
    assert (jetson.l4t, jetson.power_mode) == ("R36.4.3", "MAXN_SUPER (2)")
    assert jetson.clocks_locked is True


def test_other_boards_are_no_jetson(tmp_path):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 5\0")
    assert read_jetson(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "locked"),
    [
        (CLOCKS.format(low=729600, gpu=918000000), False),
        (CLOCKS.format(low=1984000, gpu=306000000), False),
        ("", None),
        (None, None),  # it needs root rights
    ],
)
def test_clocks_are_locked_when_every_minimum_is_the_maximum(text, locked):
    assert clocks_locked(text) is locked


def test_nothing_said_is_nothing_known():
    assert nvpmodel_mode(None) is None
    assert nvpmodel_mode("NV Fan Mode:quiet\nNV Power Mode: 15W\n0\n") == "15W (0)"
    assert l4t_release("something else") is None


def test_commands_that_fail_say_nothing():
    assert environment._output("no-such-command") is None
    assert environment._output("false") is None
