# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The report
#
# > From what runs left on disk to a PDF
#
# Snakemake executes the runs of a profile ([07a_sweep](07a_sweep.ipynb)). This module then writes **fragments**, Markdown files with tables and figures, which `report/report.qmd` includes, and typesets the whole. A kind of model brings its own section along, which stands at the end of its notebook; here is what concerns all of them. Every result in the PDF comes from a file that a run or a lab has left; typed is only what other people's reports printed.
#
# A run that failed or was never made is a dash in the tables, with a note that says why. It does not stop the report.

# %%
#| default_exp report

# %% tags=["parameters"]
engine = "typst"  # what sets the report of made-up results at the end: typst, or latex

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import argparse
import datetime
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pypandoc
import seaborn as sns
import torch
import typst
import yaml

from genlab.data import load_dataset, show_grid
from genlab.measures import plot_copies, plot_nearest
from genlab.plug import KINDS, SECTIONS, Section, import_plugins, kinds_in_order
from genlab.runs import Run, atomic, git_commit, project_root, read_config, runs_root
from genlab.sentences import (
    Evaluation,
    best_of,
    claim_fragment,
    compare,
    discussion_fragment,
    glance_fragment,
    largest_groups,
    listed,
)
from genlab.sweep import collect_runs, plan
from genlab.tables import (
    NONE,
    bias_figure,
    class_table,
    cost_table,
    devices,
    distance_figure,
    distance_heading,
    distance_score,
    distance_table,
    escape,
    figure,
    last_of_each,
    measure_table,
    plot_label,
    plural,
    precision_recall_figure,
    provenance_table,
    save_figure,
    seed_table,
    slug,
    time_table,
    uncertain,
    value_at,
    verbatim,
)

# %%
#| hide
import tempfile

import pytest

from genlab.gan import GANConfig
from genlab.sentences import comparable
from genlab.sweep import Job, made_up_runs

home = tempfile.TemporaryDirectory()
os.environ["GENLAB_RUNS"] = home.name
runs = made_up_runs()  # of the first epoch count nothing is there
jobs = list(runs.job)
score = runs.metrics[1]["scores"]["fd_lenet"]


# %% [markdown]
# ## What concerns all models
#
# The images that the models learned from, one figure for all data sets and sizes:

# %%
#| export
def data_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Real images of each data set and size, and how many there are; or why they could not be loaded."
    wanted = sorted({(r.dataset, r.job.run.config.size) for r in runs.itertuples()}, key=str)
    lines, shown = [], {}
    for dataset, size in wanted:
        try:
            train, test = (load_dataset(dataset, split, size).images for split in ("train", "test"))
        except (RuntimeError, OSError, ValueError) as problem:
            lines.append(f"- {verbatim(dataset)} could not be loaded: {verbatim(str(problem))}\n")
            continue
        c, h, w = train.shape[1:]
        numbers = f"{len(train):,} training and {len(test):,} test images"
        lines.append(f"- {verbatim(dataset)}: {numbers} of {w}×{h} pixels and {plural(c, 'channel')}\n")
        shown[verbatim(dataset), size] = test[:32]
    return "".join(lines) + (f"\n{_real_figure(shown, folder)}" if shown else "")


def _real_figure(shown: dict[tuple, torch.Tensor], folder: Path) -> str:
    "Images of each (name of the data set, size), one below the other."
    size = (5, 0.7 * len(shown))
    fig, axes = plt.subplots(len(shown), figsize=size, layout="constrained", squeeze=False)
    for ax, images in zip(axes.flat, shown.values(), strict=True):
        show_grid(images, ncol=16, ax=ax)
    save_figure(fig, folder / "real")
    caption = f"Real images: the first 32 test images of {listed([name for name, _ in shown])}."
    return figure(folder, "real", caption, "real", "70%")


# %% [markdown]
# Are samples copies of training images? One can look, and count.

# %%
#| export
def nearest_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "For the last epoch count of each run: samples and their nearest training images, and how near they are."
    last = list(last_of_each(runs).itertuples())
    known = [r for r in last if value_at(r.metrics, "scores", "memorisation", "value") is not None]
    parts, most = [], 10
    for i in range(0, len(known), most):
        name = f"nearest-{i // most}" if i else "nearest"
        save_figure(_plot_nearest_of(known[i : i + most]), folder / name)
        caption = (
            "Samples after the last epoch count of each run (first row), and below each the two nearest "
            "training images in LeNet's features."
        )
        parts.append(figure(folder, name, caption, name, "85%"))
    return "\n".join([*parts, _copies_figure(last, folder)]) if known else NONE


def _plot_nearest_of(known: list) -> plt.Figure:
    fig, axes = plt.subplots(len(known), figsize=(6, len(known)), layout="constrained", squeeze=False)
    for ax, r in zip(axes.flat, known, strict=True):
        train = r.job.run.config.training_set().images
        plot_nearest(r.job.run.samples(r.epochs)[:22], r.dataset, ax=ax, train=train)
        ax.set_title(f"{plot_label(r.label)}, {plural(r.epochs, 'epoch')}", fontsize=7, pad=2)
    return fig


# %% [markdown]
# The distances to the nearest training image, as small multiples:

# %%
#| export
def _copies_figure(last: list, folder: Path) -> str:
    "How near samples and test images are to the training images; empty if that is not known of any run."
    found = {plot_label(r.label): value_at(r.metrics, "scores", "copies") or {} for r in last}
    found = {label: score for label, score in found.items() if "histogram" in score}
    if not found:
        return ""
    nrows = -(-len(found) // 3)
    fig, axes = plt.subplots(nrows, 3, figsize=(7.2, 1.6 * nrows), layout="constrained", squeeze=False)
    for ax in axes.flat[len(found) :]:
        ax.set_axis_off()
    for i, (ax, (label, score)) in enumerate(zip(axes.flat, found.items(), strict=False)):
        plot_copies(score, ax).set_title(label, fontsize=7, pad=3)
        ax.set_xlabel("distance" if i + 3 >= len(found) else "", fontsize=7)
        ax.tick_params(labelsize=6)
        ax.legend(frameon=False, fontsize=5) if i == 0 else ax.get_legend().remove()
    save_figure(fig, folder / "copies")
    caption = (
        "Distances to the nearest training image in LeNet's features. Left of the dashed line are 1 % of the "
        "test images; @tbl-measures has the share of the samples that are there."
    )
    return figure(folder, "copies", caption, "copies")


# %% [markdown]
# Report 002's claim has a section of its own; where a profile has nothing to say to it, it is left out.

# %%
#| export
def claim_section(runs: pd.DataFrame) -> str:
    "What `claim_fragment` says, below a heading; empty if it has no table."
    text = claim_fragment(runs)
    heading = "# A VAE after 5 epochs against a GAN after 50 {#sec-claim}"
    return f"{heading}\n\n{text}" if "{#tbl-claim}" in text else ""


# %% [markdown]
# What is missing is said once, with the reason.

# %%
#| export
def missing_fragment(runs: pd.DataFrame) -> str:
    "A line for each run and reason."
    lines = []
    for (label, why), group in runs[runs.metrics.isna()].groupby(["label", "why"], sort=False):
        counts = ", ".join(map(str, group.epochs))
        epochs = "epoch" if counts == "1" else "epochs"
        lines.append(f"- **{label}, {counts} {epochs}** is missing: {verbatim(why)}")
    return "\n".join(lines) or "All runs of this profile are there."


# %% [markdown]
# The report's own sentences use a few values, too. They go to `_variables.yml`.

# %%
#| export
def report_variables(profile: str, runs: pd.DataFrame) -> dict:
    "What the report's sentences use, as text. A number that is not there is a dash."
    done, root = runs[runs.metrics.notna()], runs_root()
    inside = root.is_relative_to(project_root())
    return {
        "profile": escape(profile),
        "runs": verbatim(os.path.relpath(root, project_root()) if inside else str(root)),
        "date": datetime.date.today().isoformat(),
        "commit": git_commit() or "no git commit",
        "versions": "; ".join(sorted({*map(_versions, done.metrics)})) or "—",
        "devices": devices(runs),
        "datasets": " and ".join(map(escape, sorted(set(runs.dataset)))),
        "jobs": {"planned": str(len(runs)), "done": str(len(done))},
        "best": " ".join(map(_best_sentences, largest_groups(runs).values()))
        or "No evaluation has a distance yet.",
    }


def _versions(metrics: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in (value_at(metrics, "versions") or {}).items())


def _best_sentences(evaluations: list[Evaluation]) -> str:
    "Of comparable evaluations that with the smallest distance, or those; for the abstract."
    named = {f"*{e.name}* after {e.after}": e for e in evaluations}
    (first, *ties), _ = compare({name: e.distance for name, e in named.items()})
    r, best = named[first].rows[0], named[first]
    images = escape(distance_score(r.metrics).get("reference") or r.dataset)
    text = (
        f"On {images} the smallest Frechet distance in classifier features "
        f"($N$ = {r.metrics['n_samples']:,}) is that of the {best.title} "
        f"{first}{best_of(len(named))}: {best.distance}."
    )
    if ties:
        others = listed([f"{name} ({named[name].distance})" for name in ties])
        text += f" By two standard deviations, {others} cannot be told from it."
    if floor := best.estimate("scores", best.metric, value="floor", sd="floor_sd"):
        text += (
            f" As many real images have {uncertain(*floor[:2])}, the floor; the model is at "
            f"{uncertain(*best.times_floor[:2])} times the floor (of a squared distance)."
        )
    return text


# %% [markdown]
# ## All fragments
#
# The report asks every kind of model, and then every entry of `SECTIONS`, what they have to say. What is long in it comes in the appendix.

# %%
#| export
def sections_fragments(runs: pd.DataFrame, folder: Path) -> dict[str, str]:
    "The sections of the kinds of models that `runs` have, those of SECTIONS, and the appendices of both."
    import_plugins()
    kinds = {
        kind.title: kind.section(runs[runs.model == model], folder)
        for model, kind in kinds_in_order().items()
        if kind.section and (runs.model == model).any()
    }
    sections = {name: SECTIONS[name](runs, folder) for name in sorted(SECTIONS)}  # whatever is imported first
    appendix = [_with_heading(title, section) for title, section in (kinds | sections).items()]
    return {
        "kinds": "\n\n".join(section.text.strip() for section in kinds.values()),
        "sections": "\n\n".join(section.text.strip() for section in sections.values()),
        "appendix": "\n".join(appendix),
    }


def _with_heading(title: str, section: Section) -> str:
    "The appendix of a section, below a heading; empty if there is none."
    text = section.appendix.strip()
    if not text or text.startswith("#"):
        return section.appendix
    return f"## {title[:1].upper()}{title[1:]} {{#sec-appendix-{slug(escape(title))}}}\n\n{text}\n"


# %% [markdown]
# Every fragment that `report/report.qmd` includes has a line here.

# %%
#| export
def general_fragments(runs: pd.DataFrame, folder: Path) -> dict[str, str]:
    "The fragments of report/report.qmd, by name; figures are saved in `folder`."
    caption = (
        f"{distance_heading(runs)} of samples against epochs; dashed, the floor of real training images. "
        "Both axes are logarithmic. Bars: 95 % interval of the mean, where there are several seeds."
    )
    return sections_fragments(runs, folder) | {
        "glance": glance_fragment(runs, folder),
        "claim": claim_section(runs),
        "discussion": discussion_fragment(runs),
        "data": data_fragment(runs, folder),
        "distances-figure": distance_figure(runs, folder, "distances", caption),
        "distances": distance_table(runs, "distances"),
        "bias": bias_figure(runs, folder),
        "precision-recall": precision_recall_figure(runs, folder),
        "measures": measure_table(runs, "other", "Other measures.", "measures"),
        "diversity": measure_table(runs, "diversity", "Good, or diverse?", "diversity"),
        "classes": class_table(runs),
        "nearest": nearest_fragment(runs, folder),
        "times": time_table(runs, "times"),
        "costs": cost_table(runs, "costs"),
        "seeds": seed_table(runs, "seeds"),
        "provenance": provenance_table(runs, "provenance"),
        "missing": missing_fragment(runs),
    }


# %% [markdown]
# They are written anew each time, after the old ones are removed.

# %%
#| export
def write_fragments(
    profile: str,
    runs: pd.DataFrame,
    folder: Path,  # for tables and figures; _variables.yml is written beside it
    make: Callable[[pd.DataFrame, Path], dict[str, str]] = general_fragments,
) -> None:
    "Write all that a report includes, anew."
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.md"), *folder.glob("*.png"), *folder.glob("*.pdf")]:
        old.unlink()
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        fragments = make(runs, folder)
    for name, text in fragments.items():
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    variables = yaml.safe_dump(report_variables(profile, runs), allow_unicode=True)
    (folder.parent / "_variables.yml").write_text(variables, encoding="utf-8")


# %%
generated = Path(home.name, "report", "_generated")
write_fragments("mine", runs, generated)
fragment = lambda name: (generated / f"{name}.md").read_text()
assert "**dcgan, 1 epoch** is missing: `it was not run.`" in fragment("missing")
assert fragment("kinds").startswith("# Generative adversarial network {#sec-gan}")
assert "{#fig-samples-gan" in fragment("kinds") and "{#tbl-gan-losses}" in fragment("appendix")
assert "{#sec-vae}" not in fragment("kinds"), "this profile has no such runs"
variables = yaml.safe_load((generated.parent / "_variables.yml").read_text())
assert home.name in variables.pop("runs")
for what in (
    "On digits the smallest Frechet distance in classifier features ($N$ = 64) is that of the GAN *dcgan*",
    "after 5 epochs: 31.4(8). As many real images have 14(2), the floor;",
    "the model is at 2.2(2) times the floor (of a squared distance).",
):
    assert what in variables["best"]
variables

# %% [markdown]
# One of its figures, that of the first page. The only model here has made-up results, and its samples are real digits:

# %%
_, ax = plt.subplots(figsize=(7, 1.6), layout="constrained")
ax.imshow(plt.imread(generated / "glance.png"))
ax.set_axis_off()


# %% [markdown]
# A kind of model and a section from elsewhere:

# %%
def toy_section(runs, folder):
    return Section("# Toy\n\nA kind of its own.\n", f"{len(runs)} evaluations.\n")


KINDS["toy"] = KINDS["gan"]._replace(title="toy model", section=toy_section)
SECTIONS["weather"] = lambda runs, folder: Section("# Weather\n\nSunny.\n")
theirs = sections_fragments(pd.concat([runs, runs.assign(model="toy")]), generated)
del KINDS["toy"], SECTIONS["weather"]
assert theirs["kinds"].endswith("# Toy\n\nA kind of its own.") and "# Weather\n\nSunny." in theirs["sections"]
assert theirs["appendix"].strip().endswith("## Toy model {#sec-appendix-toy-model}\n\n2 evaluations.")
assert "Sunny" not in theirs["appendix"]

# %% [markdown]
# Runs at two sizes, one of them also with a part of the images: nothing is compared across sizes.

# %%
configs = [
    GANConfig(epochs=1), GANConfig(epochs=1, subset=300), GANConfig(epochs=1, name="small", size=8)
]  # fmt: skip
sizes = [Job("01_gan", {"epochs": 1}, Run(config), 1) for config in configs]
for job, side in zip(sizes, (16, 16, 8), strict=True):
    job.run.folder.mkdir(parents=True)
    job.run.training = {**jobs[1].run.training, "updates": 11}
    fd = score | {"reference": f"digits, {side}x{side}", "hash": f"{side}", "value": 30.0 + side}
    images = load_dataset("digits", "test", side).images[:40]
    job.run.finish(1, images, scores={"fd_lenet": fd}, sample_seconds=0.5)
    history = "step,epoch,i,loss_d,loss_g,d_x,d_g_z1,d_g_z2\n0,1,0,1,1,1,1,1\n"
    (job.run.folder / "history.csv").write_text(history)
sizes = collect_runs(sizes)
fragments = general_fragments(sizes, generated)
assert fragments["glance"].count("{#tbl-glance") == fragments["glance"].count("{#fig-glance") == 2
assert "_generated/glance-1)" in fragments["glance"]
groups = [("digits", "digits, 16x16", "16", 40), ("digits", "digits, 8x8", "8", 40)]
assert list(comparable(sizes)) == groups
print(fragments["discussion"])
unscored = [metrics | {"scores": {}} for metrics in sizes.metrics]  # as with `metrics: []`
without = sizes.assign(metrics=unscored)
assert general_fragments(without, generated)["distances-figure"] == ""
assert report_variables("mine", without)["best"] == "No evaluation has a distance yet."


# %% [markdown]
# ## Typesetting
#
# The source is Quarto Markdown without executable code. Where Quarto is installed, `quarto render report/report.qmd` makes a PDF or a web page of it. It is not needed, though: the few things that Quarto adds to pandoc's Markdown are resolved here (includes and variables) and in `report/filter.lua` (numbers and references of figures, tables and equations). Pandoc is inside a Python package. It writes LaTeX, which `latexmk` typesets; where there is no LaTeX it writes Typst, whose compiler is inside another Python package.

# %%
#| export
def preprocess(text: str, folder: Path, variables: dict) -> str:
    "`text` with its `{{< include file >}}` lines and `{{< var a.b >}}` resolved; ValueError: one is missing."

    def include(match: re.Match) -> str:
        path = folder / match[1]
        if not path.is_file():
            raise ValueError(f"The report includes {match[1]}, but there is no such file.")
        return path.read_text(encoding="utf-8").strip("\n")  # shown as it is

    def variable(match: re.Match) -> str:
        value = value_at(variables, *match[1].split("."))
        if value is None:
            raise ValueError(f"The report uses the variable {match[1]}, but there is no such variable.")
        return str(value)

    text = re.sub(r"\{\{< *var +(\S+) *>\}\}", variable, text)
    return re.sub(r"^\{\{< *include +(\S+) *>\}\} *$", include, text, flags=re.M)


# %%
place = generated.parent
assert preprocess("a {{< var jobs.done >}} b", place, variables) == "a 1 b"
assert "| dcgan | 5 |" in preprocess("x\n\n{{< include _generated/times.md >}}\n\ny", place, variables)
with pytest.raises(ValueError, match="includes _generated/nothing.md, but"):
    preprocess("{{< include _generated/nothing.md >}}", place, variables)
with pytest.raises(ValueError, match="variable jobs.age, but"):
    preprocess("{{< var jobs.age >}}", place, variables)

# %% [markdown]
# The two engines need different settings for the same look. Pandoc's warnings (an unknown citation, mathematics that Typst cannot take) are made errors: a report with a question mark in place of a number is worse than none.

# %%
#| export
LOOKS = {
    "latex": "-V documentclass=scrartcl -V classoption=abstract,numbers=noenddot -V fontsize=10pt "
    "-V papersize=a4 -H preamble.tex",
    "typst": "-V papersize=a4 -V fontsize=10pt -V margin.x=26mm -V margin.y=24mm -V page-numbering=1 "
    "-V section-numbering=1.1 -M abstract-title=Abstract -H preamble.typ",
}
PANDOC = (
    "-s -N --wrap=none --default-image-extension=pdf -L filter.lua --citeproc -M link-citations "
    "-M reference-section-title=References --fail-if-warnings"
)


# %% [markdown]
# Typesetting takes two programs. The first is pandoc.

# %%
#| export
def run_pandoc(folder: Path, source: Path, output: Path, engine: str) -> None:
    "Convert the Markdown file `source` to `output`, both relative to `folder`. ValueError: wrong text."
    files = [str(source), "-o", str(output), "-t", engine]
    command = [pypandoc.get_pandoc_path(), *files, *PANDOC.split(), *LOOKS[engine].split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise ValueError(re.sub(r"\[WARNING\] |Failing because.*", "", done.stderr).strip())


# %% [markdown]
# The second is LaTeX. Of its log only the first errors are of interest.

# %%
#| export
def run_latex(folder: Path, build: Path) -> None:
    "Typeset report.tex in `build` (relative to `folder`). RuntimeError with the first errors if it fails."
    options = ["-norc", "-g", "-lualatex", "-interaction=nonstopmode", f"-outdir={build}"]
    command = ["latexmk", *options, str(build / "report.tex")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        file = folder / build / "report.log"
        log = file.read_text(encoding="utf-8", errors="replace") if file.exists() else done.stdout
        errors = re.findall(r"^! .*(?:\n.*){2}", log, flags=re.M)[:3]
        lines = ["LaTeX could not typeset the report:", *errors, f"See {file}."]
        raise RuntimeError("\n".join(lines))


# %% [markdown]
# Where there is no LaTeX, it is Typst.

# %%
#| export
def run_typst(folder: Path, build: Path) -> None:
    "Typeset report.typ in `build` (relative to `folder`). RuntimeError if it fails."
    try:
        source, output = folder / build / "report.typ", folder / build / "report.pdf"
        typst.compile(source, output=output, root=folder, ignore_system_fonts=True)
    except typst.TypstError as error:
        raise RuntimeError(f"Typst could not typeset the report: {error}") from None


# %% [markdown]
# `build_pdf` takes them in turn. If LaTeX is there and fails, Typst is tried.

# %%
#| export
def build_pdf(
    qmd: Path,  # the report's source; _variables.yml, filter.lua and the preambles stand beside it
    out: Path,  # the PDF
    engine: str | None = None,  # latex or typst; None: LaTeX where it is installed and works
) -> str:  # the engine that made it
    "Typeset the report. ValueError: its text is wrong. RuntimeError: the typesetting program failed."
    folder, build = qmd.parent.resolve(), Path("_generated/build")
    (folder / build).mkdir(parents=True, exist_ok=True)
    variables = yaml.safe_load((folder / "_variables.yml").read_text(encoding="utf-8"))
    text = preprocess(qmd.read_text(encoding="utf-8"), folder, variables)
    (folder / build / "report.md").write_text(text, encoding="utf-8")
    have_latex = shutil.which("lualatex") and shutil.which("latexmk")
    chosen = engine or ("latex" if have_latex else "typst")
    try:
        suffix, typeset = {"latex": ("tex", run_latex), "typst": ("typ", run_typst)}[chosen]
        run_pandoc(folder, build / "report.md", build / f"report.{suffix}", chosen)
        typeset(folder, build)
    except RuntimeError as problem:
        if engine or chosen == "typst":
            raise
        print(f"{problem}\nMaking the PDF with Typst instead; `make tex` installs what LaTeX needs.")
        return build_pdf(qmd, out, "typst")
    with atomic(out) as temporary:
        shutil.copyfile(folder / build / "report.pdf", temporary)
    return chosen


# %% [markdown]
# ## Results for others
#
# Runs are large: checkpoints, weights, ten thousand samples. What a report needs of them is small, if 64 samples will do for its figures. `publish_run` copies that much of a run (and no real image, unless it comes from a set that may be passed on), `report/results` holds such copies, and `make report PROFILE=published` builds a PDF from them without training. Scores are those of all samples; they were computed before.

# %%
#| export
SMALL_FILES = ("metrics.json", "samplers.json")
WITH_IMAGES = ("pictures.npz", "interpolation.json", "interpolation.npz")  # real ones among them
FREE = ("digits", "tinted_digits", "mnist", "fashion_mnist", "stacked_mnist")  # their images may be passed on
MOST_BYTES = 200_000  # of samples of an epoch count, if that is more than 16


def publish_run(run_folder: Path, results: Path, keep: int = 64) -> Path:
    "Copy what a report needs of a run into `results`, with so many samples or fewer. ValueError if none."
    import_plugins()
    config = read_config(run_folder, {model: kind.config for model, kind in KINDS.items()})
    folder = results / Run(config).folder.relative_to(runs_root())
    evaluated = sorted(path.parent for path in run_folder.glob("epoch-*/metrics.json"))
    if not evaluated:
        raise ValueError(f"{run_folder}: no epoch count of this run has been evaluated.")
    for epoch in evaluated:
        (folder / epoch.name).mkdir(parents=True, exist_ok=True)
        samples = np.load(epoch / "samples.npz")["samples"]
        samples = samples[: min(keep, max(16, MOST_BYTES // samples[0].nbytes))]
        np.savez_compressed(folder / epoch.name / "samples.npz", samples=samples)
        for name in SMALL_FILES + (WITH_IMAGES if config.dataset in FREE else ()):
            if (epoch / name).exists():
                shutil.copyfile(epoch / name, folder / epoch.name / name)
    for name in ("config.json", "history.csv"):
        shutil.copyfile(run_folder / name, folder / name)
    return folder


# %% [markdown]
# All of this notebook as one command:

# %%
#| export
def main() -> None:
    "The command `genlab_report`: the report of a profile, from what its runs have left on disk."
    parser = _parser()
    options, folder = parser.parse_args(), project_root() / "report"
    try:
        if options.publish:
            print(*(publish_run(run, folder / "results") for run in options.publish), sep="\n")
            return
        print(make_report(options.profile, options.scale, folder, options.engine))
    except (ValueError, RuntimeError, OSError) as problem:
        parser.exit(1, f"genlab_report: {problem}\n")


def make_report(profile: str, scale: float | str, folder: Path, engine: str | None = None) -> str:
    "Make `folder`/report.pdf; returns a line that says what is in it."
    source, make = "report.qmd", general_fragments
    if profile == "reports":  # has a text of its own
        from genlab.reports import reports_fragments as make  # here, since genlab.reports imports this module

        source = "reports.qmd"
    runs = collect_runs(plan(folder / "profiles" / f"{profile}.yaml", scale))
    write_fragments(profile, runs, folder / "_generated", make)
    used, done = build_pdf(folder / source, folder / "report.pdf", engine), runs.metrics.notna().sum()
    return f"{folder / 'report.pdf'} (by {used}): {done} of {len(runs)} evaluations of profile {profile}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=main.__doc__)
    about = "a file in report/profiles, without .yaml (default: quick)"
    parser.add_argument("profile", nargs="?", default="quick", help=about)
    about = "the share of epochs, images and samples that the runs had (default: 1)"
    parser.add_argument("--scale", default="1", help=about)
    about = "copy what a report needs of these runs' folders into report/results, and stop"
    parser.add_argument("--publish", nargs="+", type=Path, metavar="RUN", help=about)
    about = "default: LaTeX where it is installed, else Typst"
    parser.add_argument("--engine", choices=["latex", "typst"], help=about)
    return parser


# %% [markdown]
# To see it end to end, the report of the made-up run above, whose first epoch count is missing, typeset with Typst because everyone has it:

# %%
for file in ("report.qmd", "references.bib", "filter.lua", "preamble.typ", "preamble.tex"):
    shutil.copy(project_root() / "report" / file, place / file)
assert build_pdf(place / "report.qmd", place / "report.pdf", engine) == engine
assert (place / "report.pdf").read_bytes()[:5] == b"%PDF-"
text = (place / "_generated" / "build" / "report.md").read_text()
assert "{{<" not in text and "2.2(2) times the floor" in text
(place / "wrong.qmd").write_text("See @fig-nowhere.")
with pytest.raises(ValueError, match="fig-nowhere"):
    build_pdf(place / "wrong.qmd", place / "wrong.pdf", "typst")

# %% [markdown]
# The same report from a published copy, which has fewer samples and the same numbers:

# %%
before = distance_table(runs, "d")
copy = publish_run(jobs[1].run.folder, Path(home.name, "results"), keep=20)
os.environ["GENLAB_RUNS"] = str(Path(home.name, "results"))
again = collect_runs([Job(job.notebook, job.parameters, Run(job.run.config), job.planned) for job in jobs])
assert again.job[1].run.folder == copy and distance_table(again, "d") == before
assert len(again.job[1].run.samples(5)) == 20
with pytest.raises(ValueError, match="no epoch count of this run has been evaluated"):
    shutil.rmtree(jobs[1].folder)
    publish_run(jobs[1].run.folder, Path(home.name, "results"))

# %% [markdown]
# Of photographs that may not be passed on, only what a model made of them is published:

# %%
#| hide
os.environ["GENLAB_RUNS"] = home.name
for dataset, published in (("mirror:faces.tar", False), ("digits", True)):
    run = Run(jobs[0].run.config.model_copy(update={"dataset": dataset, "name": "private"}))
    epoch = run.epoch_folder(1)
    epoch.mkdir(parents=True)
    for file, content in (("config", run.config.model_dump_json()), ("epoch-0001/metrics", "{}")):
        (run.folder / f"{file}.json").write_text(content)
    (run.folder / "history.csv").touch()
    for name in ("samples", "pictures"):
        np.savez(epoch / f"{name}.npz", **{name: np.zeros((20, 3, 64, 64), np.uint8)})
    copy = next(publish_run(run.folder, Path(home.name, "results")).glob("epoch-*"))
    assert (copy / "pictures.npz").exists() == published
    assert len(np.load(copy / "samples.npz")["samples"]) == 16

# %%
#| hide
home.cleanup()
del os.environ["GENLAB_RUNS"]

# %% [markdown]
# ## What to remember
#
# - Numbers flow one way: from a run or a lab to a file, to a fragment, to the PDF. Typed is only what other people's reports printed.
# - A kind of model brings its section along; the report asks all of them.
# - What is missing is shown as missing.
#
# ## Exercises
#
# 1. Add a section to the report from a module of your own: the mean brightness of each run's samples, beside that of real images. Which profile key brings the module in?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. A section of one's own</summary>
#
# A module `brightness.py`, in a folder that is in PYTHONPATH:
#
#     from genlab.data import load_dataset
#     from genlab.plug import SECTIONS, Section
#     from genlab.tables import markdown_table, number
#
#     def brightness_section(runs, folder):
#         rows = []
#         for r in runs[runs.metrics.notna()].itertuples():
#             config = r.job.run.config
#             images = r.job.run.samples(r.epochs), load_dataset(config.dataset, "test", config.size).images
#             rows.append([r.label, r.epochs, *(number(x.float().mean().item(), 1) for x in images)])
#         table = markdown_table(rows, ["run", "epochs", "samples", "real"], "Mean grey value, 0 to 255.", "brightness")
#         return Section("# How bright? {#sec-brightness}\n\n" + table)
#
#     SECTIONS["brightness"] = brightness_section
#
# and a line `plugins: [brightness]` in the profile. `make report` imports the module before it plans, and asks it for its section after those of the models.
#
# </details>
