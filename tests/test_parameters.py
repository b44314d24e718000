"""A parameter is declared once: the cell tagged `parameters` and the configuration agree."""

import ast
import json

import pytest
from conftest import ROOT
from papermill import inspect_notebook

from genlab.plug import KINDS, import_plugins

import_plugins()
SMOKE = {  # parameters whose default differs from the configuration's in notebooks, and why
    "epochs": "the notebook's figures need more than one pass, and it has to execute on a laptop",
    "snapshots": "the notebook looks at the model on its way",
}
ASIDE = {  # parameters that are not the run's, and why the notebook has them
    "side_epochs": "epochs of the small models beside the run",
}
FIELDS = {
    kind: [name for name in known.config.model_fields if name != "model"] for kind, known in KINDS.items()
}


def parameters(kind):
    "The names in the notebook's cell tagged `parameters`, and their values."
    found = inspect_notebook(str(ROOT / "nbs" / f"{KINDS[kind].notebook}.ipynb"))
    return {name: ast.literal_eval(known["default"]) for name, known in found.items()}


def calls(kind):
    "All calls in the notebook's code."
    cells = json.loads((ROOT / "nbs" / f"{KINDS[kind].notebook}.ipynb").read_text())["cells"]
    trees = [ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_there_are_kinds():
    assert {"gan", "ddpm", "vae"} <= KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_are_the_same(kind):
    assert set(FIELDS[kind]) == parameters(kind).keys() - ASIDE.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_are_the_same(kind):
    fields = KINDS[kind].config.model_fields
    defaults = {name: fields[name].get_default(call_default_factory=True) for name in FIELDS[kind]}
    given = parameters(kind)
    different = {name: (given[name], default) for name, default in defaults.items() if given[name] != default}
    assert not different.keys() - SMOKE.keys()


def test_exceptions_are_needed():
    given = [parameters(kind) for kind in KINDS]
    assert not ASIDE.keys() - {name for names in given for name in names}, "no notebook has these any more"
    differing = {
        name
        for kind, values in zip(KINDS, given, strict=True)
        for name in SMOKE.keys() & values.keys()
        if KINDS[kind].config.model_fields[name].get_default(call_default_factory=True) != values[name]
    }
    assert differing == SMOKE.keys(), "everywhere the configuration's now"


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_is_made_of_the_cell_by_one_line(kind):
    "`GANConfig.of(globals())`, and no list such as `GANConfig(epochs=epochs, ...)`."
    name, found = KINDS[kind].config.__name__, calls(kind)
    assert [ast.unparse(call) for call in found].count(f"{name}.of(globals())") == 1
    lists = [
        call for call in found if ast.unparse(call.func) == name for word in call.keywords if is_echo(word)
    ]
    assert not [ast.unparse(call) for call in lists]


def is_echo(word):
    "`epochs=epochs`"
    return isinstance(word.value, ast.Name) and word.value.id == word.arg
