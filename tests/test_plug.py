"""One of everything is added from outside, and goes through papermill, a sweep and the PDF.

tests/plugin/mine.py adds a data set, a network, a schedule, a sampler, a loss, a feature extractor, a
measure, a section of the report, and a kind of model with its notebook. Nothing of genlab is changed for it:
the profile names the module under `plugins`.
"""

import json
import os
import re
import shutil

import jupytext
import pytest
from conftest import ROOT, command, copy_project
from pypdf import PdfReader
from safetensors import safe_open

ROWS = """
plugins: [mine]
runs:
  - {{notebook: 01_gan, loss: squared, width: 8, latent: 4, epochs: [1], {common}}}
  - {{notebook: 02_ddpm, network: one-layer, schedule: constant, sampler: jump, T: 40, steps: 5, epochs: [1],
     compare: [], {common}}}
  - {{notebook: {mean}, noise: 0.2, epochs: [1, 2], {common}}}
"""
COMMON = "dataset: negatives, n_samples: 40, metrics: [mean_shift]"
FLAGS = "-s report/Snakefile --cores 1 --nolock --quiet rules host progress reason --config profile=outside"


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    "The project, the module and the notebook beside it, and what Python needs to find them."
    home = tmp_path_factory.mktemp("home")
    project, plugin = copy_project(home / "project"), home / "plugin"
    shutil.copytree(ROOT / "tests" / "plugin", plugin, ignore=shutil.ignore_patterns("__pycache__"))
    jupytext.write(jupytext.read(plugin / "mean.py"), plugin / "mean.ipynb")
    rows = ROWS.format(common=COMMON, mean=os.path.relpath(plugin / "mean", project / "nbs"))
    (project / "report" / "profiles" / "outside.yaml").write_text(rows)
    path = os.pathsep.join([str(plugin), *filter(None, [os.environ.get("PYTHONPATH")])])
    return project, plugin, {"PYTHONPATH": path, "GENLAB_RUNS": str(home / "runs")}


def test_one_more_of_everything_goes_through_sweep_and_report(outside):
    "One test, so that one process does it all."
    project, plugin, environment = outside
    done = command("snakemake", "sweep", *FLAGS.split(), cwd=project, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    check_results(plugin.parent / "runs" / "negatives")
    done = command("genlab_report", "outside", "--engine", "typst", cwd=project, **environment)
    assert done.returncode == 0 and "4 of 4 evaluations" in done.stdout, done.stdout + done.stderr
    check_report((project / "report" / "_generated" / "build" / "report.md").read_text())
    pages = PdfReader(project / "report" / "report.pdf").pages
    check_pdf(re.sub(r"[\s\u200b-]", "", "".join(page.extract_text() for page in pages)))


def check_results(folder):
    "The data set, the kind with its notebook, the network, the sampler, the measure and its extractor."
    found = {path.parts[-4]: json.loads(path.read_text()) for path in folder.glob("*/*/epoch-*/metrics.json")}
    assert (
        found.keys() == {"gan", "ddpm", "mean"} and len(list(folder.glob("mean/*/epoch-*/metrics.json"))) == 2
    )
    (weights,) = folder.glob("ddpm/*/epoch-0001/weights.safetensors")
    with safe_open(weights, "pt") as file:
        assert set(file.keys()) == {"only.weight", "only.bias"}
    assert found["ddpm"]["evaluations"] == 1, "and not 5, the steps"
    assert found["ddpm"]["config"]["schedule"] == "constant" and found["gan"]["config"]["loss"] == "squared"
    for metrics in found.values():
        score = metrics["scores"]["mean_shift"]
        assert score["value"] > 0 and score["floor"] > 0 and score["extractor"] == "means of 4x4 pixels"


def check_report(markdown):
    "The measure's column with a number of each run, the section, and that of the kind."
    (heading,) = [line for line in markdown.splitlines() if line.startswith("|") and "| shift" in line]
    column = [cell.strip() for cell in heading.split("|")].index("shift")
    rows = markdown.partition(heading + "\n")[2].partition("\n\n")[0].splitlines()[1:]
    numbers = {
        cells[1].strip().split(",")[0]: cells[column].strip() for row in rows if (cells := row.split("|"))
    }
    assert {"dcgan", "unet", "mean"} <= numbers.keys() and not [
        n for n in numbers.values() if not n[:1].isdigit()
    ]
    assert "# How bright? {#sec-brightness}" in markdown and "# The mean image {#sec-mean}" in markdown
    assert "{#tbl-mean-losses" in markdown


def check_pdf(text):
    """The same in print, the data set, and what was used, in the table of what is not as by default.

    The text has no spaces and no hyphens, for a line may end within a word.
    """
    for shown in ("shift", "Howbright?", "Meanofallpixels:", "Itknowsoneimage,andaddsnoisetoit."):
        assert shown in text, shown
    assert "testimagesofnegatives" in text
    for used in ("losssquared", "networkonelayer", "scheduleconstant", "noise0.2"):
        assert used in text, used


def test_papermill_runs_the_notebook_by_itself(outside, tmp_path):
    "As a user would, with the module named in the environment; a wrong value is refused."
    project, plugin, environment = outside
    line = ["papermill", plugin / "mean.ipynb", tmp_path / "out.ipynb", "--no-progress-bar", "--log-output"]
    line += ["-p", "dataset", "negatives", "-y", "{metrics: [mean_shift], n_samples: 20}"]
    environment = environment | {"GENLAB_RUNS": str(tmp_path), "GENLAB_PLUGINS": "mine"}
    done = command(*line, cwd=project, **environment)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("negatives/mean/mean-*/epoch-0001/metrics.json"))) == 1
    done = command(*line[:-1], "{metrics: [mean_shfit]}", cwd=project, **environment)
    assert "metrics: 'mean_shfit' is unknown; did you mean mean_shift?" in done.stderr


def test_a_module_that_is_not_there_is_named(outside):
    project, _, environment = outside
    profile = project / "report" / "profiles" / "absent.yaml"
    profile.write_text("plugins: [nowhere]\nruns:\n  - {notebook: 01_gan, epochs: [1]}\n")
    done = command("genlab_report", "absent", cwd=project, **environment)
    assert done.returncode == 1 and "nowhere" in done.stderr and "PYTHONPATH" in done.stderr
