"""The report on the published runs shows the numbers that it showed when tests/published.json was written.

The runs lie in report/results. A change to the code that reads them must not change what they say, wherever
in the report it stands. Where it has to, `KNOWN` names the table and says why. To write tests/published.json
anew from the Markdown of a report: `python tests/test_published.py report/_generated/build/report.md`.
"""

import json
import re
import sys
from pathlib import Path

from conftest import command, copy_project, needs_mnist

BEFORE = Path(__file__).parent / "published.json"
LABELS = (
    "glance distances diversity measures likelihoods samplers elbo sources smoothness times provenance "
    "gan-losses ddpm-losses vae-losses"
).split()
RENAMED = ("`network` seed", "`network` report003")  # a name has changed since, and no number
KNOWN = {  # tables that show something else now, and why
}


def read_tables(markdown: str) -> dict[str, list[list[str]]]:
    "The cells of each pipe table that has a label, without its heading, by the label."
    tables, rows = {}, []
    for line in markdown.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif label := re.match(r":.*\{#tbl-([\w-]+)", line):
            tables[label[1]], rows = rows[2:], []
        elif line.strip():
            rows = []
    return tables


def uncertain_numbers(markdown: str) -> set[str]:
    "Numbers with an uncertainty, such as 0.81(2), wherever they stand."
    return set(re.findall(r"(?<![\d.,])\d[\d,]*(?:\.\d+)?\(\d+\)", markdown))


def published_report(folder):
    "The Markdown of the report on the published runs."
    project = copy_project(folder / "project")
    results = str(project / "report" / "results")
    done = command("genlab_report", "published", "--engine", "typst", cwd=project, GENLAB_RUNS=results)
    assert done.returncode == 0, done.stdout + done.stderr
    return (project / "report" / "_generated" / "build" / "report.md").read_text()


@needs_mnist
def test_published_runs_have_the_same_numbers(tmp_path):
    report = published_report(tmp_path)
    before, now = json.loads(BEFORE.read_text()), read_tables(report)
    for label, rows in before["tables"].items():
        expected = [[cell.replace(*RENAMED) for cell in row] for row in rows]
        if label in KNOWN:
            assert now.get(label) != expected, f"{label} is the same again: remove it from KNOWN"
        else:
            assert now.get(label) == expected, label
    gone = set(before["numbers"]) - uncertain_numbers(report)
    assert not gone, "in no table and in no sentence"


def test_what_is_known_to_differ_has_a_reason():
    assert KNOWN.keys() <= set(LABELS) and all(len(reason.split()) >= 3 for reason in KNOWN.values())


def test_tables_are_read():
    text = "| a | b |\n|:--|--:|\n| x \\| y | 1(2) |\n\n: Caption. {#tbl-one .wide}\n\n"
    text += "| a |\n|--|\n| 2 |\n\n: No label.\n"
    assert read_tables(text) == {"one": [["x \\| y", "1(2)"]]} and uncertain_numbers(text) == {"1(2)"}


def main() -> None:
    text = Path(sys.argv[1]).read_text()
    found = read_tables(text)
    lines = {label: ",\n    ".join(map(json.dumps, found[label])) for label in LABELS}
    tables = ",\n".join(f'  "{label}": [\n    {rows}\n  ]' for label, rows in lines.items())
    numbers = json.dumps(sorted(uncertain_numbers(text)))
    BEFORE.write_text(f'{{"tables": {{\n{tables}\n}},\n"numbers": {numbers}}}\n')


if __name__ == "__main__":
    main()
