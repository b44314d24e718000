"""What the README tells people to type works: commands are run where they are cheap, and checked where they are not."""

import re
import shlex
import sys

import numpy as np
import pytest
from conftest import ROOT, command
from papermill import inspect_notebook

from genlab.data import load_dataset
from genlab.plug import LOADERS

sys.path.insert(0, str(ROOT / "tools"))
from results import MARKS, glance  # noqa: E402

README = (ROOT / "README.md").read_text()
LINES = [line.strip().partition("  #")[0].strip() for line in README.splitlines() if line.startswith("    ")]
starting = lambda word: [line for line in LINES if line.startswith(word + " ")]


@pytest.mark.parametrize("line", starting("papermill"))
def test_papermill_lines_name_parameters_that_there_are(line):
    _, notebook, _, *options = shlex.split(line)
    known = inspect_notebook(str(ROOT / notebook))
    assert options and all(name in known for flag, name in zip(options, options[1:], strict=False) if flag == "-p")


@pytest.mark.parametrize("line", starting("make"))
def test_make_lines_name_targets_that_there_are(line):
    assert line.split()[1] in re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M)


@pytest.mark.parametrize("line", starting("snakemake"))
def test_snakemake_lines_can_be_planned(line):
    done = command(*shlex.split(line), "--dry-run", "--nolock")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", starting("genlab_metrics"))
def test_genlab_metrics_lines(line, tmp_path):
    "With small files of ours in the places of those that they name, and a distance that needs no download."
    images = load_dataset("digits").images
    for name, part in (("samples", images[:60]), ("reference", images[60:120])):
        np.savez(tmp_path / f"{name}.npz", part.numpy())
    _, _, reference, *options = shlex.split(line)
    reference = "digits" if reference in LOADERS else tmp_path / "reference.npz"
    done = command("genlab_metrics", tmp_path / "samples.npz", reference, *(o.replace("fid", "fd_lenet") for o in options), "--classifier", "digits")
    assert done.returncode == 0 and "fd_lenet" in done.stdout, done.stdout + done.stderr


def test_the_results_on_the_first_page_are_those_of_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_RUNS", str(ROOT / "report" / "results"))
    shown = README.partition(MARKS[0])[2].partition(MARKS[1])[0]
    assert shown.strip() == glance(tmp_path), "run `make results`"
    assert len(re.findall(r"\d\(\d+\)", shown)) >= 3 and "images/results.png" in README


def test_the_ten_lines_of_python(runs_folder):
    block = re.search(r"((?:^    .*\n|^\n)*^    from genlab\.gan .*\n(?:^    .*\n|^\n)*)", README, flags=re.M)[1]
    code = "\n".join(line[4:] for line in block.splitlines())
    small = code.replace("epochs=60, snapshots=[1, 5, 20]", "epochs=1, width=8").replace("samples(60)", "samples(1)")
    assert small != code
    exec(compile(small, "README.md", "exec"), {})
