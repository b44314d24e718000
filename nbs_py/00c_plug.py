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
# # Names, and how to add one
#
# > Data sets, networks, losses, samplers, measures and kinds of models have names; the dictionaries behind these names, and how to add to them from outside
#
# What has a name in genlab stands in a dictionary. `LOADERS["digits"]` is a function that returns images, `SAMPLERS["ddim"]` one that draws samples. Each notebook adds what it defines. Whoever adds one more entry, in a notebook or in a module of their own, can use its name everywhere: in a configuration, with `papermill -p`, in a profile, in the report. There is no second list to keep.

# %%
#| default_exp plug

# %% tags=["parameters"]
plugins = ""  # modules of your own whose names are shown, too, with commas between them

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import difflib
import importlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, PlainSerializer

# %%
#| hide
import textwrap

import matplotlib.pyplot as plt
import pytest
from pydantic import BaseModel

import genlab.plug


# %% [markdown]
# ## The dictionaries
#
# A notebook that is open in Jupyter or executed by papermill defines its functions a second time, beside those of the library. What the reader has in front of them should count, so an entry made in a notebook is not replaced by one that the library makes later.

# %%
#| export
class Names(dict):
    "Functions, or tuples with functions, by name. The library replaces none that a running notebook defines."

    def __setitem__(self, name: str, value) -> None:
        if _home(self.get(name)) != "__main__" or _home(value) == "__main__":
            super().__setitem__(name, value)

    def __ior__(self, others: Mapping) -> Self:
        for name, value in others.items():
            self[name] = value
        return self


def _home(value) -> str:
    "The module of a function, or of the first one in a tuple."
    functions = filter(callable, value if isinstance(value, tuple) else [value])
    return next((function.__module__ for function in functions), "")


# %%
#| export
LOADERS = Names()  # data sets: split -> (images, labels, classes); see genlab.sources
NETWORKS = defaultdict(Names)  # by kind of model and name: (config, data) -> network, or networks
SCHEDULES = Names()  # of the noise of a diffusion: T -> betas
SAMPLERS = Names()  # of diffusion models: (model, shape, steps, seed, ...) -> images
LOSSES = Names()  # of GANs: a pair, the discriminator's and the generator's, or a GANLoss with more
EXTRACTORS = Names()  # of features: (data set, size) -> Extractor
MEASURES = Names()  # of samples: see genlab.fid
SECTIONS = Names()  # of the report: (runs, folder) -> Section
LABS = Names()  # notebooks that find something out by themselves: -> the file where they keep it
KINDS: dict[str, "Kind"] = {}  # kinds of models, by the field `model` of their configuration


# %% [markdown]
# A **kind** of model is declared once, at the end of its notebook. From then on sweeps, the report and the walks through latent spaces know it.

# %%
#| export
class Kind(NamedTuple):
    "All that genlab needs to know of a kind of model."

    title: str  # what people call it, as in "the GAN"
    notebook: str  # what papermill executes, such as 01_gan
    config: type  # the RunConfig of its runs
    run: Callable  # config -> Run: trains, samples and scores
    section: Callable | None = None  # its part of the report: (its runs, folder) -> Section
    space: Callable | None = None  # its latent space: (run, epochs) -> LatentSpace
    draw: Callable | None = None  # (run, epochs) -> uint8 samples (N, C, H, W); trains first if need be


class Section(NamedTuple):
    "A part of the report, in Markdown."

    text: str  # with its heading; empty: it is left out
    appendix: str = ""  # long tables and figures, for the end of the report


# %%
#| export
def kinds_in_order() -> dict[str, Kind]:
    "KINDS by their notebooks, whatever was imported first."
    return dict(sorted(KINDS.items(), key=lambda item: item[1].notebook))


# %% [markdown]
# ## Looking up
#
# A name that is not there may belong to a module that nobody has imported yet: one of genlab's own, or one of `GENLAB_PLUGINS`, an environment variable with names of modules and commas between them. These are imported before a name is called unknown.

# %%
#| export
PLUGINS = [  # modules that add to the dictionaries, in the order of the report
    "genlab.fid", "genlab.measures", "genlab.photo", "genlab.gan", "genlab.modern_gan", "genlab.ddpm",
    "genlab.flow", "genlab.dit", "genlab.vae", "genlab.latent", "genlab.collapse", "genlab.augment",
    "genlab.interpolation", "genlab.reports",
]  # fmt: skip


def import_plugins() -> None:
    "Import `PLUGINS` and the modules that GENLAB_PLUGINS names. ValueError if one is not there."
    for name in [*PLUGINS, *filter(None, os.environ.get("GENLAB_PLUGINS", "").split(","))]:
        try:
            importlib.import_module(name.strip())
        except ModuleNotFoundError as problem:
            raise ValueError(f"GENLAB_PLUGINS: {name}: {problem}; is its folder in PYTHONPATH?") from None


# %%
#| export
def did_you_mean(name: str, known: Iterable[str]) -> str:
    "The end of a sentence about a name that is not known: the nearest one that is, else all of them."
    known = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"did you mean {known[near[0]]}?" if near else f"choose from {', '.join(known.values())}"


def look_up(what: str, name: str, known: dict):
    "`known[name]`; plugins are imported first if need be. ValueError, one sentence, that begins with `what`."
    if name not in known:
        import_plugins()
    if name not in known:
        raise ValueError(f"{what}: {name!r} is unknown; {did_you_mean(name, known)}")
    return known[name]


# %%
assert did_you_mean("Epoch", ["lr", "epochs"]) == "did you mean epochs?"
assert did_you_mean("pace", ["lr", "epochs"]) == "choose from lr, epochs"
assert look_up("colour", "red", {"red": 1}) == 1
with pytest.raises(ValueError, match=r"colour: 'rod' is unknown; did you mean red\?"):
    look_up("colour", "rod", {"red": 1})

# %% [markdown]
# An entry of a notebook stays, and a later one of the same notebook takes its place:

# %%
names = Names()
names["f"] = lambda: 1
names["f"] = lambda: 2
names |= {"f": difflib.get_close_matches, "g": (difflib.get_close_matches, 3)}  # of a library
assert names["f"]() == 2 and names["g"][1] == 3


# %% [markdown]
# ## Names in configurations
#
# A field of a configuration that holds such a name is checked against the dictionary. Some networks have another name now than they had when the first runs were trained. A run is known by the hash of its configuration, so these are written, and hashed, as they were called then.

# %%
#| export
def key_of(known: dict, once: Mapping[str, str] | None = None) -> type:
    "The type of a field whose values are keys of `known`; `once` has those that old runs call otherwise."
    once = once or {}
    now = {before: key for key, before in once.items()}

    def check(value: str, info) -> str:
        value = now.get(value, value)
        look_up(info.field_name, value, known)
        return value

    write = PlainSerializer(lambda key: once.get(key, key), when_used="json")
    return Annotated[str, AfterValidator(check), write]


# %%
class Toy(BaseModel):
    network: key_of({"small": None, "large": None}, once={"large": "big"}) = "small"


assert Toy(network="big").network == "large" and Toy(network="large").model_dump_json() == '{"network":"big"}'
with pytest.raises(ValueError, match=r"network: 'lagre' is unknown; did you mean large\?"):
    Toy(network="lagre")

# %% [markdown]
# ## What has a name
#
# All names there are, when genlab and the modules of `plugins` are imported. (In a notebook of its own, this one sees the library's dictionaries as `genlab.plug`.)

# %%
#| hide
os.environ["GENLAB_PLUGINS"], before = plugins, os.environ.get("GENLAB_PLUGINS", "")
genlab.plug.import_plugins()
os.environ["GENLAB_PLUGINS"] = before

# %%
library = genlab.plug
known = {f"NETWORKS[{kind!r}]": names for kind, names in library.NETWORKS.items()}
for title in "LOADERS SCHEDULES SAMPLERS LOSSES EXTRACTORS MEASURES SECTIONS LABS KINDS".split():
    known[title] = getattr(library, title)
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for row, (_, names) in enumerate(sorted(known.items())):
    ax.barh(row, len(names), color="C0")
    text = "\n".join(textwrap.wrap(", ".join(names), 95))
    ax.text(len(names) + 0.2, row, text, va="center", fontsize=6)
ax.set(yticks=range(len(known)), yticklabels=sorted(known), xlim=(0, 40), xlabel="names")
ax.invert_yaxis()
assert {"gan", "ddpm", "vae"} <= known["KINDS"].keys() and "digits" in known["LOADERS"]

# %% [markdown]
# ## What to remember
#
# - What has a name stands in one dictionary; adding an entry is all there is to do.
# - `GENLAB_PLUGINS` brings in modules of your own where a notebook runs by itself, as under papermill.
