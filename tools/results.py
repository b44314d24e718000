"""The results on the README's first page: the table at a glance and samples, from report/results.

`make results` writes the table into nbs/index.ipynb and draws nbs/images/results.png; a test compares the table
with the files.
"""

import re
import tempfile
from pathlib import Path

import nbformat
import seaborn as sns
from PIL import Image

from genlab.sentences import glance_fragment
from genlab.sweep import collect_runs, plan

ROOT = Path(__file__).parent.parent
MARKS = "<!-- results: written by `make results` -->", "<!-- end of results -->"


def glance(folder: Path) -> str:
    "The table as the report has it, caption below; its picture goes to `folder`. GENLAB_RUNS has to be report/results."
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        text = glance_fragment(collect_runs(plan(ROOT / "report" / "profiles" / "published.yaml")), folder)
    table, caption = re.search(r"(\|.*?)\n\n: (.*?) \{#tbl-glance\}", text, flags=re.S).groups()
    return re.sub(
        r"\^(\w)\^", r"<sup>\1</sup>", f"{table}\n\n{caption}"
    )  # pandoc's superscripts are not GitHub's


def put_between_marks(text: str, inside: str) -> str:
    "The text with what stands between the marks replaced."
    before, mark, rest = text.partition(MARKS[0])
    return f"{before}{mark}\n\n{inside}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


def main() -> None:
    index = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        index.cells[0].source = put_between_marks(index.cells[0].source, glance(Path(folder)))
        with Image.open(Path(folder, "glance.png")) as picture:
            picture.convert("L").quantize(16).save(ROOT / "nbs" / "images" / "results.png", optimize=True)
    nbformat.write(index, ROOT / "nbs" / "index.ipynb")


if __name__ == "__main__":
    main()
