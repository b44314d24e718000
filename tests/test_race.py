"""Entries of the race are settings that the library knows, and their results are theirs."""

import json
import math

import pytest
from conftest import ROOT, command, copy_project

from genlab.race import BY_THE_RACE, race_config, read_entry

FOLDER = ROOT / "report" / "race"
ENTRIES, RESULTS = sorted(FOLDER.glob("*.yaml")), sorted(FOLDER.glob("*/*.json"))


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.stem)
def test_an_entry_is_a_run(path):
    config = race_config(read_entry(path), path.stem, "digits", 3)
    assert (config.name, config.dataset, config.seed) == (path.stem, "digits", 3)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_results_belong_to_the_entry_as_it_is(path):
    records = json.loads(path.read_text())
    assert len({(record["device"], record["seed"]) for record in records}) == len(records) > 0
    for record in records:
        settings = read_entry(FOLDER / f"{path.stem}.yaml")
        config = race_config(settings, path.stem, record.get("task", path.parent.name), record["seed"])
        assert record["settings"] == settings and record["hash"] == config.hash, "race it again"
        for row in record["looks"]:
            assert all(math.isfinite(row[key]) and row[key] > 0 for key in ("seconds", "value", "floor"))
        seconds = [row["seconds"] for row in record["looks"]]
        assert seconds == sorted(seconds)


@pytest.fixture
def empty_race(tmp_path):
    "The folder of entries, without any, in a copy of the project; and the race there on digits."
    project = copy_project(tmp_path)
    folder = project / "report" / "race"
    for path in folder.glob("*.yaml"):
        path.unlink()
    where = {"cwd": project, "GENLAB_RUNS": str(tmp_path / "runs")}
    return folder, lambda *words: command("genlab_race", "digits", *words, **where)


def test_the_command(empty_race):
    "From a file of settings to the table, with nobody else in the race."
    folder, race = empty_race
    settings = "model: ddpm\nwidths: [8]\nheads: 0\noptimizer: muon\nT: 40\nsteps: 5\n"
    (folder / "tiny.yaml").write_text(settings)
    raced = race("--seeds", 0, 1, "--minutes", 1e-3)
    assert raced.returncode == 0, raced.stdout + raced.stderr
    (row,) = [line for line in raced.stdout.splitlines() if line.startswith("| tiny")]
    assert "| 2 |" in row and "not reached" in row
    assert len(json.loads((folder / "digits" / "tiny.json").read_text())) == 2


def test_wrong_words_before_any_training(empty_race, tmp_path):
    "One sentence each; and the race goes on where one entry diverges."
    folder, race = empty_race
    (folder / "odd.yaml").write_text("model: ddpm\nlevels: [")
    (folder / "wild.yaml").write_text("model: vae\nnetwork: mlp\nlatent: 2\nlr: 1.0e+30\n")
    (folder / "zahm.yaml").write_text("model: vae\nnetwork: mlp\nlatent: 2\n")
    for words, sentence in [
        (["odd"], "entry odd: it is no YAML"),
        (["zahm", "--seeds", 0, -1], "seed: -1 should be greater than or equal to 0"),
        (["zahm", "--minutes", "nan"], "nan is no number of minutes above 0"),
    ]:
        answer = race(*words)
        assert answer.returncode and sentence in answer.stderr and "Traceback" not in answer.stderr
        assert not (tmp_path / "runs").exists()
    raced = race("wild", "zahm", "--seeds", 0, "--minutes", 1e-3)
    assert raced.returncode == 1 and "wild, seed 0: Training has diverged" in raced.stderr
    assert "| zahm" in raced.stdout and "Traceback" not in raced.stderr


@pytest.mark.parametrize("key", ["epochs", "seed", "size"])
def test_what_the_race_decides_is_no_setting(key, tmp_path):
    assert key in BY_THE_RACE
    (tmp_path / "eager.yaml").write_text(f"model: gan\n{key}: 3\n")
    with pytest.raises(ValueError, match=f"entry eager: {key}: the race decides this"):
        read_entry(tmp_path / "eager.yaml")
