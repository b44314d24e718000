"""The sweep and the report, end to end, in a copy of the project: failures, kills and restarts included."""

import json
import math
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
from PIL import Image
from pypdf import PdfReader
from safetensors.torch import load_file

from genlab.data import load_dataset
from genlab.gan import GANConfig, run_gan
from genlab.interpolation import interpolation_fragment, load_paths
from genlab.plug import LABS
from genlab.report import build_pdf, publish_run, write_fragments
from genlab.runs import Run
from genlab.sweep import Job, collect_runs, estimate, plan, plan_labs
from genlab.tables import uncertain

PROFILE = """
labs:
  01b_mode_collapse: {seeds: 2, updates: 12, epochs: 1}
runs:
  - {notebook: 01_gan, epochs: [1, 3], width: 8, latent: 16, n_samples: 100,
     metrics: [fd_lenet, precision, recall, memorisation, copies, fd_lenet_infinity, class_kl]}
  - {notebook: 02_ddpm, epochs: [1], widths: [8], T: 40, steps: 5, n_samples: 60, conditional: true,
     compare: ["ancestral:40", "ddim:5"]}
  - {notebook: 04_vae, epochs: [1], network: mlp, latent: 2, n_samples: 60, side_epochs: 0}
  - {notebook: 01_gan, name: broken, epochs: [1], dataset: "folder:/nowhere"}
"""
# so that a row has one thread, as above
SECOND_ROW = "  - {notebook: 01_gan, name: second, epochs: [1], width: 8, latent: 16, n_samples: 20}\n"
FLAGS = (
    "-s report/Snakefile --cores 1 --keep-going --rerun-incomplete --nolock "
    "--rerun-triggers mtime params input --quiet rules host progress reason --config profile=mine"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    "The project's files, with a small profile of its own."
    folder = tmp_path_factory.mktemp("project")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    for file in filter(None, files):
        if (ROOT / file).exists():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    (folder / "report/profiles/mine.yaml").write_text(PROFILE)
    return folder


def snakemake(target, project, runs):
    return command("snakemake", *target.split(), *FLAGS.split(), cwd=project, GENLAB_RUNS=str(runs))


def scores(runs):
    return {
        p.parent.name: json.loads(p.read_text())["scores"]
        for p in sorted(runs.glob("digits/gan/dcgan-*/*/metrics.json"))
    }


@pytest.fixture(scope="module")
def swept(project, tmp_path_factory):
    "After a sweep, of which one row fails."
    runs = tmp_path_factory.mktemp("runs")
    return runs, snakemake("sweep", project, runs)


def test_a_failing_run_stops_nothing_else(swept):
    runs, done = swept
    assert (
        done.returncode != 0
        and "FileNotFoundError: dataset: there is no folder /nowhere" in done.stdout + done.stderr
    )
    assert list(scores(runs)) == ["epoch-0001", "epoch-0003"]


@pytest.mark.parametrize("engine", ["typst", "latex"])
def test_the_report_has_a_dash_and_a_note(swept, project, engine):
    if engine == "latex" and not shutil.which("lualatex"):
        pytest.skip("there is no LaTeX here")
    done = command("genlab_report", "mine", "--engine", engine, cwd=project, GENLAB_RUNS=str(swept[0]))
    said = done.stdout + done.stderr
    assert done.returncode == 0 and f"(by {engine}): 4 of 5 evaluations of profile mine" in said, said
    assert (project / "report/report.pdf").read_bytes().startswith(b"%PDF")
    text = (project / "report/_generated/build/report.md").read_text()
    why = "`FileNotFoundError: dataset: there is no folder /nowhere.`"
    assert f"**broken, folder:/nowhere, 1 epoch** is missing: {why}" in text
    assert "| broken, folder:/nowhere | 1 | — | — | — | — | — |" in text
    best = "is sde_dpmpp (5 evaluations), which cannot be told from ddim (5 evaluations)"
    assert f"the best of 2 samplers with at most 20 evaluations {best}" in text
    assert "| ancestral | 40 | 40 | 60 |" in text and "| cross-fade |" in text
    too_few = "No run has the extrapolation to infinitely many (`fd_lenet_infinity`): `"  # a hundred samples
    assert too_few in text
    check_numbers(swept[0], text)


FIGURES = """losses-gan losses-ddpm losses-vae samples-gan samples-ddpm samples-vae denoising-unet-digits
    noise-unet-digits levels-unet-digits guidance-unet-digits samplers-unet-digits-1 plane-vae-digits
    sources-vae-digits walks corners nearest copies precision-recall ring gap histogram-digits-0"""


def test_figures_are_made_and_shown(swept, project):
    done = command("genlab_report", "mine", "--engine", "typst", cwd=project, GENLAB_RUNS=str(swept[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    text = (project / "report/_generated/build/report.md").read_text()
    for figure in FIGURES.split():
        assert f"_generated/{figure})" in text, figure
        assert (project / f"report/_generated/{figure}.pdf").exists(), figure


def check_numbers(runs, text):
    "Numbers of the runs' files stand in the report."
    (vae,) = (json.loads(p.read_text()) for p in runs.glob("digits/vae/*/*/metrics.json"))
    known = vae["likelihood"]
    bound = f"−{-known['elbo']:,.1f} ± {known['se']:,.1f} | {known['gap']:,.1f}"
    assert f"| digits | test, 500 | {vae['losses']['loss']:,.1f} | {bound} |" in text
    for found in scores(runs).values():
        fd, *shares = (found[metric] for metric in ("fd_lenet", "precision", "recall"))
        assert f"| {uncertain(fd['value'], fd['sd'])} | {uncertain(fd['floor'], fd['floor_sd'])} |" in text
        assert " | ".join(uncertain(share["value"], share["sd"]) for share in shares) in text


def test_paths_are_results_of_runs(swept, project, runs_folder, tmp_path):
    "The sweep leaves them; the report reads them, without weights; a published copy has them."
    shutil.copytree(swept[0], runs_folder)
    profile = tmp_path / "mine.yaml"
    profile.write_text(PROFILE.rsplit("  -", 1)[0])
    for weights in runs_folder.rglob("*.safetensors"):
        weights.unlink()
    folders = {path.parents[2].name: path.parent for path in runs_folder.rglob("interpolation.json")}
    assert folders.keys() == {"gan", "ddpm", "vae"} and folders["gan"].name == "epoch-0003"
    copy = publish_run(folders["vae"].parent, tmp_path / "results")
    assert load_paths(copy / folders["vae"].name)[0] == load_paths(folders["vae"])[0]
    figures = tmp_path / "figures"
    text = interpolation_fragment(collect_runs(plan(profile)), figures)
    for name, own, row in [("vae",) * 3, ("gan", "gan", "gan (draws)"), ("ddpm", *["cross-fade"] * 2)]:
        known = load_paths(folders[name])[0]["spaces"][own]
        ppl, detour = (uncertain(*known[measure].values()) for measure in ("ppl", "detour"))
        assert f"| {row} | {ppl} | {detour} | " in text
    assert (figures / "walks.pdf").exists() and (figures / "corners.pdf").exists()
    archive = folders["vae"] / "interpolation.npz"
    archive.write_bytes(archive.read_bytes()[:100])
    (folders["vae"] / "interpolation.log").write_text("Traceback\nValueError: no room to walk in\n")
    text = interpolation_fragment(collect_runs(plan(profile)), figures)
    assert "There are no paths of vae: `ValueError: no room to walk in`" in text
    assert "| vae |" not in text and "| ddpm |" in text


def scores_in(value):
    "All scores and floors of nested JSON with their deviations, as the report writes them: 0.81(2)."
    found = []
    if isinstance(value, dict):
        pairs = (("value", "sd"), ("value", "se"), ("floor", "floor_sd"))
        found = [
            uncertain(value.get(number), value.get(spread)) for number, spread in pairs if value.get(spread)
        ]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return found + [text for v in inner for text in scores_in(v)]


def ratios_in(scores):
    "Distances over their floors and over each other, with propagated deviations, as the report writes them."
    ratio = lambda a, sd_a, b, sd_b: uncertain(a / b, a / b * math.hypot(sd_a / a, sd_b / b))
    own = [(fd["value"], fd["sd"], fd["floor"], fd["floor_sd"]) for fd in scores]
    return [ratio(*fd) for fd in own] + [ratio(*a[:2], *b[:2]) for a in own for b in own]


def test_ten_numbers_of_the_pdf_stand_in_files_of_runs(swept, project):
    "Numbers with an uncertainty, such as 0.81(2), picked at random from the text of the PDF."
    done = command("genlab_report", "mine", "--engine", "typst", cwd=project, GENLAB_RUNS=str(swept[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    text = "\n".join(page.extract_text() for page in PdfReader(project / "report/report.pdf").pages)
    shown = set(re.findall(r"(?<![\d.,])\d[\d,]*(?:\.\d+)?\(\d+\)", text))
    known = {score for path in swept[0].rglob("*.json") for score in scores_in(json.loads(path.read_text()))}
    known |= set(
        ratios_in(
            [json.loads(path.read_text())["scores"]["fd_lenet"] for path in swept[0].rglob("metrics.json")]
        )
    )
    assert len(shown) >= 10
    picked = random.Random(0).sample(sorted(shown), 10)
    assert not [number for number in picked if number not in known], (
        "they stand in the PDF and in no file of a run"
    )


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


def test_what_the_pdf_is_made_from_is_a_reason_to_make_it_again(swept, project):
    "Any module that the report imports, the classifiers' weights, and what it reads of runs."
    runs, _ = swept
    (project / "report/profiles/mine.yaml").write_text(PROFILE.rsplit("  -", 1)[0])
    (project / "report/report.pdf").unlink(
        missing_ok=True
    )  # one that Snakemake has not made has no record of what it was made from
    assert snakemake("pdf", project, runs).returncode == 0

    def again():
        done = snakemake("pdf --dry-run", project, runs)
        return "nothing to be done" not in (done.stdout + done.stderr).lower()

    assert not again()
    first = next(runs.glob("digits/gan/dcgan-*/epoch-0001/metrics.json"))
    for path in (project / "genlab/fid.py", project / "genlab/weights/lenet-mnist-28.safetensors", first):
        stamp, content = path.stat().st_mtime_ns, path.read_bytes()
        path.write_bytes(
            content + b"\n"
        )  # a new date alone is no reason: Snakemake compares the content of small files
        assert again(), path
        path.write_bytes(content)
        os.utime(path, ns=(stamp, stamp))
    assert not again()


def save_images(images, folder):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")


def test_a_space_in_the_folder_of_runs(project):
    env = os.environ | {"GENLAB_RUNS": "my runs"}
    shown = subprocess.run(["make", "-pn", "report"], cwd=project, env=env, capture_output=True, text=True)
    assert f"GENLAB_RUNS := {project}/my runs\n" in shown.stdout


def test_a_space_and_braces_in_paths(project, tmp_path):
    "A folder of runs with a space stays whole, and a data set whose path has braces is found."
    folder = tmp_path / "a {b} [c]"
    for split, n in (("train", 40), ("test", 20)):
        save_images(load_dataset("digits", split).images[:n], folder / split)
    row = {"notebook": "01_gan", "dataset": f"folder:{folder}", "size": 16, "epochs": [1]}
    row |= {"width": 8, "latent": 4, "n_samples": 10, "metrics": []}
    (project / "report/profiles/mine.yaml").write_text(json.dumps({"runs": [row]}))
    done = snakemake("sweep", project, tmp_path / "my {runs}")
    assert done.returncode == 2 and "GENLAB_RUNS: Snakemake takes the braces of" in done.stderr
    runs = tmp_path / "my runs"
    done = snakemake("sweep", project, runs)
    assert done.returncode == 0 and len(list(runs.rglob("metrics.json"))) == 1, done.stdout + done.stderr
    done = snakemake("pdf --dry-run", project, runs)
    assert done.returncode == 0 and "pdf" in done.stdout + done.stderr, done.stdout + done.stderr


ODD = "# $a$ 100% & ~x ^2 _y_ {z} @lena <b> `c` a|b *d* -- e"  # "/" and ":" end a name


@pytest.fixture(scope="module")
def oddly_named(tmp_path_factory):
    "Two small runs on a folder whose name and classes hold what Markdown and LaTeX take for commands."
    folder = tmp_path_factory.mktemp("images") / ODD
    for split, data in ((split, load_dataset("digits", split)) for split in ("train", "test")):
        for label in (0, 1):
            save_images(data.images[data.labels == label][:20], folder / split / f"{label} {ODD}")
    runs = tmp_path_factory.mktemp("odd") / "runs"
    small = {"dataset": f"folder:{folder}", "size": 16, "epochs": 1, "n_samples": 10, "metrics": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENLAB_RUNS", str(runs))
        jobs = [
            Job("01_gan", {"epochs": 1}, run_gan(GANConfig(width=8, latent=4, name=name, **small)), 1)
            for name in ("_a_", "dcgan")
        ]
        jobs.append(Job("01_gan", {"epochs": 1}, Run(GANConfig(width=16, **small)), 1))
        jobs[-1].log.parent.mkdir(parents=True)
        jobs[-1].log.write_text(f"ValueError: {ODD}\n")
    for path in runs.rglob("metrics.json"):
        (path.parent / "weights.safetensors").unlink()  # as in published results: walks take a while
        known = json.loads(path.read_text()) | {"scores": odd_scores(folder), "device": ODD}
        path.write_text(json.dumps(known))
    return folder, runs, jobs


def odd_scores(folder):
    about = {"value": 3.0, "sd": 0.1, "floor": 1.0, "floor_sd": 0.1, "n_floor": 10}
    about |= {"reference": f"folder:{folder}, 16x16", "extractor": f"LeNet-5 ({ODD})", "hash": "ab"}
    classes = {"expected": [10, 10], "histogram": [4, 6], "floor_classes": [1.0, 1.0]}
    classes |= {"classes": [{"value": 3.0}, {"value": None}]}
    scores = dict.fromkeys(("class_kl", "fd_lenet_by_class"), about | classes)
    return dict.fromkeys(("fd_lenet", "precision", "recall"), about) | scores


@pytest.mark.parametrize("engine", ["typst", "latex"])
def test_names_are_shown_as_typed(oddly_named, engine, tmp_path, monkeypatch):
    if engine == "latex" and not shutil.which("lualatex"):
        pytest.skip("there is no LaTeX here")
    folder, root, jobs = oddly_named
    monkeypatch.setenv("GENLAB_RUNS", str(root))
    for file in ("report.qmd", "references.bib", "filter.lua", "preamble.typ", "preamble.tex"):
        shutil.copy(ROOT / "report" / file, tmp_path / file)
    runs = collect_runs(jobs)
    assert runs.metrics.notna().tolist() == [True, True, False]
    write_fragments("mine", runs, tmp_path / "_generated")
    assert build_pdf(tmp_path / "report.qmd", tmp_path / "report.pdf", engine) == engine
    text = "".join(page.extract_text() for page in PdfReader(tmp_path / "report.pdf").pages)
    squeezed = re.sub(r"\s|\u200b", "", text)
    for what in (f"folder:{folder}, 16x16", f"ValueError: {ODD}", f"LeNet-5 ({ODD})"):
        assert re.sub(r"\s", "", what) in squeezed, what
    assert "_a_" in squeezed and not list((tmp_path / "_generated").glob("*[!a-z0-9_.-]*"))


def test_an_unknown_parameter_stops_the_sweep_before_it_starts(project, tmp_path):
    (project / "report/profiles/typo.yaml").write_text(
        "runs:\n  - {notebook: 01_gan, epochs: [1], epoch: 3}\n"
    )
    done = command(
        "snakemake", "sweep", *FLAGS.replace("mine", "typo").split(), cwd=project, GENLAB_RUNS=str(tmp_path)
    )
    assert (
        done.returncode == 2
        and "profile typo, row 1: epoch: 01_gan has no such parameter; did you mean epochs?"
        in done.stdout + done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_killed_and_started_again(swept, project, tmp_path):
    "kill -9 of Snakemake leaves a notebook running; the next start waits for it or takes over."
    (project / "report/profiles/mine.yaml").write_text(
        "runs:" + PROFILE.split("runs:")[1].split("  - {notebook: 02")[0] + SECOND_ROW
    )
    program = [str(Path(sys.executable).parent / "snakemake"), "sweep", *FLAGS.split()]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = subprocess.Popen(program, cwd=project, env=os.environ | {"GENLAB_RUNS": str(tmp_path)}, **quiet)
    for _ in range(1200):
        if list(tmp_path.glob("digits/gan/*/config.json")):  # training has begun
            break
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = snakemake("sweep", project, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert scores(tmp_path) == scores(swept[0])
    weights = [
        load_file(next(runs.glob("digits/gan/dcgan-*/epoch-0003/weights.safetensors")))
        for runs in (tmp_path, swept[0])
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_papermill_runs_the_parameters_and_continues(tmp_path, runs_folder):
    "As in the README: the second call trains only what is missing."
    options = (
        "-p width 8 -p latent 16 -p n_samples 20 -y {snapshots:[]} --no-progress-bar --log-output".split()
    )
    logs = []
    for epochs in (1, 3):
        done = command(
            "papermill", "nbs/01_gan.ipynb", tmp_path / "out.ipynb", "-p", "epochs", epochs, *options
        )
        assert done.returncode == 0, done.stderr
        logs.append(done.stdout + done.stderr)
    (run,) = runs_folder.glob("digits/gan/*")
    assert sorted(p.name for p in run.glob("epoch-*")) == ["epoch-0001", "epoch-0003"]
    first, second = (json.loads((run / f"epoch-000{e}" / "metrics.json").read_text()) for e in (1, 3))
    assert first["updates"] == 21 and second["updates"] == 63 and "[3/3][20/21]" in logs[1]


def test_each_job_has_a_gpu_of_its_own(tmp_path):
    "With a stand-in for nvidia-smi: of three jobs two begin, the third waits until one is killed."
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\ncase $1 in -i) test -n \"$2\" || exit 1;; esac\nprintf 'GPU-a\\nGPU-b\\n'\n")
    smi.chmod(0o755)
    here = {"PATH": f"{smi.parent}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    script = "set -euo pipefail; source report/claim_gpu.sh; echo ${CUDA_VISIBLE_DEVICES-none}; exec sleep $1"

    def job(seconds, **more):
        words, environment = ["bash", "-c", script, "job", str(seconds)], os.environ | here | more
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    first, second = job(60), job(60)
    taken = {process: process.stdout.readline().strip() for process in (first, second)}
    assert {*taken.values()} == {"GPU-a", "GPU-b"}
    third = job(0)
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(2)
    first.kill()
    assert third.stdout.readline().strip() == taken[first] and third.wait(10) == 0
    second.kill()
    for nothing in ({"CUDA_VISIBLE_DEVICES": ""}, {"PATH": os.environ["PATH"]}):
        assert job(0, **nothing).stdout.readline().strip() == nothing.get("CUDA_VISIBLE_DEVICES", "none")


@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is estimated for a GPU")
def test_a_quick_sweep_can_be_estimated(tmp_path, monkeypatch):
    "Each of its executions stands in report/seconds.json; else run tools/seconds.py after a whole sweep."
    monkeypatch.setenv("GENLAB_RUNS", str(tmp_path))
    profile = ROOT / "report" / "profiles" / "quick.yaml"
    results = {job.result for job in plan(profile)} | {LABS[notebook]() for notebook in plan_labs(profile)}
    sentence = estimate(results, 2, ROOT / "report" / "seconds.json")
    assert re.search(r"to do: about \d+ minutes? on this machine\.$", sentence), sentence
