"""What is derived from the notebooks is up to date: modules, twins, README; and they can be committed."""

import filecmp
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, command

sys.path.insert(0, str(ROOT / "tools"))
from colab import connect, read_settings  # noqa: E402

NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
ADVICE = "run `make sync`"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "The notebooks and their modules, cleaned and exported anew, somewhere else."
    folder = tmp_path_factory.mktemp("copy")
    for name in ("settings.ini", "setup.py", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("nbs", "genlab"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    for step in ("nbdev_clean", "nbdev_export"):
        done = command(step, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_modules_are_what_the_notebooks_export(copy):
    modules = sorted(p.name for p in (copy / "genlab").glob("*.py"))
    assert modules == sorted(p.name for p in (ROOT / "genlab").glob("*.py")), ADVICE
    _, different, missing = filecmp.cmpfiles(ROOT / "genlab", copy / "genlab", modules, shallow=False)
    assert not different and not missing, (
        f"{different + missing} differ from what their notebooks export: {ADVICE}"
    )


def test_notebooks_are_clean(copy):
    names = [p.name for p in NOTEBOOKS]
    _, different, _ = filecmp.cmpfiles(ROOT / "nbs", copy / "nbs", names, shallow=False)
    assert not different, f"{different} hold metadata of an execution: {ADVICE}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_twin(notebook):
    done = command(
        "jupytext", "-q", "--from", "nbs//ipynb", "--to", "py:percent", "-o", "-", notebook.relative_to(ROOT)
    )
    twin = ROOT / "nbs_py" / f"{notebook.stem}.py"
    assert done.returncode == 0, done.stderr
    assert twin.exists() and twin.read_text() == done.stdout, (
        f"{twin.name} differs from its notebook: {ADVICE}"
    )


def test_no_twin_without_a_notebook():
    assert {p.stem for p in (ROOT / "nbs_py").glob("*.py")} == {p.stem for p in NOTEBOOKS}


@pytest.mark.parametrize("notebook", [p for p in NOTEBOOKS if p.stem != "index"], ids=lambda p: p.stem)
def test_a_cell_is_tagged_parameters_and_no_output_is_an_error(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1, "without exactly one cell tagged `parameters` papermill runs the defaults"
    outputs = [o for c in cells for o in c.get("outputs", [])]
    assert outputs, "the outputs are missing: run `make notebooks`"
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert any("image/png" in o.get("data", {}) for o in outputs), "no figure to look at"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_path_of_this_machine(notebook):
    text = notebook.read_text()
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text, (
        "an output names a folder of this machine"
    )


def test_readme_is_the_index(tmp_path):
    done = subprocess.run(
        ["make", "readme", f"README_DIR={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "README.md").read_text() == (ROOT / "README.md").read_text(), ADVICE


def test_links_in_the_readme_resolve():
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links and not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_between_notebooks_resolve(notebook):
    text = "".join(
        "".join(c["source"])
        for c in json.loads(notebook.read_text())["cells"]
        if c["cell_type"] == "markdown"
    )
    assert not [
        link for link in re.findall(r"\]\(([^)#:\s]+)\)", text) if not (notebook.parent / link).exists()
    ]


@pytest.mark.parametrize("notebook", [p for p in NOTEBOOKS if p.stem != "index"], ids=lambda p: p.stem)
@pytest.mark.parametrize("user", ["", "somebody"])
def test_colab_links_are_those_of_the_owner_in_the_settings(notebook, user):
    "No owner: neither link nor clone. One: both, to that repository. `make sync` leaves a notebook as it is."
    read = lambda: nbformat.read(notebook, as_version=4)
    settings, given, committed = read_settings(), read(), read()
    connect(committed, notebook.name, settings)
    assert nbformat.writes(committed) == nbformat.writes(read()), ADVICE
    connect(given, notebook.name, settings | {"user": user})
    addresses = re.findall(
        r"https://(?:colab.research.google.com/)?github(?:.com)?/[^)\s\"]+",
        "".join(c.source for c in given.cells[:3]),
    )
    home = f"github/somebody/genlab/blob/main/nbs/{notebook.name}"
    assert addresses == (
        [f"https://colab.research.google.com/{home}", "https://github.com/somebody/genlab"] if user else []
    )
    assert ("git clone" in "".join(c.source for c in given.cells)) == bool(user)
    connect(given, notebook.name, settings)
    assert nbformat.writes(given) == nbformat.writes(read()), "and back again"


def test_nothing_points_to_a_repository_of_no_owner():
    "Also in what is not a notebook: no address of a repository of ours stands anywhere but in the settings."
    files = subprocess.run(
        ["git", "ls-files", "*.py", "*.ipynb", "*.md", "*.toml", "*.ini", "*.yml", "*.qmd"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    repo = read_settings()["repo"]
    address = re.compile(rf"github(\.com|usercontent\.com)?/\w[\w-]*/{repo}\b|\w\.github\.io/{repo}")
    texts = {
        f: (ROOT / f).read_text()
        for f in files.stdout.split()
        if (ROOT / f).exists() and not f.startswith("tests/")
    }
    assert texts and not [f for f, text in texts.items() if address.search(text)]


def test_each_notebook_is_in_the_sidebar():
    assert set(re.findall(r"\w+\.ipynb", (ROOT / "nbs" / "sidebar.yml").read_text())) == {
        p.name for p in NOTEBOOKS
    }


def test_the_lock_names_no_index_and_has_hashes():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock and "--index" not in lock
    assert lock.count("--hash=sha256:") > lock.count("==") > 100
