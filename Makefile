# Every target sets up what it needs. PYTHON is any Python from 3.11 on.
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= runs/tiny

.PHONY: setup demo test check lint slow tiny clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/geometrycrafter run examples/room.mp4 -o demo-output/room.gc --overwrite
	$(BIN)/geometrycrafter export demo-output/room.gc mp4 demo-output/room.mp4 --overwrite
	@echo "The scene is demo-output/room.gc; demo-output/room.mp4 shows the frames beside their disparity."

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

slow: setup
	$(BIN)/python -m pytest -m 'slow or not slow' --timeout 3600

# Trains the embedded model anew; goes on where it was stopped.
tiny: setup
	set -e; for stage in render prior autoencoder point_map_vae unet_determ package; do \
		$(BIN)/python -m geometrycrafter.training.tiny $$stage $(RUNS); done

clean:
	rm -rf .venv demo-output
