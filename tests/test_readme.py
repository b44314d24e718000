"""What the README tells people to type works: commands are run where they are cheap, and else checked."""

import ast
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, command
from papermill import inspect_notebook
from safetensors.torch import load_file

from genlab.data import load_dataset
from genlab.plug import LOADERS

sys.path.insert(0, str(ROOT / "tools"))
from results import MARKS, RACE, glance, races  # noqa: E402

README = (ROOT / "README.md").read_text()
LINES = [line.strip().partition("  #")[0].strip() for line in README.splitlines() if line.startswith("    ")]
starting = lambda word: [line for line in LINES if line.startswith(word + " ")]


@pytest.mark.parametrize("line", starting("papermill"))
def test_papermill_lines_name_parameters_that_there_are(line):
    _, notebook, _, *options = shlex.split(line)
    known = inspect_notebook(str(ROOT / notebook))
    assert options and all(
        name in known for flag, name in zip(options, options[1:], strict=False) if flag == "-p"
    )


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
    done = command(
        "genlab_metrics",
        tmp_path / "samples.npz",
        reference,
        *(o.replace("fid", "fd_lenet") for o in options),
        "--classifier",
        "digits",
    )
    assert done.returncode == 0 and "fd_lenet" in done.stdout, done.stdout + done.stderr


def test_the_results_on_the_first_page_are_those_of_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_RUNS", str(ROOT / "report" / "results"))
    shown = README.partition(MARKS[0])[2].partition(MARKS[1])[0]
    assert shown.strip() == glance(tmp_path), "run `make results`"
    assert len(re.findall(r"\d\(\d+\)", shown)) >= 3 and "images/results.png" in README
    assert README.partition(RACE[0])[2].partition(RACE[1])[0].strip() == races(), "run `make results`"


def run_block(first, *changes):
    "Execute the indented lines around the one that begins with `first`, after changes that make them small."
    lines = rf"((?:^    .*\n|^\n)*^    {re.escape(first)}.*\n(?:^    .*\n|^\n)*)"
    block = re.search(lines, README, flags=re.M)[1]
    code = "\n".join(line[4:] for line in block.splitlines())
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    return names, [line for line in code.splitlines() if line]


def test_the_ten_lines_of_python(runs_folder):
    small = ("epochs=60, snapshots=[1, 5, 20]", "epochs=1, width=8")
    run_block("from genlab.gan", small, ("samples(60)", "samples(1)"))


def test_a_network_and_data_of_ones_own(runs_folder, capsys):
    small = ("epochs=20", "epochs=1, n_samples=20, steps=2")
    names, lines = run_block("from diffusers", small, ("metrics(20)", "metrics(1)"))
    shown = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert shown["fd_lenet"]["value"] > 0 and shown["fd_lenet"]["reference"] == "negatives, 16x16"
    assert len(lines) <= 20 and LOADERS.pop("negatives") is names["negatives"]
    kept = load_file(names["run"].epoch_folder(1) / "weights.safetensors")
    assert kept.keys() == names["Network"]().state_dict().keys(), "the weights are those of the module"


def test_the_tree_names_every_file_once():
    tree = re.findall(r"^    ([\w./-]+) {2,}\S", README.partition("## What lies where")[2], flags=re.M)
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    known = {"README.md", "CONTRIBUTING.md", "LICENSE", ".gitignore"}
    files = {file for file in done.stdout.split() if (ROOT / file).exists()} - known
    folders = tuple(line for line in tree if line.endswith("/"))
    assert len(tree) == len(set(tree)) and not [line for line in tree if not (ROOT / line).exists()]
    assert not [file for file in files - set(tree) if not file.startswith(folders)], "not in the tree"
