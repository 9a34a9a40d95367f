"""The wheel holds what the packages need and runs from an empty folder."""

import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("tension_lens", "train", "analysis")


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # A copy of the files under version control: setuptools would leave build folders in the checkout.
    listed = subprocess.run(["git", "-C", CHECKOUT, "ls-files"], capture_output=True, text=True, check=True).stdout
    with zipfile.ZipFile(folder / "source.zip", "w") as packed:
        for name in filter(lambda name: (CHECKOUT / name).is_file(), listed.splitlines()):
            packed.write(CHECKOUT / name, name)
    with zipfile.ZipFile(folder / "source.zip") as packed:
        packed.extractall(folder / "source")
    pip("wheel", folder / "source", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    (built,) = folder.glob("*.whl")
    return built, listed.splitlines()


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("target")
    pip("install", "--no-deps", "--target", target, wheel[0])
    return target


def test_the_wheel_holds_every_file_of_the_three_packages_the_licences_and_nothing_else(wheel):
    built, listed = wheel
    with zipfile.ZipFile(built) as opened:
        names = {name for name in opened.namelist() if not name.endswith("/")}
    code = {name for name in names if ".dist-info/" not in name}
    assert code == {name for name in listed if name.split("/")[0] in PACKAGES and (CHECKOUT / name).is_file()}
    licences = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "tension_lens/data/sample/LICENSE"}


FILES = "import tension_lens, train, analysis; print(*(one.__file__ for one in (tension_lens, train, analysis)))"
SCRIPTS = "import importlib.metadata as m; [one.load() for one in m.distribution('tension-lens').entry_points]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", FILES],
        ["-c", SCRIPTS],
        ["-m", "train", "--help"],
        ["-m", "tension_lens.select", "--help"],
        ["-m", "analysis.tables", "--help"],
    ],
)
def test_commands_run_from_the_wheel_in_an_empty_folder(arguments, installed, tmp_path):
    # -S ignores .pth files, so a checkout installed in editable mode cannot take the wheel's place.
    paths = os.pathsep.join([str(installed), *site.getsitepackages()])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-S", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if FILES in arguments:
        assert [Path(file).parents[1] for file in done.stdout.split()] == [installed] * 3
