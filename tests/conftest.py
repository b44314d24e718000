"""Shared by all tests: runs go to a temporary folder, and the last line says `N passed, M failed`."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
os.environ["ACCELERATE_USE_CPU"] = "true"  # bit-for-bit tests are about the CPU
os.environ.setdefault("OMP_NUM_THREADS", "1")  # `make test` runs several tests side by side


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    "Each test has its own folder of runs."
    monkeypatch.setenv("GENLAB_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def processes():
    "Processes that start with genlab imported; a fresh interpreter would need seconds for that."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["genlab.report"])
    return context


def command(*words, cwd=ROOT, **environment):
    "Run a program of the virtual environment; returns the finished process with its output as text."
    program = [str(Path(sys.executable).parent / words[0]), *map(str, words[1:])]
    return subprocess.run(program, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)


def copy_project(folder):
    "The project's files as they are here, committed or not, in a folder in which a test may do as it likes."
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for file in filter(None, done.stdout.split("\n")):
        if (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    return folder


needs_mnist = pytest.mark.skipif(
    "GENLAB_MIRROR" not in os.environ, reason="GENLAB_MIRROR is not set: no MNIST here"
)

RESULTS = {"passed": 0, "failed": 0, "skipped": 0}


def pytest_terminal_summary(terminalreporter):
    count = lambda *kinds: sum(len(terminalreporter.stats.get(kind, [])) for kind in kinds)
    RESULTS.update(passed=count("passed"), failed=count("failed", "error"), skipped=count("skipped"))


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput") and sum(RESULTS.values()):
        print("{passed} passed, {failed} failed, {skipped} skipped".format(**RESULTS))
