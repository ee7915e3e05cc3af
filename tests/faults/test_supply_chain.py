"""No network at run time; packages built the same twice, which hold nothing else; licences."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from calibration.pairs import write_folders
from fault_jobs import BIN, environment
from stand_in import write_stand_in

ROOT = Path(__file__).resolve().parents[2]
LICENCES = ROOT / "docs/licences.md"
# Put on a command's path, this runs before anything else and ends what asks for the network.
NO_NETWORK = """
import os, socket
def refuse(*words, **named):
    print("NETWORK", words[:2], flush=True)
    os._exit(99)
_connect = socket.socket.connect
def connect(self, address):
    return _connect(self, address) if self.family == socket.AF_UNIX else refuse(address)
socket.socket.connect = connect
socket.socket.connect_ex = connect
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
"""
COMMANDS = {
    "run": ("stereo-run", "--demo", "-o", "{folder}/out"),
    "export": ("stereo-export", "--height", "64", "--width", "96", "-o", "{folder}/a.onnx",
               "--skip-gate"),
    "eval": ("stereo-eval", "{data}", "--model", "{model}", "-o", "{folder}/out"),
    "bench": ("stereo-bench", "{model}@onnxruntime-cpu", "--size", "64x96",
              "--iterations", "10", "--no-memory",
              "--minutes", "0.05", "-o", "{folder}/b.json"),
    "calibrate": ("stereo-calibrate", "{pairs}", "-o", "{folder}/set"),
    "doctor": ("stereo-doctor", "{pairs}/scene_000/left.png", "{pairs}/scene_000/right.png",
               "--pair-only"),
    "doctor of the machine": ("stereo-doctor",),
    "plan": ("stereo-plan", "--focal", "700", "--baseline", "0.12", "--size", "720", "1280",
             "--near", "0.4", "--far", "10"),
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    (folder / "no_network").mkdir()
    (folder / "no_network" / "sitecustomize.py").write_text(NO_NETWORK)
    import numpy as np

    from litestereo.runtime.disparity_io import write_pfm

    data = write_folders(folder / "data", 1)
    for scene in data.iterdir():
        for old, new in (("left", "im0"), ("right", "im1")):
            (scene / f"{old}.png").rename(scene / f"{new}.png")
        write_pfm(scene / "disp0GT.pfm", np.full((64, 128), 4, np.float32))
    return {
        "blocked": folder / "no_network",
        "model": write_stand_in(folder / "m.onnx"),
        "pairs": write_folders(folder / "pairs", 12),
        "data": data,
    }


def without_network(places, folder, words):
    variables = environment(folder)
    variables["PYTHONPATH"] = f"{places['blocked']}{os.pathsep}{variables['PYTHONPATH']}"
    return subprocess.run(
        [word.format(folder=folder, **places) for word in words],
        env=variables,
        capture_output=True,
        text=True,
        cwd=folder,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_need_no_network(places, tmp_path, name):
    command, *words = COMMANDS[name]
    ran = without_network(places, tmp_path, [str(BIN / command), *words])
    assert "NETWORK" not in ran.stdout + ran.stderr
    # The doctor finds faults in a stand-in pair and in a machine without a GPU.
    assert ran.returncode in ((0, 1) if "doctor" in name else (0,)), ran.stderr


def test_the_network_is_blocked(places, tmp_path):
    code = "import urllib.request as u; u.urlopen('http://192.0.2.1', timeout=1)"
    assert without_network(places, tmp_path, [sys.executable, "-c", code]).returncode == 99


# What telemetry of ONNX Runtime looks at; it leaves files in the home folder, and connects.
ONE_SESSION = """
from litestereo import StereoEngine
StereoEngine.load({!r}).close()
"""


def home_after_a_session(places, home, **telemetry):
    """Return the files that a process with one session left in an empty home folder."""
    home.mkdir()
    kept = {k: v for k, v in environment(home).items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    kept |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **telemetry}
    code = ONE_SESSION.format(str(places["model"]))
    subprocess.run([sys.executable, "-c", code], env=kept, cwd=home, check=True)
    return [path for path in home.rglob("*") if path.is_file()]


def test_onnx_runtime_sends_no_telemetry(places, tmp_path):
    """Native code asks nobody's `socket`: its files tell."""
    if not home_after_a_session(places, tmp_path / "told", ORT_DISABLE_TELEMETRY="0"):
        pytest.skip("this ONNX Runtime has no telemetry, so there is nothing to see")
    assert home_after_a_session(places, tmp_path / "quiet") == []


def dependencies():
    """Return the names of every package that pyproject.toml asks for, in any extra."""
    text = (ROOT / "pyproject.toml").read_text()
    asked = text[text.index("\ndependencies = [") : text.index("\n[project.scripts]")]
    return set(re.findall(r'"([a-z0-9._-]+)(?=[>;"])', asked))


def test_every_dependencys_licence_is_listed():
    listed = dict(re.findall(r"^\| `([\w.-]+)` \| ([^|]+) \|", LICENCES.read_text(), re.MULTILINE))
    assert dependencies() == listed.keys(), "list each dependency in docs/licences.md, and no other"
    for name, words in listed.items():
        told = None if "NVIDIA" in words else licence(name)  # its wheels say it in many ways
        # Older versions say less: "BSD License".
        family = told and told.removesuffix(" License")
        assert told is None or told in words or family in words, (
            f"{name} says {told!r}, docs/licences.md {words!r}"
        )


def licence(name):
    """Return what an installed package says about its licence; None where it is not installed."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    if "License-Expression" in about:
        return about["License-Expression"]
    kinds = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if "License" in c]
    first = about.get("License", "").strip().splitlines()
    return kinds[0] if kinds else (first[0] if first else None)


def build(folder, *, umask, at):
    """Return (wheel, sdist) built from a copy of the sources whose files are of another time."""
    folder.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            to = folder / name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes((ROOT / name).read_bytes())
            to.chmod(0o666 & ~umask)
            os.utime(to, (at, at))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build"],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
        capture_output=True,
        umask=umask,
    )
    return next(folder.glob("dist/*.whl")), next(folder.glob("dist/*.tar.gz"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("hatchling", reason="needs litestereo[dev]")
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository")
    folder = tmp_path_factory.mktemp("built")
    one = build(folder / "one", umask=0o022, at=1_600_000_000)
    return one, build(folder / "other place", umask=0o077, at=1_650_000_000)


def test_packages_are_built_the_same_twice(built):
    for one, other in zip(*built, strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes(), one.name


def test_the_wheel_holds_litestereo_alone(built):
    names = zipfile.ZipFile(built[0][0]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {re.sub(r"-.*\.dist-info", "-dist-info", top) for top in tops} == {
        "litestereo",
        "litestereo-dist-info",
    }
    assert "litestereo/py.typed" in names
    assert junk(names) == []


def test_the_sdist_holds_what_is_needed_and_no_junk(built):
    with tarfile.open(built[0][1]) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"LICENSE", "README.md", "Makefile", "pyproject.toml"} <= set(names)
    assert {name.split("/")[0] for name in names} <= {
        *("litestereo", "tests", "benchmarks", "examples", "docs", "PKG-INFO", ".gitignore"),
        *("LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "Makefile", "pyproject.toml"),
    }
    assert junk(names) == []


def junk(names):
    """Return what does not belong into a package."""
    bad = re.compile(r"__pycache__|\.py[co]$|\.egg-info|/\.|~$|\.(orig|rej|swp|part|tmp)$|^out/")
    return [name for name in names if bad.search(name)]
