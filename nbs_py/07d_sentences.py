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
# # Sentences
#
# > Comparing with error bars, and saying in words what came out
#
# Sentences of the report that compare are chosen by the numbers, and by their error bars.

# %%
#| default_exp sentences

# %%
#| export
import contextlib
import math
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from genlab.data import load_dataset, show_grid
from genlab.measures import finds_copies
from genlab.plug import KINDS
from genlab.tables import NONE, device_marks, devices, escape, figure, markdown_table, number, save_figure, timed, uncertain, value_at, verbatim

# %%
#| hide
import argparse
import functools

import pytest

import genlab.sweep  # noqa: F401 (the kinds of models)


# %% [markdown]
# ## Comparing
#
# Two numbers differ almost always; the question is whether they would differ again. So a number that is compared comes with its standard deviation. For one trained network that is the deviation over other samples, which says nothing about other seeds. Where the same configuration was trained from several seeds, the number is the mean over them, and its deviation is the standard error of that mean; it is never taken to be less than what the samples alone make it.

# %%
#| export
class Estimate(NamedTuple):
    "A number, the standard deviation that comparisons count with (NaN: not known), and over how many seeds it is a mean."

    value: float
    sd: float = math.nan
    seeds: int = 1

    def __str__(self):
        return uncertain(self.value, self.sd) + (f", mean of {self.seeds} seeds" if self.seeds > 1 else "")

    @classmethod
    def pooled(cls, values: list[float], sds: list[float | None]) -> "Estimate":
        "From a number of each seed with its own deviation."
        n, spread = len(values), math.sqrt(np.mean(np.array(sds, float) ** 2))  # None becomes NaN
        if n > 1:
            spread = np.fmax(spread, np.std(values, ddof=1))
        return cls(float(np.mean(values)), float(spread) / math.sqrt(n), n)

    def over(self, other: "Estimate") -> "Estimate":
        "The ratio of two independent estimates; relative variances add up, to first order."
        ratio = self.value / other.value
        return Estimate(ratio, abs(ratio) * math.hypot(self.sd / self.value, other.sd / other.value), self.seeds)


# %% [markdown]
# What differs in nothing but the seed is one evaluation.

# %%
#| export
class Evaluation(NamedTuple):
    "A configuration after so many epochs: a row of `collect_runs` for each of its seeds."

    rows: list

    @property
    def name(self) -> str:
        "In Markdown, without the seed if there are several."
        return self.rows[0].setting if len(self.rows) > 1 else self.rows[0].label

    @property
    def model(self) -> str:
        return self.rows[0].model

    @property
    def epochs(self) -> int:
        return self.rows[0].epochs

    @property
    def after(self) -> str:
        return f"{self.epochs} epoch{'s' * (self.epochs > 1)}"

    def estimate(self, *path: str, value: str = "value", sd: str = "sd") -> Estimate | None:
        "A number of the metrics, such as `estimate('scores', 'fd_lenet')`; None if no seed has it."
        scores = [score for r in self.rows if value_at(score := value_at(r.metrics, *path), value) is not None]
        return Estimate.pooled([score[value] for score in scores], [score.get(sd) for score in scores]) if scores else None

    @property
    def distance(self) -> Estimate | None:
        return self.estimate("scores", "fd_lenet")

    @property
    def times_floor(self) -> Estimate | None:
        "The distance over that of as many real images; the floor's deviation is that of one draw of real images."
        floor = self.estimate("scores", "fd_lenet", value="floor", sd="floor_sd")
        return self.distance.over(floor._replace(sd=self.rows[0].metrics["scores"]["fd_lenet"].get("floor_sd") or math.nan)) if floor else None


# %% [markdown]
# All sentences that compare go through one function. Its first list has more than one name where two standard deviations of the difference cannot tell who is first.

# %%
#| export
def compare(known: dict[str, Estimate], largest: bool = False) -> tuple[list[str], list[str]]:
    "Names in order: those that two standard deviations cannot tell from the smallest (or largest) number, and the others."
    ranked = sorted(known, key=lambda name: known[name].value, reverse=largest)
    best = known[ranked[0]]
    differs = lambda e: abs(e.value - best.value) > 2 * math.hypot(e.sd, best.sd)  # False if a deviation is not known
    return [name for name in ranked if not differs(known[name])], [name for name in ranked if differs(known[name])]


def best_of(n: int) -> str:
    "What is to be said of the smallest of several distances: it was chosen for being small."
    return f" (the smallest of {n})" if n > 1 else ""


def listed(names: list[str]) -> str:
    "`a`, `a and b`, `a, b and c`."
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


# %% [markdown]
# And only distances of one kind are compared at all: to the same test images, in the same features, of the same number of samples.

# %%
#| export
def comparable(runs: pd.DataFrame, score: str = "fd_lenet") -> dict[tuple, list[Evaluation]]:
    "Evaluations that have this score, by what makes its values comparable: data set, reference, weights of the extractor, number of samples."
    groups: dict[tuple, dict[tuple, list]] = {}
    for r in runs[runs.metrics.notna()].itertuples():
        found = value_at(r.metrics, "scores", score) or {}
        if found.get("value") is not None:
            kind = (r.dataset, found.get("reference"), found.get("hash"), r.metrics["n_samples"])
            groups.setdefault(kind, {}).setdefault((r.setting, r.epochs), []).append(r)
    return {kind: [Evaluation(rows) for rows in seeds.values()] for kind, seeds in groups.items()}


# %% [markdown]
# Made-up results: differences within the noise and beyond, turned round, and seeds that differ by more than their samples.

# %%
def evaluation(*values, sd=1.0, setting="a"):
    rows = [{"setting": setting, "label": f"{setting}, seed {i}", "epochs": 5, "metrics": {"scores": {"fd_lenet": {"value": v, "sd": sd}}}} for i, v in enumerate(values)]
    return Evaluation(list(pd.DataFrame(rows).itertuples()))


distance = lambda *values, sd=1.0: evaluation(*values, sd=sd).distance
assert compare({"a": distance(20.0), "b": distance(22.0)}) == (["a", "b"], []), "2 is less than twice the root of 2"
assert compare({"a": distance(20.0), "b": distance(24.0)}) == (["a"], ["b"])
assert compare({"a": distance(24.0), "b": distance(20.0)}) == (["b"], ["a"])
assert compare({"a": distance(20.0), "b": distance(24.0)}, largest=True) == (["b"], ["a"])
seeds = {"a": distance(10.0, 20.0, 30.0), "b": distance(14.0, 24.0, 34.0)}
assert compare(seeds) == (["a", "b"], []) and str(seeds["a"]) == "20(6), mean of 3 seeds"
assert compare({"a": distance(10.0, 20.0, 30.0), "b": distance(44.0, 54.0, 64.0)}) == (["a"], ["b"])
assert distance(20.0, 20.0, 20.0, sd=3.0).sd == pytest.approx(3 / 3**0.5), "equal seeds by luck are no better than their samples"
assert compare({"a": distance(20.0, sd=None), "b": distance(90.0)}) == (["a", "b"], []), "who does not know the spread cannot tell"
times_floor = distance(30.0).over(Estimate(2.0, 0.1))
assert times_floor.value == 15 and times_floor.sd == pytest.approx(15 * ((1 / 30) ** 2 + 0.05**2) ** 0.5)
assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"

# %%
# The ratio's deviation, against 200,000 draws of both numbers:
draws = np.random.default_rng(0)
drawn = draws.normal(30, 1, 200_000) / draws.normal(2, 0.1, 200_000)
assert times_floor.sd == pytest.approx(drawn.std(), rel=0.02)


# %% [markdown]
# Report 002 says that a VAE after 5 epochs looks like a GAN after 50. The next fragment looks at all runs that can tell.

# %%
#| export
def claim_fragment(runs: pd.DataFrame) -> str:
    "Report 002's claim that a VAE after 5 epochs looks like a GAN after 50: those trained on the same images, at epoch counts that differ from these by a factor of two at most."
    rows, lines, marks, images = [], [], device_marks(runs), lambda e: str(e.rows[0].subset)  # a model of a thousand images is not compared with one of all
    fair = [(kind, list(group)) for kind, found in comparable(runs).items() for _, group in groupby(sorted(found, key=images), images)]
    for (dataset, *_, n), evaluations in fair:
        near = {}
        for model, wanted in (("vae", 5), ("gan", 50)):
            off = lambda e, wanted=wanted: abs(math.log2(e.epochs / wanted))
            settings = {e.rows[0].setting: e for e in sorted(evaluations, key=off, reverse=True) if e.model == model and off(e) <= 1}
            near[model] = sorted(settings.values(), key=lambda e: e.distance.value)
            rows += [[escape(dataset), KINDS[model].title, e.name, e.epochs, number(n, 0), str(e.distance), timed(number(np.mean([r.metrics["train_seconds"] for r in e.rows]), 1), e.rows, marks)]
                     for e in near[model]]  # fmt: skip
        if all(near.values()):
            lines.append(f"On {verbatim(dataset)} ($N$ = {n:,}), {_claim_sentence(near['vae'], near['gan'])}\n")
    if not lines:
        return "No VAE and GAN of this profile that were trained on the same images were looked at after about 5 and about 50 epochs."
    caption = f"Report 002's claim, in `fd_lenet`: VAEs after about 5 epochs and GANs after about 50. Times on {devices(runs)}."
    table = markdown_table(rows, ["data", "model", "run", "epochs", "$N$", "`fd_lenet`", "training (s)"], caption, "claim", "lllrrrr")
    return "\n".join([*lines, table])


def _claim_sentence(vaes: list[Evaluation], gans: list[Evaluation]) -> str:
    "Of the nearest of each; the lists are sorted."
    vae, gan = (f"the {f'best of {len(e)} {kind}s' if len(e) > 1 else kind} ({e[0].name}, {e[0].after}, {e[0].distance})" for kind, e in (("VAE", vaes), ("GAN", gans)))
    first, _ = compare({"vae": vaes[0].distance, "gan": gans[0].distance})
    if len(first) == 2:
        return f"{vae} cannot, by two standard deviations, be told from {gan}."
    return f"{vae} {'is nearer to the data than' if first == ['vae'] else 'is not as near to the data as'} {gan}."


# %% [markdown]
# Its sentence depends on the numbers. Made-up results, and others that turn it round:

# %%
def made_up(vae_fd, gan_fd):
    known = {"n_samples": 500, "train_seconds": 9.0, "losses": {"loss": 210.0}, "sources": {"mixture": {"value": 40.0, "sd": 3.0}}}
    known["likelihood"] = {"elbo": -207.6, "se": 0.8, "gap": 1.8, "kl": 8.43, "bits_per_dim": 8.16, "n": 500}
    results = [("vae", 5, vae_fd), ("vae", 20, 1.0), ("gan", 5, 2.0), ("gan", 50, gan_fd)]
    return pd.DataFrame([
        {"model": model, "dataset": "digits", "subset": None, "setting": model, "label": model, "epochs": e, "metrics": known | {"scores": {"fd_lenet": {"value": fd, "sd": 3.0, "floor": 13.4, "floor_sd": 7.1}}}}
        for model, e, fd in results
    ])  # fmt: skip


assert "On `digits` ($N$ = 500), the VAE (vae, 5 epochs, 30(3)) is nearer to the data than the GAN (gan, 50 epochs, 60(3))." in claim_fragment(made_up(30.0, 60.0))
assert "the VAE (vae, 5 epochs, 30(3)) is not as near to the data as the GAN (gan, 50 epochs, 20(3))." in claim_fragment(made_up(30.0, 20.0))
assert "cannot, by two standard deviations, be told from the GAN (gan, 50 epochs, 34(3))." in claim_fragment(made_up(30.0, 34.0))
more = pd.concat([made_up(30.0, 60.0), made_up(20.0, 60.0)[:1].assign(setting="other", label="other")])
assert "the best of 2 VAEs (other, 5 epochs, 20(3)) is nearer to the data than the GAN (gan" in claim_fragment(more)
assert claim_fragment(made_up(30.0, 24.0)[:3]).startswith("No VAE and GAN"), "no GAN after about 50 epochs"
few = made_up(30.0, 24.0)
few.loc[few.model == "gan", "subset"] = 1000.0
assert claim_fragment(few).startswith("No VAE and GAN"), "a GAN that saw fewer images"


# %% [markdown]
# ## At a glance, and what to make of it
#
# The first page shows the best evaluation of each model; the discussion compares them. Its sentences are chosen by the numbers. What two standard deviations cannot tell apart is said to be just that, and not to be equal.

# %%
#| export
def best_of_each(evaluations: list[Evaluation]) -> dict[str, tuple[Evaluation, int]]:
    "By model: of its comparable evaluations that with the smallest fd_lenet, and how many there are."
    own = {model: [e for e in evaluations if e.model == model] for model in KINDS}
    return {model: (min(es, key=lambda e: e.distance.value), len(es)) for model, es in own.items() if es}


def largest_groups(runs: pd.DataFrame) -> dict[tuple, list[Evaluation]]:
    "Of each data set, size and extractor, the comparable evaluations with the most common number of samples."
    largest: dict[tuple, tuple] = {}
    groups = comparable(runs)
    for kind, evaluations in groups.items():
        if kind[:-1] not in largest or len(evaluations) > len(groups[largest[kind[:-1]]]):
            largest[kind[:-1]] = kind
    return {kind: groups[kind] for kind in largest.values()}


# %% [markdown]
# The first page has a table and a figure for each data set and size:

# %%
#| export
def glance_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "The best evaluation of each model, by data set and size."
    parts = []
    for i, (kind, evaluations) in enumerate(largest_groups(runs).items()):
        best, name = best_of_each(evaluations), f"glance{f'-{i}' * (i > 0)}"
        rows, grids = [_glance_row(e, n, device_marks(runs)) for e, n in best.values()], {KINDS[model].title: e.rows[0].job.run.samples(e.epochs)[:32] for model, (e, _) in best.items()}
        config = evaluations[0].rows[0].job.run.config
        with contextlib.suppress(RuntimeError, OSError, ValueError):  # the section on data says what is wrong with the images
            grids["real"] = load_dataset(config.dataset, "test", config.size).images[:32]
        save_figure(show_grid(torch.cat(list(grids.values())), ncol=16, rows=list(grids)).figure, folder / name)
        parts += [_glance_table(rows, kind, runs, name), figure(folder, name, "Samples of these models, not selected, and real images.", name)]
    return "\n".join(parts) or NONE


def _glance_row(e: Evaluation, chosen_from: int, marks: dict[str, str]) -> list[str]:
    seconds = np.mean([1000 * r.metrics["sample_seconds"] / r.metrics["n_samples"] for r in e.rows])
    return [KINDS[e.model].title, e.name, e.epochs, chosen_from, *(uncertain(*x[:2]) if x else "—" for x in (e.distance, e.times_floor)),
            *(uncertain(*x[:2]) if (x := e.estimate("scores", metric)) else "—" for metric in ("precision", "recall")),
            timed(number(np.mean([r.metrics["train_seconds"] for r in e.rows]) / 60, 1), e.rows, marks), timed(number(seconds), e.rows, marks)]  # fmt: skip


# %% [markdown]
# Its caption says what was chosen, and what is left out.

# %%
#| export
def _glance_table(rows: list[list[str]], kind: tuple, runs: pd.DataFrame, label: str) -> str:
    dataset, reference, _, n = kind
    caption = f"The evaluation of each model with the smallest `fd_lenet` on {escape(reference or dataset)}, $N$ = {n:,}, on {devices(runs)}. *Of*: from so many evaluations it was chosen, and the smallest of several is smaller than it would be when measured again. "
    caption += "Standard deviations in units of the last digit: over samples, or the standard error over seeds where the run names none; that of the ratio by propagation, with the spread of one draw of real images for the floor."
    done = runs[runs.metrics.notna() & (runs.dataset == dataset)]
    if left_out := [KINDS[model].title for model in KINDS if (done.model == model).any() and KINDS[model].title not in [row[0] for row in rows]]:
        caption += f" The {' and the '.join(left_out)} drew another number of samples, or has no such distance, and is left out."
    header = ["model", "run", "epochs", "of", "`fd_lenet`", "times floor", "precision", "recall", "training (min)", "1,000 samples (s)"]
    return markdown_table(rows, header, caption, label, "llrrrrrrrr")


# %% [markdown]
# And the discussion:

# %%
#| export
def discussion_fragment(runs: pd.DataFrame) -> str:
    "Sentences that compare the models, for each data set and size; the numbers decide what they say."
    groups, parts = largest_groups(runs), []
    for (dataset, reference, _, n), evaluations in groups.items():
        where = f"On {escape(reference or dataset)}, with $N$ = {n:,}"
        best = best_of_each(evaluations)
        names = [f"the {KINDS[model].title} by *{e.name}* after {e.after}{best_of(count)}" for model, (e, count) in best.items()]
        parts.append(f"{where}, each model stands for itself with the evaluation that has the smallest distance: {listed(names)}.")
        parts += [_distance_sentence(a, b) for a, b in pairwise(sorted((e for e, _ in best.values()), key=lambda e: e.distance.value))]
        parts += [_training_sentence(evaluations, e) for e, _ in best.values()]
        parts += _cost_sentences(evaluations, best) + _measure_sentences(best)
        for e, _ in best.values():
            parts += _copies_sentence(e.rows[0])
    return "\n\n".join(parts) + "\n" if parts else NONE


# %% [markdown]
# Of copies it speaks only where far more samples than chance would give are near to a training image, and to a single one. Nothing is said where that is not known.

# %%
#| export
def _copies_sentence(r) -> list[str]:
    "Whether an evaluation's samples are nearer to the training images than test images are, and whether some are copies."
    farther, copies = (value_at(r.metrics, "scores", metric) or {} for metric in ("memorisation", "copies"))
    if copies.get("value") is None or farther.get("value") is None:
        return []
    shares = f"a share of {uncertain(copies['value'], copies['sd'])} of its samples is nearer to a training image than 99 % of the test images are; by the ratio of the distances to the two nearest it is {uncertain(copies['single'], copies['single_sd'])}; chance gives 0.01"
    if finds_copies(copies):
        return [f"The {KINDS[r.model].title} copies: {shares}."]
    if farther["value"] + 2 * farther["sd"] < 0.5:
        of_half = f"({uncertain(farther['value'], farther['sd'])} instead of a half)"
        return [f"The {KINDS[r.model].title} is nearer to its training images than test images are {of_half}: merely typical images, or copies too few to be told ({shares})."]
    return []


# %%
far, near = {"value": 0.49, "sd": 0.02}, {"value": 0.28, "sd": 0.01}
few, many = ({"value": v, "sd": 0.01, "single": v, "single_sd": 0.01} for v in (0.02, 0.06))
said = lambda **scores: "".join(_copies_sentence(argparse.Namespace(model="gan", metrics={"scores": scores})))
assert said(memorisation=near) == said(memorisation=far, copies=few) == said(copies={"value": None, "why": "few test images"}) == ""
assert said(memorisation=far, copies=many).startswith("The GAN copies: a share of 0.06(1) of its samples is nearer")
assert "(0.28(1) instead of a half): merely typical images, or copies too few to be told" in said(memorisation=near, copies=few)
assert "copies" not in said(memorisation=near, copies=many | {"single": 0.02}).partition(":")[0]


# %% [markdown]
# Two of its sentences, of which one compares two models and one the epoch counts of a run:

# %%
#| export
def _distance_sentence(near: Evaluation, far: Evaluation) -> str:
    "Which of two evaluations is nearer to the data."
    names = [f"the {KINDS[e.model].title} ({e.distance})" for e in (near, far)]
    first, _ = compare({"near": near.distance, "far": far.distance})
    if len(first) == 2:
        return f"By two standard deviations of their distances, {names[0]} and {names[1]} cannot be told apart."
    factor, single = far.distance.over(near.distance), len(near.rows) == len(far.rows) == 1
    return f"T{names[0][1:]} comes nearer to the test images than {names[1]}: by a factor of {uncertain(factor.value, factor.sd)}{' (one run each)' * single}."


def _training_sentence(evaluations: list[Evaluation], best: Evaluation) -> str:
    "What more epochs did to the run of an evaluation."
    own = sorted((e for e in evaluations if e.rows[0].setting == best.rows[0].setting), key=lambda e: e.epochs)
    first, last, kind = own[0], own[-1], KINDS[best.model].title
    if len(own) == 1:
        return f"The {kind} was looked at after {last.after} only."
    cannot_tell = lambda a, b: not compare({"a": a.distance, "b": b.distance})[1]
    course = f"From {first.epochs} to {last.epochs} epochs, the distance of the {kind} goes from {first.distance} to {last.distance}"
    if cannot_tell(first, last):
        course = f"The distances of the {kind} after {first.epochs} and after {last.epochs} epochs, {first.distance} and {last.distance}, cannot be told apart"
    smallest = f"the smallest, at {best.epochs} ({best.distance}), "
    if best is last:
        return f"{course}; {'from its last but one it cannot be told apart' if cannot_tell(own[-2], last) else 'it has not been seen to stop falling'}."
    no_help = f"was not reached again: {'in this run ' * (len(best.rows) == 1)}more training did not help"
    return f"{course}; {smallest}{'cannot be told from the last' if cannot_tell(best, last) else no_help}."


# %% [markdown]
# Of a cost there is one measurement for each look at a run. How much these differ is its deviation; with fewer than two to compare there is none.

# %%
#| export
def _ranking(known: dict[str, Estimate], what: str, largest: bool = False) -> str:
    "Which model has the smallest (or largest) of something."
    shown = lambda models: listed([f"the {KINDS[model].title} ({known[model]})" for model in models])
    if any(math.isnan(e.sd) for e in known.values()):
        plain_numbers = [f"the {KINDS[model].title} ({number(e.value)})" for model, e in known.items()]
        return f"{what.rstrip(',')}: {listed(plain_numbers)}. Not all of these have a known spread, so they are not compared."
    first, others = compare(known, largest)
    if not others:
        return f"{what.rstrip(',')}: by two standard deviations, {shown(first)} cannot be told apart."
    as_good = f" By two standard deviations, {shown(first[1:])} cannot be told from the first." if first[1:] else ""
    return f"{what} is {'largest' if largest else 'smallest'} for {shown(first[:1])}; then {'comes' if len(others) == 1 else 'come'} {shown(others)}.{as_good}"


def _cost_sentences(evaluations: list[Evaluation], best: dict[str, tuple[Evaluation, int]]) -> list[str]:
    "Training and sampling times, if they were taken on one device."
    if len(best) < 2:
        return []
    if len({value_at(r.metrics, "device") for e, _ in best.values() for r in e.rows}) > 1:
        return ["Times were taken on different devices and are not compared."]
    training, drawing = {}, {}
    for model, (e, _) in best.items():
        looks = [[r for other in evaluations for r in other.rows if r.label == row.label] for row in e.rows]
        training[model], drawing[model] = _training_minutes(e, looks), _drawing_seconds(looks)
    return [_ranking(training, "Training up to there, in minutes,"), _ranking(drawing, "The time to draw 1,000 images, in seconds,")]


# %% [markdown]
# Training time is compared for an evaluation, drawing time for a network.

# %%
#| export
def _training_minutes(e: Evaluation, looks: list[list]) -> Estimate:
    "Of each seed's run; its deviation: that of the time of an epoch between looks, relative to its mean."
    relative = []
    for rows in looks:
        course = pd.DataFrame([(0, 0.0), *((r.epochs, r.metrics["train_seconds"]) for r in rows)]).sort_values(0).diff().dropna()
        pace = course[1] / course[0]
        relative.append(pace.std() / pace.mean())
    minutes = [r.metrics["train_seconds"] / 60 for r in e.rows]
    return Estimate.pooled(minutes, [m * share for m, share in zip(minutes, relative, strict=True)])


def _drawing_seconds(looks: list[list]) -> Estimate:
    "For 1,000 images, mean over the looks at each seed's run, and how much a look differs from that."
    seconds = [pd.Series([1000 * r.metrics["sample_seconds"] / r.metrics["n_samples"] for r in rows]) for rows in looks]
    return Estimate.pooled([s.mean() for s in seconds], [s.std() for s in seconds])


def _measure_sentences(best: dict[str, tuple[Evaluation, int]]) -> list[str]:
    "Precision, recall and the histogram of classes."
    parts = []
    for metric, what, largest in [
        ("precision", "The share of images that lie where real ones lie (precision)", True),
        ("recall", "The share of real images that lie where generated ones lie (recall)", True),
        ("class_kl", "The divergence of the classes from those of the test set (KL)", False),
    ]:
        known = {model: found for model, (e, _) in best.items() if (found := e.estimate("scores", metric))}
        if len(known) > 1:
            parts.append(_ranking(known, what, largest))
    return parts


# %% [markdown]
# Made-up sets of results, and others that turn them round:

# %%
def results_of(sd=1.0, **distances):
    rows = []
    for model, by_seed in distances.items():
        for seed, values in enumerate(by_seed):
            for epochs, fd in zip((1, 5, 20), values, strict=True):
                metrics = {"n_samples": 500, "train_seconds": epochs * (60.0 if model == "gan" else 30.0) + seed, "sample_seconds": fd / 100}
                metrics["scores"] = {"fd_lenet": {"value": fd, "sd": sd, "floor": 5.0, "floor_sd": 0.5}, "recall": {"value": 1 / fd, "sd": 0.001, "floor": 0.98}}
                rows.append({"model": model, "dataset": "digits", "setting": f"our-{model}", "label": f"our-{model}, seed {seed}", "epochs": epochs, "metrics": metrics})
    return pd.DataFrame(rows)


one = discussion_fragment(results_of(gan=[(90.0, 50.0, 20.0)], vae=[(80.0, 60.0, 70.0)]))
other = discussion_fragment(results_of(gan=[(90.0, 62.0, 70.0)], vae=[(80.0, 40.0, 12.0)]))
same = discussion_fragment(results_of(gan=[(90.0, 21.5, 21.0)], vae=[(80.5, 81.0, 20.0)]))
print(one, other, same, sep="\n")
assert "the GAN by *our-gan, seed 0* after 20 epochs (the smallest of 3) and the VAE by *our-vae, seed 0* after 5 epochs (the smallest of 3)." in one
assert "The GAN (20(1)) comes nearer to the test images than the VAE (60(1)): by a factor of 3.0(2) (one run each)." in one
assert "The VAE (12(1)) comes nearer to the test images than the GAN (62(1)): by a factor of 5.2(4) (one run each)." in other
assert "the VAE (20(1)) and the GAN (21(1)) cannot be told apart." in same
assert "the distance of the GAN goes from 90(1) to 20(1); it has not been seen to stop falling" in one
assert "at 5 (62(1)), was not reached again: in this run more training did not help" in other and "from its last but one it cannot be told apart" in same
assert "(recall) is largest for the GAN (0.050(1)); then comes the VAE" in one and "(recall) is largest for the VAE (0.083(1)); then comes the GAN" in other
assert "in minutes, is smallest for the VAE (2.50); then comes the GAN (20.00)" in one and "in minutes, is smallest for the GAN (5.00)" in other
nearly = _ranking({"gan": Estimate(1.0, 0.1), "vae": Estimate(1.1, 0.1)}, "Time, in seconds,")
assert nearly == "Time, in seconds: by two standard deviations, the GAN (1.0(1)) and the VAE (1.1(1)) cannot be told apart."
unsure = _ranking({"gan": Estimate(1.0, 0.1), "vae": Estimate(3.0, 0.1), "ddpm": Estimate(9.0, 5.0)}, "Time, in seconds,")
assert unsure.endswith("for the GAN (1.0(1)); then comes the VAE (3.0(1)). By two standard deviations, the diffusion model (9(5)) cannot be told from the first.")

# %%
# Three seeds each. With other seeds the GAN might be better, or worse; the samples alone would promise a difference of five deviations:
gans, vaes = [(90.0, 50.0, fd) for fd in (10.0, 20.0, 30.0)], [(90.0, 50.0, fd) for fd in (17.0, 27.0, 37.0)]
assert "the GAN (20(6), mean of 3 seeds) and the VAE (27(6), mean of 3 seeds) cannot be told apart" in discussion_fragment(results_of(gan=gans, vae=vaes))
rising = discussion_fragment(results_of(gan=[(90.0, 50.0, fd) for fd in (70.0, 72.0, 74.0)], vae=vaes))
assert "was not reached again: more training did not help" in rising and rising.count("one run") == 0
assert "The GAN (20(1)) comes nearer to the test images than the VAE (27(1))" in discussion_fragment(results_of(gan=gans[1:2], vae=vaes[1:2]))
assert "cannot be told apart" not in discussion_fragment(results_of(gan=gans, vae=[(90.0, 70.0, fd) for fd in (60.0, 70.0, 80.0)])).split("\n\n")[1]

# %%
# What is not comparable is not compared: another data set, size, extractor or number of samples.
for path, value in [(("dataset",), "mnist"), (("metrics", "scores", "fd_lenet", "reference"), "digits, 8x8"), (("metrics", "scores", "fd_lenet", "hash"), "b"), (("metrics", "n_samples"), 60)]:
    apart = results_of(gan=[(90.0, 50.0, 20.0)], vae=[(80.0, 60.0, 70.0)]).to_dict("records")
    for row in (r for r in apart if r["model"] == "vae"):
        functools.reduce(dict.get, path[:-1], row)[path[-1]] = value
    apart = pd.DataFrame(apart)
    assert "nearer" not in discussion_fragment(apart) and "GAN" in discussion_fragment(apart)
    assert ("VAE" in discussion_fragment(apart)) == (value != 60), "the most common number of samples of each data set, size and extractor"
