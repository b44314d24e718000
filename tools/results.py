"""The results on the README's first page: table and samples from report/results, and the tables of the race.

`make results` writes the tables into nbs/index.ipynb and draws nbs/images/results.png; a test compares
the tables with the files.
"""

import re
import tempfile
from pathlib import Path

import nbformat
import seaborn as sns
from PIL import Image

from genlab.race import race_table
from genlab.sentences import glance_fragment
from genlab.sweep import collect_runs, plan

ROOT = Path(__file__).parent.parent
MARKS = "<!-- results: written by `make results` -->", "<!-- end of results -->"
RACE = "<!-- race: written by `make results` -->", "<!-- end of race -->"


def glance(folder: Path) -> str:
    "The table as the report has it, for GENLAB_RUNS=report/results; its picture goes to `folder`."
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        text = glance_fragment(collect_runs(plan(ROOT / "report" / "profiles" / "published.yaml")), folder)
    table, caption = re.search(r"(\|.*?)\n\n: (.*?) \{#tbl-glance\}", text, flags=re.S).groups()
    return re.sub(
        r"\^(\w)\^", r"<sup>\1</sup>", f"{table}\n\n{caption}"
    )  # pandoc's superscripts are not GitHub's


def races() -> str:
    "The tables of all data sets that were raced on."
    folder = ROOT / "report" / "race"
    tasks = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return "\n\n".join(race_table(folder, task) for task in tasks)


def put_between_marks(text: str, inside: str, marks: tuple[str, str]) -> str:
    "The text with what stands between the marks replaced."
    before, mark, rest = text.partition(marks[0])
    return f"{before}{mark}\n\n{inside}\n\n{marks[1]}{rest.partition(marks[1])[2]}"


def main() -> None:
    index = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        text = put_between_marks(index.cells[0].source, glance(Path(folder)), MARKS)
        index.cells[0].source = put_between_marks(text, races(), RACE)
        with Image.open(Path(folder, "glance.png")) as picture:
            picture.convert("L").quantize(16).save(ROOT / "nbs" / "images" / "results.png", optimize=True)
    nbformat.write(index, ROOT / "nbs" / "index.ipynb")


if __name__ == "__main__":
    main()
