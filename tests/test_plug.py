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
FLAGS = "-s report/Snakefile --cores 2 --nolock --quiet rules host progress reason --config profile=outside"


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


@pytest.fixture(scope="module")
def swept(outside):
    "The results of the sweep, by model and epoch."
    project, plugin, environment = outside
    done = command("snakemake", "sweep", *FLAGS.split(), cwd=project, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = (plugin.parent / "runs").glob("negatives/*/*/*/metrics.json")
    return {(path.parts[-4], path.parts[-2]): json.loads(path.read_text()) for path in found}


@pytest.fixture(scope="module")
def report(outside, swept):
    "The report, as Markdown, and the text of the PDF without spaces."
    project, _, environment = outside
    done = command("genlab_report", "outside", "--engine", "typst", cwd=project, **environment)
    assert done.returncode == 0 and "4 of 4 evaluations" in done.stdout, done.stdout + done.stderr
    pdf = "".join(page.extract_text() for page in PdfReader(project / "report" / "report.pdf").pages)
    markdown = (project / "report" / "_generated" / "build" / "report.md").read_text()
    return markdown, re.sub(r"\s|\u200b", "", pdf)


def test_the_sweep_trains_each_kind_on_the_data_set(swept):
    "The data set, and the kind with its notebook."
    kinds = [("ddpm", "epoch-0001"), ("gan", "epoch-0001"), ("mean", "epoch-0001"), ("mean", "epoch-0002")]
    assert sorted(swept) == kinds


def test_the_network_is_trained_and_the_sampler_draws(outside, swept):
    plugin = outside[1]
    (weights,) = (plugin.parent / "runs").glob("negatives/ddpm/*/epoch-0001/weights.safetensors")
    with safe_open(weights, "pt") as file:
        assert set(file.keys()) == {"only.weight", "only.bias"}
    found = swept["ddpm", "epoch-0001"]
    assert found["evaluations"] == 1, "and not 5, the steps"
    assert found["config"]["schedule"] == "constant"


def test_the_measure_is_computed_with_the_extractor(swept):
    for found in swept.values():
        score = found["scores"]["mean_shift"]
        assert score["value"] > 0 and score["extractor"] == "means of 4x4 pixels" and score["floor"] > 0


def test_the_report_has_a_column_of_the_measure(report, swept):
    (heading,) = [line for line in report[0].splitlines() if line.startswith("|") and "| shift" in line]
    rows = report[0].partition(heading)[2].partition("\n\n")[0]
    models = {row.split("|")[1].strip().split(",")[0] for row in rows.splitlines() if row}
    assert {"dcgan", "unet", "mean"} <= models
    assert "shift" in report[1]


def test_the_report_has_the_section_of_the_module_and_that_of_the_kind(report):
    markdown, pdf = report
    assert "# How bright? {#sec-brightness}" in markdown and "Howbright?" in pdf and "Meanofallpixels:" in pdf
    assert "# The mean image {#sec-mean}" in markdown and "Itknowsoneimage,andaddsnoisetoit." in pdf
    assert "{#tbl-mean-losses" in markdown


@pytest.mark.parametrize("what", ["loss squared", "network one-layer", "schedule constant", "noise 0.2"])
def test_the_report_says_what_was_used(report, what):
    assert what.replace(" ", "") in report[1], "in the table of what is not as by default"


def test_the_report_shows_the_data_set(report):
    assert "testimagesofnegatives" in report[1]


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
    assert "metrics.0: 'mean_shfit' is unknown; did you mean mean_shift?" in done.stderr


def test_a_module_that_is_not_there_is_named(outside):
    project, _, environment = outside
    profile = project / "report" / "profiles" / "absent.yaml"
    profile.write_text("plugins: [nowhere]\nruns:\n  - {notebook: 01_gan, epochs: [1]}\n")
    done = command("genlab_report", "absent", cwd=project, **environment)
    assert done.returncode == 1 and "nowhere" in done.stderr and "PYTHONPATH" in done.stderr
