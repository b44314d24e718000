"""Every notebook runs from top to bottom: `nbdev_test`, one at a time, so that each counts as a test."""

import re

import pytest
from conftest import ROOT, command

SECONDS = dict(re.findall(r"^\| \[(\w+)\].*\| (\d+) \|$", (ROOT / "README.md").read_text(), flags=re.M))


def seconds(notebook):
    "As the README has them; a notebook that it knows no time of may take long."
    return float(SECONDS.get(notebook.stem, "inf"))


FILES = [path for path in (ROOT / "nbs").glob("*.ipynb") if path.stem != "index"]
NOTEBOOKS = sorted(FILES, key=seconds, reverse=True)  # the slow ones first, so that no process waits for them


def test_every_module_has_its_notebook():
    "nbdev_test is content with no notebook at all; so the modules say which there must be."
    modules = [p.read_text() for p in (ROOT / "genlab").glob("*.py")]
    expected = {name for text in modules for name in re.findall(r"File to edit: \.\./nbs/(\w+)\.ipynb", text)}
    assert expected and expected == {p.stem for p in NOTEBOOKS}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(notebook):
    done = command("nbdev_test", "--path", notebook, "--n_workers", "0")
    assert done.returncode == 0 and "Success." in done.stdout + done.stderr, done.stdout + done.stderr
