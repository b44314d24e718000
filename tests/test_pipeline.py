"""The sweep and the report, end to end, in a copy of the project: failures, kills and restarts included."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, command
from pypdf import PdfReader
from safetensors.torch import load_file

from genlab.report import uncertain

PROFILE = """
labs:
  01b_mode_collapse: {seeds: 2, updates: 12, epochs: 1}
runs:
  - {notebook: 01_gan, epochs: [1, 3], width: 8, latent: 16, n_samples: 100,
     metrics: [fd_lenet, precision, recall, memorisation, copies, fd_lenet_infinity, class_kl]}
  - {notebook: 02_ddpm, epochs: [1], widths: [8], T: 40, steps: 5, n_samples: 60, conditional: true, compare: ["ancestral:40", "ddim:5"]}
  - {notebook: 04_vae, epochs: [1], network: mlp, latent: 2, n_samples: 60, side_epochs: 0}
  - {notebook: 01_gan, name: broken, epochs: [1], dataset: "folder:/nowhere"}
"""
SECOND_ROW = "  - {notebook: 01_gan, name: second, epochs: [1], width: 8, latent: 16, n_samples: 20}\n"  # so that a row has one thread, as above
FLAGS = (
    "-s report/Snakefile --cores 2 --keep-going --rerun-incomplete --nolock --rerun-triggers mtime params input "
    "--quiet rules host progress reason --config profile=mine"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    "The project's files, with a small profile of its own."
    folder = tmp_path_factory.mktemp("project")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    for file in filter(None, files):
        if (ROOT / file).exists():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    (folder / "report/profiles/mine.yaml").write_text(PROFILE)
    return folder


def snakemake(target, project, runs):
    return command("snakemake", target, *FLAGS.split(), cwd=project, GENLAB_RUNS=str(runs))


def scores(runs):
    return {p.parent.name: json.loads(p.read_text())["scores"] for p in sorted(runs.glob("digits/gan/dcgan-*/*/metrics.json"))}


@pytest.fixture(scope="module")
def swept(project, tmp_path_factory):
    "After a sweep, of which one row fails."
    runs = tmp_path_factory.mktemp("runs")
    return runs, snakemake("sweep", project, runs)


def test_a_failing_run_stops_nothing_else(swept):
    runs, done = swept
    assert done.returncode != 0 and "FileNotFoundError: dataset: there is no folder /nowhere" in done.stdout + done.stderr
    assert list(scores(runs)) == ["epoch-0001", "epoch-0003"]


@pytest.mark.parametrize("engine", ["typst", "latex"])
def test_the_report_has_a_dash_and_a_note(swept, project, engine):
    if engine == "latex" and not shutil.which("lualatex"):
        pytest.skip("there is no LaTeX here")
    done = command("genlab_report", "mine", "--engine", engine, cwd=project, GENLAB_RUNS=str(swept[0]))
    assert done.returncode == 0 and f"(by {engine}): 4 of 5 evaluations of profile mine" in done.stdout, done.stdout + done.stderr
    assert (project / "report/report.pdf").read_bytes().startswith(b"%PDF")
    text = (project / "report/_generated/build/report.md").read_text()
    assert "**broken, folder:/nowhere, 1 epoch** is missing: `FileNotFoundError: dataset: there is no folder /nowhere.`" in text
    assert "| broken, folder:/nowhere | 1 | — | — | — | — | — |" in text
    assert "the best sampler with at most 20 evaluations is ddim (5 evaluations)" in text and "| ancestral | 40 | 40 | 60 |" in text
    figures = ["denoising-unet-digits", "noise-unet-digits", "levels-unet-digits", "guidance-unet-digits", "samplers-unet-digits-1", "losses-ddpm"]
    for figure in [*figures, "losses-vae-vae-digits", "plane-vae-digits", "sources-vae-digits", "walks", "corners"]:
        assert f"_generated/{figure})" in text and (project / f"report/_generated/{figure}.pdf").exists()
    (vae,) = (json.loads(p.read_text()) for p in swept[0].glob("digits/vae/*/*/metrics.json"))
    known = vae["likelihood"]
    bound = f"−{-known['elbo']:,.1f} ± {known['se']:,.1f} | {known['gap']:,.1f}"
    assert f"| digits | test, 500 | {vae['losses']['loss']:,.1f} | {bound} |" in text
    assert "| cross-fade |" in text
    for found in scores(swept[0]).values():
        shown = [uncertain(found[metric]["value"], found[metric]["sd"]) for metric in ("fd_lenet", "precision", "recall")]
        assert f"| {shown[0]} | {uncertain(found['fd_lenet']['floor'], found['fd_lenet']['floor_sd'])} |" in text and f"| {shown[1]} | {shown[2]} |" in text
    for figure in ("nearest-gan-dcgan-digits", "copies-gan-dcgan-digits", "precision-recall", "bias", "ring", "gap", "histogram-digits-0"):
        assert f"_generated/{figure})" in text and (project / f"report/_generated/{figure}.pdf").exists()


def scores_in(value):
    "All scores and floors with their standard deviations in nested JSON, written as the report writes them: 0.81(2)."
    found = []
    if isinstance(value, dict):
        found = [uncertain(value.get(number), value.get(spread)) for number, spread in (("value", "sd"), ("floor", "floor_sd")) if value.get(spread)]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return found + [text for v in inner for text in scores_in(v)]


def test_ten_numbers_of_the_pdf_stand_in_files_of_runs(swept, project):
    "Numbers with an uncertainty, such as 0.81(2), picked at random from the text of the PDF."
    done = command("genlab_report", "mine", "--engine", "typst", cwd=project, GENLAB_RUNS=str(swept[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    text = "\n".join(page.extract_text() for page in PdfReader(project / "report/report.pdf").pages)
    shown = set(re.findall(r"(?<![\d.,])\d[\d,]*(?:\.\d+)?\(\d+\)", text))
    known = {score for path in swept[0].rglob("*.json") for score in scores_in(json.loads(path.read_text()))}
    assert len(shown) >= 10
    picked = random.Random(0).sample(sorted(shown), 10)
    assert not [number for number in picked if number not in known], "they stand in the PDF and in no file of a run"


def test_a_second_time_there_is_nothing_to_do(swept, project):
    runs, _ = swept
    (project / "report/profiles/mine.yaml").write_text(PROFILE.rsplit("  -", 1)[0])
    before = {p: p.stat().st_mtime_ns for p in runs.rglob("*.*")}
    for target in ("sweep", "pdf", "pdf"):
        assert snakemake(target, project, runs).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in runs.rglob("*.*")} == before
    pdf = project / "report/report.pdf"
    stamp = pdf.stat().st_mtime_ns
    assert snakemake("pdf", project, runs).returncode == 0 and pdf.stat().st_mtime_ns == stamp


def test_an_unknown_parameter_stops_the_sweep_before_it_starts(project, tmp_path):
    (project / "report/profiles/typo.yaml").write_text("runs:\n  - {notebook: 01_gan, epochs: [1], epoch: 3}\n")
    done = command("snakemake", "sweep", *FLAGS.replace("mine", "typo").split(), cwd=project, GENLAB_RUNS=str(tmp_path))
    assert done.returncode == 2 and "profile typo, row 1: epoch: 01_gan has no such parameter" in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_killed_and_started_again(swept, project, tmp_path):
    "kill -9 of Snakemake leaves a notebook running; the next start waits for it or takes over, with the same results."
    (project / "report/profiles/mine.yaml").write_text("runs:" + PROFILE.split("runs:")[1].split("  - {notebook: 02")[0] + SECOND_ROW)
    program = [str(Path(sys.executable).parent / "snakemake"), "sweep", *FLAGS.split()]
    first = subprocess.Popen(program, cwd=project, env=os.environ | {"GENLAB_RUNS": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if list(tmp_path.glob("digits/gan/*/config.json")):  # training has begun
            break
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = snakemake("sweep", project, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert scores(tmp_path) == scores(swept[0])
    weights = [load_file(next(runs.glob("digits/gan/dcgan-*/epoch-0003/weights.safetensors"))) for runs in (tmp_path, swept[0])]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_papermill_runs_the_parameters_and_continues(tmp_path, runs_folder):
    "As in the README: the second call trains only what is missing."
    options = "-p width 8 -p latent 16 -p n_samples 20 -y {snapshots:[]} --no-progress-bar --log-output".split()
    logs = []
    for epochs in (1, 3):
        done = command("papermill", "nbs/01_gan.ipynb", tmp_path / "out.ipynb", "-p", "epochs", epochs, *options)
        assert done.returncode == 0, done.stderr
        logs.append(done.stdout + done.stderr)
    (run,) = runs_folder.glob("digits/gan/*")
    assert sorted(p.name for p in run.glob("epoch-*")) == ["epoch-0001", "epoch-0003"]
    first, second = (json.loads((run / f"epoch-000{e}" / "metrics.json").read_text()) for e in (1, 3))
    assert first["updates"] == 11 and second["updates"] == 33 and "[3/3][10/11]" in logs[1]
