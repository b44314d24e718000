# Everything a fresh machine with Python 3.11+, git and make needs. `make help` lists the targets.
PYTHON ?= python3
PROFILE ?= quick
SCALE ?= 1
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
BIN := .venv/bin
README_DIR ?= .
NOTEBOOKS := $(sort $(wildcard nbs/*.ipynb))
SNAKEMAKE_FLAGS = -s report/Snakefile --cores $(CORES) --keep-going --rerun-incomplete --nolock \
	--rerun-triggers mtime params input --resources gpu=$(shell nvidia-smi -L 2>/dev/null | grep -c GPU) --quiet rules host progress reason --config profile=$(PROFILE) scale=$(SCALE)
RUNS := $(or $(GENLAB_RUNS),$(if $(filter published,$(PROFILE)),report/results,runs$(if $(filter-out 1,$(SCALE)),/scale-$(SCALE))))

.DEFAULT_GOAL := help
.PHONY: help setup report test race lab tex notebooks docs sync results readme check lock

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "%-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "PROFILE=quick|course|reports|published chooses what 'make report' runs; SCALE=0.01 runs a hundredth of it; CORES limits it."

setup: .venv/installed ## .venv with the locked packages and genlab itself

.venv/installed: requirements.lock settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(f"genlab needs Python 3.11 or newer, and $(PYTHON) is {sys.version.split()[0]}; try make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@echo "Installing the packages into .venv (once, some minutes) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

report: export GENLAB_RUNS := $(if $(filter /%,$(firstword $(RUNS))),,$(CURDIR)/)$(RUNS)
report: setup ## train what is missing of PROFILE and build report/report.pdf
	@command -v lualatex >/dev/null || if [ -e .venv/no-latex ]; then true; elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	 then $(MAKE) --no-print-directory tex >/dev/null 2>&1 && echo "LaTeX is installed." || { touch .venv/no-latex; echo "LaTeX could not be installed; Typst will make the PDF."; }; \
	 else echo "There is no LaTeX here, so Typst will make the PDF; 'make tex' (asks for sudo) installs LaTeX."; fi
	@$(BIN)/snakemake sweep $(SNAKEMAKE_FLAGS); failed=$$?; test $$failed -ne 2 || exit 2; \
	 $(BIN)/snakemake pdf $(SNAKEMAKE_FLAGS) || exit 1; \
	 test $$failed -eq 0 || echo "Some runs failed; the report says which and why."; exit $$failed

test: setup ## run the notebooks as tests, and the tests that span them
	@$(BIN)/python -m pytest tests -n auto --maxprocesses 4 --dist worksteal

race: setup ## train the entries of report/race on TASK (mnist) until they are near the floor; SEEDS, MINUTES
	@$(BIN)/genlab_race $(or $(TASK),mnist) $(ENTRY) --seeds $(or $(SEEDS),0 1 2) --minutes $(or $(MINUTES),45)

lab: setup ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab nbs

tex: ## install LaTeX with apt (asks for sudo)
	$(if $(filter 0,$(shell id -u)),,sudo )sh -c 'export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -y -q --no-install-recommends latexmk texlive-latex-recommended texlive-luatex lmodern fonts-texgyre fonts-texgyre-math'

notebooks: setup ## execute the notebooks again, each with an empty folder of runs, and save their outputs
	@for notebook in $(filter-out nbs/index.ipynb,$(NOTEBOOKS)); do runs=$$(mktemp -d); \
	 GENLAB_RUNS=$$runs TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace --ExecutePreprocessor.timeout=-1 $$notebook; failed=$$?; rm -rf "$$runs"; test $$failed = 0 || exit 1; done
	@$(MAKE) --no-print-directory sync

docs: setup ## the course as a website, in _docs (needs Quarto)
	@command -v quarto >/dev/null || { echo "The website is made with Quarto, and there is none here: see https://quarto.org/docs/get-started"; exit 1; }
	@$(BIN)/nbdev_proc_nbs
	@cp -r nbs/images _proc && cd _proc && quarto render --no-cache
	@rm -rf _docs && mv _proc/_docs _docs && echo "The website is in _docs/index.html"

sync: setup ## after changing a notebook: Colab links, export, clean, twins, README
	@$(BIN)/python tools/colab.py
	@$(BIN)/nbdev_clean
	@$(BIN)/nbdev_export
	@$(BIN)/jupytext --quiet --from nbs//ipynb --to nbs_py//py:percent $(NOTEBOOKS)
	@$(MAKE) --no-print-directory readme

results: setup ## after a change of report/results: the table and the picture on the README's first page
	@GENLAB_RUNS=report/results $(BIN)/python tools/results.py
	@$(MAKE) --no-print-directory sync

readme: setup
	@$(BIN)/jupyter nbconvert --log-level WARN --to markdown --output-dir $(README_DIR) --output README nbs/index.ipynb
	@sed -i.bak -e 's,](\([a-z0-9_/]*\.\(ipynb\|png\)\)),](nbs/\1),g' -e 's,](\.\./,](,g' $(README_DIR)/README.md && rm $(README_DIR)/README.md.bak

check: setup ## is everything in sync? does ruff find anything?
	@$(BIN)/python -m pytest -q tests/test_sync.py
	@$(BIN)/ruff check .

lock: setup ## resolve the versions anew (requirements.lock)
	@$(BIN)/uv pip compile --quiet setup.py --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock
