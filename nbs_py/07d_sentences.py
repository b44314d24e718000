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
# > Comparing numbers that have an uncertainty, and saying in words what came out
#
# Two numbers differ almost always; the question is whether they would differ again. The sentences of the report that compare are chosen by the numbers and their standard deviations, and all of them go through one function. What two standard deviations cannot tell apart is said to be just that, and not to be equal.

# %%
#| default_exp sentences

# %% tags=["parameters"]
n_draws = 200_000  # of both numbers, to check the deviation of their ratio

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import contextlib
import math
from collections.abc import Iterable
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from genlab.data import load_dataset, show_grid
from genlab.fid import in_features_of
from genlab.measures import finds_copies
from genlab.plug import KINDS, kinds_in_order
from genlab.tables import (
    NONE,
    device_marks,
    devices,
    distance_heading,
    distance_name,
    distance_score,
    escape,
    figure,
    markdown_table,
    measure_score,
    number,
    plural,
    save_figure,
    timed,
    uncertain,
    value_at,
    verbatim,
)

# %%
#| hide
import argparse
import functools

import matplotlib.pyplot as plt
import pytest

import genlab.sweep  # noqa: F401 (the kinds of models)
from genlab.plug import import_plugins

import_plugins()


# %% [markdown]
# ## Comparing
#
# A number that is compared comes with its standard deviation. For one trained network that is the deviation over other samples, which says nothing about other seeds. Where the same configuration was trained from several seeds, the number is the mean over them, and its deviation is the standard error of that mean; it is never taken to be less than what the samples alone make it.

# %%
#| export
class Estimate(NamedTuple):
    "A number, its standard deviation (NaN: not known), and over how many seeds it is a mean."

    value: float
    sd: float = math.nan
    seeds: int = 1

    def __str__(self):
        mean = f", mean of {self.seeds} seeds" if self.seeds > 1 else ""
        return uncertain(self.value, self.sd) + mean

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
        sd = abs(ratio) * math.hypot(self.sd / self.value, other.sd / other.value)
        return Estimate(ratio, sd, self.seeds)


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
    def title(self) -> str:
        "What people call its kind of model."
        return KINDS[self.model].title

    @property
    def epochs(self) -> int:
        return self.rows[0].epochs

    @property
    def after(self) -> str:
        return plural(self.epochs, "epoch")

    @property
    def minutes(self) -> float:
        "Training time, mean over seeds."
        return float(np.mean([r.metrics["train_seconds"] / 60 for r in self.rows]))

    def estimate(self, *path: str, value: str = "value", sd: str = "sd") -> Estimate | None:
        "A number of the metrics, such as `estimate('scores', 'fd_lenet')`; None if no seed has it."
        scores = [value_at(r.metrics, *path) for r in self.rows]
        scores = [score for score in scores if value_at(score, value) is not None]
        if not scores:
            return None
        return Estimate.pooled([score[value] for score in scores], [score.get(sd) for score in scores])

    @property
    def metric(self) -> str:
        "The distance that it is compared by, such as fd_lenet."
        return distance_name(self.rows[0].metrics)

    @property
    def distance(self) -> Estimate | None:
        return self.estimate("scores", self.metric)

    def measured(self, measure: str) -> Estimate | None:
        "One of LeNet's measures, such as recall, in the features of the distance."
        return self.estimate("scores", in_features_of(self.metric, measure))

    @property
    def floor(self) -> Estimate | None:
        "The distance of as many real images, with the deviation of one draw of them."
        floor = self.estimate("scores", self.metric, value="floor", sd="floor_sd")
        one_draw = distance_score(self.rows[0].metrics).get("floor_sd") or math.nan
        return floor._replace(sd=one_draw) if floor else None

    @property
    def times_floor(self) -> Estimate | None:
        return self.distance.over(self.floor) if self.floor else None


# %% [markdown]
# The function through which all sentences go. Its first list has more than one name where two standard deviations of the difference cannot tell who is first.

# %%
#| export
def compare(known: dict[str, Estimate], largest: bool = False) -> tuple[list[str], list[str]]:
    "Names in order: those that cannot be told from the smallest (or largest) number, and the others."
    ranked = sorted(known, key=lambda name: known[name].value, reverse=largest)
    best = known[ranked[0]]
    others = [name for name in ranked if _differ(known[name], best)]
    return [name for name in ranked if name not in others], others


def _differ(a: Estimate, b: Estimate) -> bool:
    "Whether two standard deviations of the difference tell them apart; False if one is not known."
    return abs(a.value - b.value) > 2 * math.hypot(a.sd, b.sd)


# %% [markdown]
# Made-up results: differences within the noise and beyond, turned round, and seeds that differ by more than their samples.

# %%
def evaluation(*values, sd=1.0, setting="a"):
    rows = [
        {"setting": setting, "label": f"{setting}, seed {seed}", "epochs": 5, "metrics": {"scores": scores}}
        for seed, value in enumerate(values)
        for scores in [{"fd_lenet": {"value": value, "sd": sd}}]
    ]
    return Evaluation(list(pd.DataFrame(rows).itertuples()))


distance = lambda *values, sd=1.0: evaluation(*values, sd=sd).distance
assert compare({"a": distance(20.0), "b": distance(22.0)}) == (["a", "b"], []), "2 < 2 sqrt(2)"
assert compare({"a": distance(20.0), "b": distance(24.0)}) == (["a"], ["b"])
assert compare({"a": distance(24.0), "b": distance(20.0)}) == (["b"], ["a"])
assert compare({"a": distance(20.0), "b": distance(24.0)}, largest=True) == (["b"], ["a"])
unknown = {"a": distance(20.0, sd=None), "b": distance(90.0)}
assert compare(unknown) == (["a", "b"], []), "who does not know the spread cannot tell"
seeds = {"a": distance(10.0, 20.0, 30.0), "b": distance(14.0, 24.0, 34.0)}
assert compare(seeds) == (["a", "b"], []) and str(seeds["a"]) == "20(6), mean of 3 seeds"
assert compare({"a": distance(10.0, 20.0, 30.0), "b": distance(44.0, 54.0, 64.0)}) == (["a"], ["b"])
lucky = distance(20.0, 20.0, 20.0, sd=3.0)
assert lucky.sd == pytest.approx(3 / 3**0.5), "equal seeds by luck are no better than their samples"

# %% [markdown]
# What it does, drawn: the smallest number and those that cannot be told from it are blue. A bar is two standard deviations to either side; bars that overlap a little can still be told apart, since the deviation of a difference is less than the sum of both.

# %%
shown = {"a": distance(20.0), "b": distance(22.0), "c": distance(22.9), "d": distance(26.0, sd=3.5)}
shown["e, three seeds"] = distance(21.0, 24.0, 27.0)
first, _ = compare(shown)
fig, ax = plt.subplots(figsize=(5, 2), layout="constrained")
for name, estimate in shown.items():
    color = "C0" if name in first else "C1"
    ax.errorbar(estimate.value, name, xerr=2 * estimate.sd, fmt="o", capsize=3, color=color)
ax.set(xlabel="fd_lenet (made up)", title=f"cannot be told from the smallest: {', '.join(first)}")
ax.invert_yaxis();

# %% [markdown]
# The ratio's deviation, against many draws of both numbers:

# %%
ratio = distance(30.0).over(Estimate(2.0, 0.1))
draws = np.random.default_rng(0)
drawn = draws.normal(30, 1, n_draws) / draws.normal(2, 0.1, n_draws)
assert ratio.value == 15 and ratio.sd == pytest.approx(drawn.std(), rel=0.02)


# %% [markdown]
# Only distances of one kind are compared at all: to the same test images, in the same features, of the same number of samples.

# %%
#| export
def comparable(runs: pd.DataFrame) -> dict[tuple, list[Evaluation]]:
    "Evaluations with a distance, by data set, reference, weights of the extractor, and number of samples."
    groups: dict[tuple, dict[tuple, list]] = {}
    for r in runs[runs.metrics.notna()].itertuples():
        if found := distance_score(r.metrics):
            kind = (r.dataset, found.get("reference"), found.get("hash"), r.metrics["n_samples"])
            groups.setdefault(kind, {}).setdefault((r.setting, r.epochs), []).append(r)
    return {kind: [Evaluation(rows) for rows in seeds.values()] for kind, seeds in groups.items()}


def largest_groups(runs: pd.DataFrame) -> dict[tuple, list[Evaluation]]:
    "Of each data set, size and extractor, the comparable evaluations with the most common number of samples."
    largest: dict[tuple, tuple] = {}
    groups = comparable(runs)
    for kind, evaluations in groups.items():
        if kind[:-1] not in largest or len(evaluations) > len(groups[largest[kind[:-1]]]):
            largest[kind[:-1]] = kind
    return {kind: groups[kind] for kind in largest.values()}


# %% [markdown]
# Each model stands for itself with its best evaluation. The smallest of several distances was chosen for being small, and that has to be said.

# %%
#| export
def best_of_each(evaluations: list[Evaluation]) -> dict[str, tuple[Evaluation, int]]:
    "By model: of its comparable evaluations that with the smallest distance, and how many there are."
    own = {model: [e for e in evaluations if e.model == model] for model in kinds_in_order()}
    return {model: (min(es, key=lambda e: e.distance.value), len(es)) for model, es in own.items() if es}


def best_of(n: int) -> str:
    "What is to be said of the smallest of several distances."
    return f" (the smallest of {n})" if n > 1 else ""


def listed(names: Iterable[str]) -> str:
    "`a`, `a and b`, `a, b and c`."
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


# %%
assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"


# %% [markdown]
# ## At a glance
#
# The first page has a table and a figure for each data set and size, with the best evaluation of each model.

# %%
#| export
def _glance_header(metric: str) -> list[str]:
    measured = [f"`{metric}`", "times floor", "precision", "recall"]
    return ["model", "run", "epochs", "of", *measured, "training (min)", "1,000 samples (s)"]


def glance_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "The best evaluation of each model, by data set and size."
    parts, marks = [], device_marks(runs)
    for i, (kind, evaluations) in enumerate(largest_groups(runs).items()):
        best, name = best_of_each(evaluations), f"glance-{i}" if i else "glance"
        rows = [_glance_row(e, n, marks) for e, n in best.values()]
        metric = evaluations[0].metric
        caption = _glance_caption(kind, metric, runs) + _left_out(kind[0], best, runs)
        parts.append(markdown_table(rows, _glance_header(metric), caption, name, "ll"))
        save_figure(_glance_figure([e for e, _ in best.values()]), folder / name)
        about = "Samples of these models, not selected, and real images."
        parts.append(figure(folder, name, about, name, "85%"))
    return "\n".join(parts) or NONE


def _glance_row(e: Evaluation, chosen_from: int, marks: dict[str, str]) -> list:
    seconds = np.mean([1000 * r.metrics["sample_seconds"] / r.metrics["n_samples"] for r in e.rows])
    scores = [e.distance, e.times_floor, e.measured("precision"), e.measured("recall")]
    return [
        e.title,
        e.name,
        e.epochs,
        chosen_from,
        *(uncertain(score.value, score.sd) if score else "—" for score in scores),
        timed(number(e.minutes, 1), e.rows, marks),
        timed(number(seconds), e.rows, marks),
    ]


def _glance_figure(best: list[Evaluation]):
    grids = {e.title: e.rows[0].job.run.samples(e.epochs) for e in best}
    config = best[0].rows[0].job.run.config
    with contextlib.suppress(RuntimeError, OSError, ValueError):  # the section on data says what is wrong
        grids["real"] = load_dataset(config.dataset, "test", config.size).images
    n = 32 if min(map(len, grids.values())) >= 32 else 16
    return show_grid(torch.cat([some[:n] for some in grids.values()]), ncol=16, rows=list(grids)).figure


# %% [markdown]
# Its caption says what was chosen, and what is left out.

# %%
#| export
def _glance_caption(kind: tuple, metric: str, runs: pd.DataFrame) -> str:
    dataset, reference, _, n = kind
    return (
        f"The evaluation of each model with the smallest `{metric}` on {escape(reference or dataset)}, "
        f"$N$ = {n:,}, on {devices(runs)}. *Of*: from so many evaluations it was chosen, and the smallest of "
        "several is smaller than it would be when measured again. Standard deviations in units of the last "
        "digit: over samples, or the standard error over seeds where the run names none; that of the ratio "
        "by propagation, with the spread of one draw of real images for the floor."
    )


def _left_out(dataset: str, best: dict, runs: pd.DataFrame) -> str:
    "Kinds of models that were trained on this data set and are not in the table."
    trained = {*runs.model[runs.metrics.notna() & (runs.dataset == dataset)]}
    names = [kind.title for model, kind in kinds_in_order().items() if model in trained and model not in best]
    if not names:
        return ""
    why = "drew another number of samples, or has no such distance, and is left out"
    return f" The {' and the '.join(names)} {why}."


# %% [markdown]
# ## What to make of it
#
# The discussion compares the models, for each data set and size.

# %%
#| export
def discussion_fragment(runs: pd.DataFrame) -> str:
    "Sentences that compare the models; the numbers decide what they say."
    parts = []
    for (dataset, reference, _, n), evaluations in largest_groups(runs).items():
        best = best_of_each(evaluations)
        names = [f"the {e.title} by *{e.name}* after {e.after}{best_of(count)}" for e, count in best.values()]
        parts.append(
            f"On {escape(reference or dataset)}, with $N$ = {n:,}, each model stands for itself with the "
            f"evaluation that has the smallest distance: {listed(names)}."
        )
        ranked = sorted((e for e, _ in best.values()), key=lambda e: e.distance.value)
        parts += [_distance_sentence(near, far) for near, far in pairwise(ranked)]
        parts += [_training_sentence(evaluations, e) for e, _ in best.values()]
        parts += _cost_sentences(evaluations, best) + _measure_sentences(best)
        for e, _ in best.values():
            parts += _copies_sentence(e.rows[0])
    return "\n\n".join(parts) + "\n" if parts else NONE


# %% [markdown]
# Two models:

# %%
#| export
def _distance_sentence(near: Evaluation, far: Evaluation) -> str:
    "Which of two evaluations is nearer to the data."
    names = [f"the {e.title} ({e.distance})" for e in (near, far)]
    if not _differ(near.distance, far.distance):
        both = f"{names[0]} and {names[1]}"
        return f"By two standard deviations of their distances, {both} cannot be told apart."
    factor, one_run = far.distance.over(near.distance), len(near.rows) == len(far.rows) == 1
    return (
        f"The{names[0][3:]} comes nearer to the test images than {names[1]}: by a factor of "
        f"{uncertain(factor.value, factor.sd)}{' (one run each)' if one_run else ''}."
    )


# %% [markdown]
# The epoch counts of one run:

# %%
#| export
def _training_sentence(evaluations: list[Evaluation], best: Evaluation) -> str:
    "What more epochs did to the run of an evaluation."
    own = [e for e in evaluations if e.rows[0].setting == best.rows[0].setting]
    own.sort(key=lambda e: e.epochs)
    first, last = own[0], own[-1]
    if len(own) == 1:
        return f"The {best.title} was looked at after {last.after} only."
    if _differ(first.distance, last.distance):
        course = f"From {first.epochs} to {last.epochs} epochs, the distance of the {best.title} goes "
        course += f"from {first.distance} to {last.distance}"
    else:
        course = f"The distances of the {best.title} after {first.epochs} and after {last.epochs} epochs, "
        course += f"{first.distance} and {last.distance}, cannot be told apart"
    return f"{course}; {_end_of_training(own, best)}."


def _end_of_training(own: list[Evaluation], best: Evaluation) -> str:
    "Whether the last epoch count is the best one, or one before it."
    if best is own[-1]:
        if _differ(own[-2].distance, best.distance):
            return "it has not been seen to stop falling"
        return "from its last but one it cannot be told apart"
    smallest = f"the smallest, at {best.epochs} ({best.distance}),"
    if not _differ(best.distance, own[-1].distance):
        return f"{smallest} cannot be told from the last"
    where = "in this run more" if len(best.rows) == 1 else "more"
    return f"{smallest} was not reached again: {where} training did not help"


# %% [markdown]
# All models, in the order of a number:

# %%
#| export
def _ranking(known: dict[str, Estimate], what: str, largest: bool = False) -> str:
    "Which model has the smallest (or largest) of something; `what` may end with a comma."
    shown = {model: f"the {KINDS[model].title} ({known[model]})" for model in known}
    if any(math.isnan(e.sd) for e in known.values()):
        plain_numbers = [f"the {KINDS[model].title} ({number(e.value)})" for model, e in known.items()]
        return (
            f"{what.rstrip(',')}: {listed(plain_numbers)}. "
            "Not all of these have a known spread, so they are not compared."
        )
    first, others = compare(known, largest)
    if not others:
        names = listed([shown[model] for model in first])
        return f"{what.rstrip(',')}: by two standard deviations, {names} cannot be told apart."
    text = f"{what} is {'largest' if largest else 'smallest'} for {shown[first[0]]}; "
    text += f"then {'comes' if len(others) == 1 else 'come'} {listed([shown[model] for model in others])}."
    if first[1:]:
        names = listed([shown[model] for model in first[1:]])
        text += f" By two standard deviations, {names} cannot be told from the first."
    return text


# %% [markdown]
# Of a cost there is one measurement for each look at a run. How much these differ is its deviation; with fewer than two to compare there is none.

# %%
#| export
def _cost_sentences(evaluations: list[Evaluation], best: dict[str, tuple[Evaluation, int]]) -> list[str]:
    "Training and sampling times, if they were taken on one device."
    if len(best) < 2:
        return []
    if len({value_at(r.metrics, "device") for e, _ in best.values() for r in e.rows}) > 1:
        return ["Times were taken on different devices and are not compared."]
    training, drawing = {}, {}
    rows = [r for e in evaluations for r in e.rows]
    for model, (e, _) in best.items():
        looks = [[r for r in rows if r.label == row.label] for row in e.rows]
        training[model], drawing[model] = _training_minutes(e, looks), _drawing_seconds(looks)
    return [
        _ranking(training, "Training up to there, in minutes,"),
        _ranking(drawing, "The time to draw 1,000 images, in seconds,"),
    ]


# %% [markdown]
# Training time is compared for an evaluation, drawing time for a network.

# %%
#| export
def _training_minutes(e: Evaluation, looks: list[list]) -> Estimate:
    "Of each seed's run; its deviation: that of the time of an epoch between looks, relative to its mean."
    relative = []
    for rows in looks:
        course = pd.DataFrame([(0, 0.0), *((r.epochs, r.metrics["train_seconds"]) for r in rows)])
        course = course.sort_values(0).diff().dropna()
        pace = course[1] / course[0]
        relative.append(pace.std() / pace.mean())
    minutes = [r.metrics["train_seconds"] / 60 for r in e.rows]
    return Estimate.pooled(minutes, [m * share for m, share in zip(minutes, relative, strict=True)])


def _drawing_seconds(looks: list[list]) -> Estimate:
    "For 1,000 images, mean over the looks at each seed's run, and how much a look differs from that."
    means, spreads = [], []
    for rows in looks:
        seconds = pd.Series([1000 * r.metrics["sample_seconds"] / r.metrics["n_samples"] for r in rows])
        means.append(seconds.mean())
        spreads.append(seconds.std())
    return Estimate.pooled(means, spreads)


def _measure_sentences(best: dict[str, tuple[Evaluation, int]]) -> list[str]:
    "Precision, recall and the histogram of classes."
    parts = []
    for metric, what, largest in [
        ("precision", "The share of images that lie where real ones lie (precision)", True),
        ("recall", "The share of real images that lie where generated ones lie (recall)", True),
        ("class_kl", "The divergence of the classes from those of the test set (KL)", False),
    ]:
        known = {model: e.measured(metric) for model, (e, _) in best.items()}
        known = {model: found for model, found in known.items() if found}
        if len(known) > 1:
            parts.append(_ranking(known, what, largest))
    return parts


# %% [markdown]
# Of copies it speaks only where far more samples than chance would give are near to a training image, and to a single one. Nothing is said where that is not known.

# %%
#| export
def _copies_sentence(r) -> list[str]:
    "Whether samples are nearer to the training images than test images are, and whether some are copies."
    farther, copies = (measure_score(r.metrics, measure) for measure in ("memorisation", "copies"))
    if copies.get("value") is None or farther.get("value") is None:
        return []
    model = f"The {KINDS[r.model].title}"
    shares = (
        f"a share of {uncertain(copies['value'], copies['sd'])} of its samples is nearer to a training image "
        "than 99 % of the test images are; by the ratio of the distances to the two nearest it is "
        f"{uncertain(copies['single'], copies['single_sd'])}; chance gives 0.01"
    )
    if finds_copies(copies):
        return [f"{model} copies: {shares}."]
    if farther["value"] + 2 * farther["sd"] < 0.5:
        of_half = f"({uncertain(farther['value'], farther['sd'])} instead of a half)"
        return [
            f"{model} is nearer to its training images than test images are {of_half}: "
            f"merely typical images, or copies too few to be told ({shares})."
        ]
    return []


# %%
#| hide
def copies_sentence(**scores):
    return "".join(_copies_sentence(argparse.Namespace(model="gan", metrics={"scores": scores})))


far, near = {"value": 0.49, "sd": 0.02}, {"value": 0.28, "sd": 0.01}
few, many = ({"value": v, "sd": 0.01, "single": v, "single_sd": 0.01} for v in (0.02, 0.06))
assert copies_sentence(memorisation=near) == copies_sentence(memorisation=far, copies=few) == ""
assert copies_sentence(copies={"value": None, "why": "few test images"}) == ""
text = copies_sentence(memorisation=far, copies=many)
assert text.startswith("The GAN copies: a share of 0.06(1) of its samples is nearer")
text = copies_sentence(memorisation=near, copies=few)
assert "(0.28(1) instead of a half): merely typical images, or copies too few to be told" in text
text = copies_sentence(memorisation=near, copies=many | {"single": 0.02})
assert "copies" not in text.partition(":")[0]


# %% [markdown]
# Made-up sets of results, and others that turn them round:

# %%
def results_of(sd=1.0, **distances):
    "Runs of these models, with a list of distances after 1, 5 and 20 epochs for each seed."
    rows = []
    for model, by_seed in distances.items():
        for seed, values in enumerate(by_seed):
            for epochs, fd in zip((1, 5, 20), values, strict=True):
                row = {"model": model, "dataset": "digits", "setting": f"our-{model}", "epochs": epochs}
                metrics = metrics_of(model, seed, epochs, fd, sd)
                rows.append(row | {"label": f"our-{model}, seed {seed}", "metrics": metrics})
    return pd.DataFrame(rows)


def metrics_of(model, seed, epochs, fd, sd):
    times = {"train_seconds": epochs * (60.0 if model == "gan" else 30.0) + seed, "sample_seconds": fd / 100}
    recall = {"value": 1 / fd, "sd": 0.001, "floor": 0.98}
    distance = {"value": fd, "sd": sd, "floor": 5.0, "floor_sd": 0.5}
    return times | {"n_samples": 500, "scores": {"fd_lenet": distance, "recall": recall}}


one = discussion_fragment(results_of(gan=[(90.0, 50.0, 20.0)], vae=[(80.0, 60.0, 70.0)]))
other = discussion_fragment(results_of(gan=[(90.0, 62.0, 70.0)], vae=[(80.0, 40.0, 12.0)]))
same = discussion_fragment(results_of(gan=[(90.0, 21.5, 21.0)], vae=[(80.5, 81.0, 20.0)]))
print(one)

# %%
#| hide
for text, sentence in [
    (one, "the GAN by *our-gan, seed 0* after 20 epochs (the smallest of 3) and the VAE by *our-vae,"),
    (one, "The GAN (20(1)) comes nearer to the test images than the VAE (60(1)): by a factor of 3.0(2)"),
    (other, "The VAE (12(1)) comes nearer to the test images than the GAN (62(1)): by a factor of 5.2(4)"),
    (same, "the VAE (20(1)) and the GAN (21(1)) cannot be told apart."),
    (one, "the distance of the GAN goes from 90(1) to 20(1); it has not been seen to stop falling"),
    (other, "at 5 (62(1)), was not reached again: in this run more training did not help"),
    (same, "from its last but one it cannot be told apart"),
    (one, "(recall) is largest for the GAN (0.050(1)); then comes the VAE"),
    (other, "(recall) is largest for the VAE (0.083(1)); then comes the GAN"),
    (one, "in minutes, is smallest for the VAE (2.50); then comes the GAN (20.00)"),
    (other, "in minutes, is smallest for the GAN (5.00)"),
]:
    assert sentence in text, sentence
nearly = _ranking({"gan": Estimate(1.0, 0.1), "vae": Estimate(1.1, 0.1)}, "Time, in seconds,")
assert nearly == (
    "Time, in seconds: by two standard deviations, "
    "the GAN (1.0(1)) and the VAE (1.1(1)) cannot be told apart."
)
known = {"gan": Estimate(1.0, 0.1), "vae": Estimate(3.0, 0.1), "ddpm": Estimate(9.0, 5.0)}
unsure = _ranking(known, "Time, in seconds,")
assert "for the GAN (1.0(1)); then comes the VAE (3.0(1)). By two standard deviations, the" in unsure
assert unsure.endswith(f"the {KINDS['ddpm'].title} (9(5)) cannot be told from the first.")

# %% [markdown]
# Three seeds each. With other seeds the GAN might be better, or worse; the samples alone would promise a difference of five deviations:

# %%
gans = [(90.0, 50.0, fd) for fd in (10.0, 20.0, 30.0)]
vaes = [(90.0, 50.0, fd) for fd in (17.0, 27.0, 37.0)]
text = discussion_fragment(results_of(gan=gans, vae=vaes))
assert "the GAN (20(6), mean of 3 seeds) and the VAE (27(6), mean of 3 seeds) cannot be told apart" in text
text = discussion_fragment(results_of(gan=gans[1:2], vae=vaes[1:2]))
assert "The GAN (20(1)) comes nearer to the test images than the VAE (27(1))" in text
rising = discussion_fragment(results_of(gan=[(90.0, 50.0, fd) for fd in (70.0, 72.0, 74.0)], vae=vaes))
assert "was not reached again: more training did not help" in rising and rising.count("one run") == 0
far_vaes = [(90.0, 70.0, fd) for fd in (60.0, 70.0, 80.0)]
text = discussion_fragment(results_of(gan=gans, vae=far_vaes))
assert "cannot be told apart" not in text.split("\n\n")[1]

# %% [markdown]
# What is not comparable is not compared: another data set, size, extractor or number of samples.

# %%
#| hide
for path, value in [
    (("dataset",), "mnist"),
    (("metrics", "scores", "fd_lenet", "reference"), "digits, 8x8"),
    (("metrics", "scores", "fd_lenet", "hash"), "b"),
    (("metrics", "n_samples"), 60),
]:
    apart = results_of(gan=[(90.0, 50.0, 20.0)], vae=[(80.0, 60.0, 70.0)]).to_dict("records")
    for row in (r for r in apart if r["model"] == "vae"):
        functools.reduce(dict.get, path[:-1], row)[path[-1]] = value
    text = discussion_fragment(pd.DataFrame(apart))
    assert "nearer" not in text and "GAN" in text
    assert ("VAE" in text) == (value != 60), "the most common number of samples of each data set and size"


# %% [markdown]
# ## A claim
#
# Report 002 says that a VAE after 5 epochs looks like a GAN after 50. The next function looks at all runs that can tell: those trained on the same images, at epoch counts that differ from these by a factor of two at most.

# %%
#| export
def claim_fragment(runs: pd.DataFrame) -> str:
    "A sentence and a table on VAEs after about 5 and GANs after about 50 epochs."
    rows, lines, marks = [], [], device_marks(runs)
    for (dataset, *_, n), evaluations in _trained_alike(runs):
        near = {"vae": _near(evaluations, "vae", 5), "gan": _near(evaluations, "gan", 50)}
        for e in near["vae"] + near["gan"]:
            seconds = timed(number(60 * e.minutes, 1), e.rows, marks)
            rows.append([escape(dataset), e.title, e.name, e.epochs, number(n, 0), str(e.distance), seconds])
        if all(near.values()):
            lines.append(f"On {verbatim(dataset)} ($N$ = {n:,}), {_claim_sentence(**near)}\n")
    if not lines:
        return (
            "No VAE and GAN of this profile that were trained on the same images were looked at after about "
            "5 and about 50 epochs."
        )
    caption = (
        f"Report 002's claim, in {distance_heading(runs)}: VAEs after about 5 epochs, GANs after about 50. "
        f"Times on {devices(runs)}."
    )
    header = ["data", "model", "run", "epochs", "$N$", distance_heading(runs), "training (s)"]
    return "\n".join([*lines, markdown_table(rows, header, caption, "claim", "lll")])


def _trained_alike(runs: pd.DataFrame) -> Iterable[tuple[tuple, list[Evaluation]]]:
    "Comparable evaluations that were trained on as many images."
    subset = lambda e: str(e.rows[0].subset)
    for kind, evaluations in comparable(runs).items():
        for _, group in groupby(sorted(evaluations, key=subset), subset):
            yield kind, list(group)


def _near(evaluations: list[Evaluation], model: str, epochs: int) -> list[Evaluation]:
    "Of each setting the evaluation nearest to this epoch count, at most a factor of 2 away; the best first."
    off = lambda e: abs(math.log2(e.epochs / epochs))
    candidates = [e for e in evaluations if e.model == model and off(e) <= 1]
    nearest = {e.rows[0].setting: e for e in sorted(candidates, key=off, reverse=True)}.values()
    return [e for _, _, e in sorted((e.distance.value, i, e) for i, e in enumerate(nearest))]


# %% [markdown]
# Its sentence depends on the numbers.

# %%
#| export
def _claim_sentence(vae: list[Evaluation], gan: list[Evaluation]) -> str:
    "Of the nearest of each; the lists are sorted."
    vae_name, gan_name = _of_several(vae), _of_several(gan)
    if not _differ(vae[0].distance, gan[0].distance):
        return f"{vae_name} cannot, by two standard deviations, be told from {gan_name}."
    if vae[0].distance.value < gan[0].distance.value:
        return f"{vae_name} is nearer to the data than {gan_name}."
    return f"{vae_name} is not as near to the data as {gan_name}."


def _of_several(evaluations: list[Evaluation]) -> str:
    best = evaluations[0]
    what = f"best of {len(evaluations)} {best.title}s" if len(evaluations) > 1 else best.title
    return f"the {what} ({best.name}, {best.after}, {best.distance})"


# %% [markdown]
# Made-up results, and others that turn it round:

# %%
def made_up(vae_fd, gan_fd):
    rows = []
    for model, epochs, fd in [("vae", 5, vae_fd), ("vae", 20, 1.0), ("gan", 5, 2.0), ("gan", 50, gan_fd)]:
        metrics = {"n_samples": 500, "train_seconds": 9.0, "scores": {"fd_lenet": {"value": fd, "sd": 3.0}}}
        row = {"model": model, "dataset": "digits", "subset": None, "setting": model, "label": model}
        rows.append(row | {"epochs": epochs, "metrics": metrics})
    return pd.DataFrame(rows)


text = claim_fragment(made_up(30.0, 60.0))
assert "On `digits` ($N$ = 500), the VAE (vae, 5 epochs, 30(3)) is nearer to the data than the GAN" in text
text = claim_fragment(made_up(30.0, 20.0))
assert "the VAE (vae, 5 epochs, 30(3)) is not as near to the data as the GAN (gan, 50 epochs, 20(3))." in text
text = claim_fragment(made_up(30.0, 34.0))
assert "cannot, by two standard deviations, be told from the GAN (gan, 50 epochs, 34(3))." in text
two = pd.concat([made_up(30.0, 60.0), made_up(20.0, 60.0)[:1].assign(setting="other", label="other")])
assert "the best of 2 VAEs (other, 5 epochs, 20(3)) is nearer to the data than the GAN" in claim_fragment(two)
assert claim_fragment(made_up(30.0, 24.0)[:3]).startswith("No VAE and GAN"), "no GAN after about 50 epochs"
few = made_up(30.0, 24.0)
few.loc[few.model == "gan", "subset"] = 1000.0
assert claim_fragment(few).startswith("No VAE and GAN"), "a GAN that was trained on fewer images"

# %% [markdown]
# ## What to remember
#
# - Numbers of one kind only are compared, and each of them with its standard deviation.
# - "Cannot be told apart" is not "equal".
# - The spread over samples of one network says nothing about another seed.
