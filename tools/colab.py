"""Open in Colab: the link in each notebook's first cell, and the cell that fetches genlab there.

Both name the `user` and `repo` of settings.ini. `make sync` calls it. While `user` is empty nobody knows
where the project will live, and there is neither link nor cell.
"""

from configparser import ConfigParser
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
LINK = "\n\n[Open in Colab](https://colab.research.google.com/github/{user}/{repo}/blob/{branch}/nbs/{name})"
INSTALL = """#| hide
import os
import subprocess
import sys

if "google.colab" in sys.modules:  # in Colab, fetch genlab and install it; anywhere else, do nothing
    get = "git clone -q https://github.com/{user}/{repo} && pip install -q ./{repo}"
    subprocess.run(get, shell=True, check=True)
    os.chdir("{repo}")"""
ABOVE = "#| default_exp"  # the cell below which genlab is fetched


def connect(notebook: nbformat.NotebookNode, name: str, settings: dict) -> None:
    "Give a notebook its link and its cell, or take them from it if there is no `user`."
    first = notebook.cells[0]
    first.source = first.source.partition("\n\n[Open in Colab]")[0]
    notebook.cells = [cell for cell in notebook.cells if '"google.colab" in sys.modules' not in cell.source]
    if settings["user"]:
        first.source += LINK.format(**settings, name=name)
        place = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith(ABOVE))
        cell = nbformat.v4.new_code_cell(INSTALL.format(**settings), id="in-colab", metadata={})
        notebook.cells.insert(place + 1, cell)


def read_settings(root: Path = ROOT) -> dict:
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    return dict(config["DEFAULT"])


def main() -> None:
    for path in sorted((ROOT / "nbs").glob("*.ipynb")):
        if path.stem != "index":
            notebook = nbformat.read(path, as_version=4)
            before = nbformat.writes(notebook)
            connect(notebook, path.name, read_settings())
            if nbformat.writes(notebook) != before:
                nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
