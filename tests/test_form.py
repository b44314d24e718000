"""Form of the code: short lines, short functions, no riddles. Run as a program, it prints what is not so."""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
LINE = 110  # letters in a line
FUNCTION = 25  # lines of a function with its signature and docstring
LAMBDAS = 1  # in a function
LONG = {  # functions that may be longer, as "place: name", and why
}


class Part(NamedTuple):
    "A file of code, or a code cell of a notebook."

    place: str  # "01_gan", "test_runs"
    where: str  # "nbs/01_gan.ipynb, cell 12", "tests/test_runs.py"
    source: str


class Finding(NamedTuple):
    size: int
    key: str  # for `LONG`
    where: str


def code_cells(notebook: Path) -> Iterator[Part]:
    for number, cell in enumerate(json.loads(notebook.read_text())["cells"]):
        if cell["cell_type"] == "code":
            yield Part(notebook.stem, f"nbs/{notebook.name}, cell {number}", "".join(cell["source"]))


def python_parts() -> list[Part]:
    "All Python of the project that people write."
    parts = [part for notebook in sorted((ROOT / "nbs").glob("*.ipynb")) for part in code_cells(notebook)]
    for folder in ("tests", "tools", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts.append(Part(path.stem, f"{folder}/{path.name}", path.read_text()))
    return parts


def parse(part: Part) -> ast.Module:
    "The syntax tree of a part; lines for IPython or the shell are left out."
    lines = ["" if line.startswith(("%", "!")) else line for line in part.source.splitlines()]
    return ast.parse("\n".join(lines), part.where)


def functions(node: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    "All functions in a tree, with their names: `Class.method`, `function.inner`."
    for child in ast.iter_child_nodes(node):
        name = outer
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{outer}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield name, child
        yield from functions(child, name)


def own_lambdas(nodes: list[ast.AST]) -> int:
    "Lambdas in the statements of a function, without those of functions inside it."
    own = [node for node in nodes if not isinstance(node, ast.FunctionDef)]
    return sum(isinstance(node, ast.Lambda) + own_lambdas(list(ast.iter_child_nodes(node))) for node in own)


def is_condition(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    calls = ("bool", "isinstance", "any", "all")
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls
    return is_call or isinstance(node, ast.Compare | ast.BoolOp)


def is_sequence(node: ast.AST) -> bool:
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return text or isinstance(node, ast.List | ast.Tuple | ast.ListComp | ast.JoinedStr)


def is_riddle(node: ast.AST) -> bool:
    "A list or text times a condition, `[layer] * (p > 0)`, or picked by one, `('one', 'many')[n > 1]`."
    if isinstance(node, ast.Subscript):
        return is_sequence(node.value) and is_condition(node.slice)
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)):
        return False
    sides = (node.left, node.right)
    return any(map(is_sequence, sides)) and any(map(is_condition, sides))


def long_lines() -> list[Finding]:
    snakefile = Part("Snakefile", "report/Snakefile", (ROOT / "report" / "Snakefile").read_text())
    found = []
    for part in [*python_parts(), snakefile]:
        for number, line in enumerate(part.source.splitlines(), 1):
            if len(line) > LINE:
                found.append(Finding(len(line), part.place, f"{part.where}, line {number}"))
    return sorted(found, reverse=True)


def long_functions() -> list[Finding]:
    found = []
    for part in python_parts():
        for name, node in functions(parse(part)):
            size = node.end_lineno - node.lineno + 1  # from `def` on, without decorators
            if size > FUNCTION:
                found.append(Finding(size, f"{part.place}: {name}", part.where))
    return sorted(found, reverse=True)


def many_lambdas() -> list[Finding]:
    found = []
    for part in python_parts():
        for name, node in functions(parse(part)):
            if (count := own_lambdas(node.body)) > LAMBDAS:
                found.append(Finding(count, f"{part.place}: {name}", part.where))
    return sorted(found, reverse=True)


def riddles() -> list[str]:
    return [
        f"{part.where}: {ast.unparse(n)}"
        for part in python_parts()
        for n in ast.walk(parse(part))
        if is_riddle(n)
    ]


def test_lines_are_short():
    assert not long_lines(), f"lines of more than {LINE} letters; `python tests/test_form.py` lists all"


def test_functions_are_short():
    found = [finding for finding in long_functions() if finding.key not in LONG]
    assert not found, f"functions of more than {FUNCTION} lines; divide them, or give a reason in LONG"


def test_exceptions_are_needed_and_have_a_reason():
    assert not LONG.keys() - {finding.key for finding in long_functions()}, (
        "short enough now, or gone: remove them from LONG"
    )
    assert all(len(reason.split()) >= 3 for reason in LONG.values())


def test_a_function_has_one_lambda_at_most():
    assert not many_lambdas(), "give the functions names"


def test_conditions_are_written_as_conditions():
    assert not riddles(), "write `if`"


@pytest.mark.parametrize(
    "code", ["[a] * (p > 0)", "'s' * (n > 1)", "f'{a}' * bool(b)", "(not a) * [b]", "['no', 'yes'][a and b]"]
)
def test_what_a_riddle_is(code):
    assert is_riddle(ast.parse(code, mode="eval").body)


@pytest.mark.parametrize(
    "code", ["[0] * n", "(a > b) * x", "'-' * len(x)", "2 * (a > b)", "names[a == 1]", "[1] * (n + 1)"]
)
def test_what_is_none(code):
    assert not is_riddle(ast.parse(code, mode="eval").body)


def test_sizes_are_counted_as_people_count():
    source = (
        "@d(lambda: 1)\ndef f():\n    def g():\n        return (lambda: 1)()\n    return lambda: [lambda: 1]"
    )
    found = dict(functions(ast.parse(source)))
    assert list(found) == ["f", "f.g"] and [own_lambdas(node.body) for node in found.values()] == [2, 1]
    assert found["f"].end_lineno - found["f"].lineno + 1 == 4


def main() -> None:
    "Print what is not in form, of all files or of those that are named: `python tests/test_form.py 01_gan`."
    wanted = lambda text: len(sys.argv) < 2 or any(name in text for name in sys.argv[1:])
    kinds = {
        f"lines over {LINE} letters": [f"{f.size:5} {f.where}" for f in long_lines()],
        f"functions over {FUNCTION} lines": [
            f"{f.size:5} {f.key}" for f in long_functions() if f.key not in LONG
        ],
        f"functions with more than {LAMBDAS} lambda": [f"{f.size:5} {f.key}" for f in many_lambdas()],
        "conditions in disguise": riddles(),
        "cells over 20 lines (not tested)": [
            f"{len(part.source.splitlines()):5} {part.where}"
            for part in python_parts()
            if part.where.startswith("nbs") and len(part.source.splitlines()) > 20
        ],
    }
    for kind, findings in kinds.items():
        print(f"{kind}: {len([f for f in findings if wanted(f)])}", *filter(wanted, findings), sep="\n")


if __name__ == "__main__":
    main()
