"""Entries of the race are settings that the library knows, and their results are theirs."""

import json
import math

import numpy as np
import pytest
from conftest import ROOT, command, copy_project
from PIL import Image
from torch import nn

from genlab.data import load_dataset
from genlab.features import Extractor
from genlab.plug import EXTRACTORS, KINDS, MEASURES, import_plugins
from genlab.race import BY_THE_RACE, look, main, race_config, race_metric, read_entry
from genlab.runs import Run

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


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    "A folder of coloured noise without labels, and a measure that stands in for `fd_photo`."
    extractor = Extractor("mean", "0" * 12, nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()))
    monkeypatch.setitem(EXTRACTORS, "mean", lambda *_: extractor)
    monkeypatch.setitem(MEASURES, "fd_photo", MEASURES["fd_lenet"]._replace(extractor="mean"))
    monkeypatch.setenv("GENLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photographs").mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "photographs" / f"{i}.png")
    return tmp_path / "photographs"


@pytest.fixture
def race_here(tmp_path, monkeypatch, capsys):
    "The command, in a project that has two entries, one of them told classes; gives what it printed."
    folder = tmp_path / "report" / "race"
    folder.mkdir(parents=True)
    (tmp_path / "genlab").mkdir()
    (tmp_path / "settings.ini").touch()
    for name, conditional in [("plain", "false"), ("told", "true")]:
        (folder / f"{name}.yaml").write_text(f"model: gan\nwidth: 8\nconditional: {conditional}\n")
    monkeypatch.chdir(tmp_path)

    def race(*words):
        monkeypatch.setattr("sys.argv", ["genlab_race", *map(str, words)])
        try:
            main()
        except SystemExit as end:
            assert end.code == 1
        return "".join(capsys.readouterr())

    return folder, race


def test_a_folder_without_labels(photographs, race_here):
    "It is measured by fd_photo, at 64x64 pixels; who wants to be told classes cannot race."
    folder, race = race_here
    printed = race("folder:photographs", "--seeds", 0, "--minutes", 1e-3)
    assert "told: conditional: folder:" in printed and "has no labels; left out." in printed
    assert f"Training time until `fd_photo` on folder:{photographs} is so many times the floor" in printed
    (path,) = folder.glob("*/*.json")
    (record,) = json.loads(path.read_text())
    assert path.parent.name == f"folder-{str(photographs).replace('/', '-')}" and path.stem == "plain"
    assert (record["task"], record["metric"]) == (f"folder:{photographs}", "fd_photo")
    assert record["looks"][0]["images"] == 54 and record["looks"][0]["n"] == 6
    printed = race("folder:photographs", "told")
    assert f"genlab_race: entry told: conditional: folder:{photographs} has no labels." in printed


def test_a_measure_that_cannot_be_had(photographs, race_here, monkeypatch, runs_folder):
    "One sentence before any training."

    def no_weights(*_):
        raise RuntimeError("the weights are not there")

    monkeypatch.setitem(EXTRACTORS, "mean", no_weights)
    assert "genlab_race: the weights are not there" in race_here[1]("folder:photographs")
    monkeypatch.delitem(MEASURES, "fd_photo")
    monkeypatch.setattr("genlab.race.UNLABELLED", "fd_foto")
    assert "genlab_race: metrics: 'fd_foto' is unknown" in race_here[1]("folder:photographs")
    assert not runs_folder.exists()


def test_labels_decide_what_is_measured(photographs):
    assert [race_metric(task) for task in ("digits", f"folder:{photographs}")] == ["fd_lenet", "fd_photo"]


def test_a_first_stage_counts(monkeypatch):
    "Of latent diffusion the training of the VAE takes time, too."

    def draw(run, epochs):
        run.training = {"train_seconds": 2.0, "first": {"train_seconds": 3.0}}
        return load_dataset("digits", "test").images

    import_plugins()
    monkeypatch.setitem(KINDS, "latent", KINDS["latent"]._replace(draw=draw))
    assert look(Run(race_config({"model": "latent"}, "x", "digits", 0)), 1)["seconds"] == 5
