# Every target sets up what it needs. PYTHON is any Python from 3.11 on.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check lint slow tiny tiny2 clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/geometrycrafter run examples/room.mp4 -o demo-output/room.gc --overwrite
	$(BIN)/geometrycrafter export demo-output/room.gc mp4 demo-output/room.mp4 --overwrite
	$(BIN)/geometrycrafter export demo-output/room.gc html demo-output/room.html --overwrite
	@echo "The scene is demo-output/room.gc; demo-output/room.mp4 shows the frames beside their disparity."
	@echo "Open demo-output/room.html in a browser to turn the points: it plays, and needs nothing else."

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 30

lint: setup
	$(BIN)/ruff format --check src tests tools benchmarks
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_docstrings.py src/geometrycrafter

check: lint test

slow: setup
	$(BIN)/python -m pytest -m 'slow or not slow' --timeout 3600

# Trains the embedded model anew, in an estimated six hours on two cores; goes on where it was stopped.
# Stages that do not need each other run side by side, each on one core; most of the UNets' run on both.
T := runs/tiny
ALONE = OMP_NUM_THREADS=1 $(BIN)/geometrycrafter train
TRAIN = $(ALONE)
DATA = $(BIN)/geometrycrafter data synthesize

tiny: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	$(MAKE) -j2 $(T)/unet-diffusion-own.done
	$(BIN)/python -m geometrycrafter.training.tiny package $(T)/hub

$(T)/data.done:
	$(DATA) $(T)/validation --clips 48 --size 192x256 --seed 10000000
	$(DATA) $(T)/stills --clips 2400 --frames 2 --size 192x256 --seed 1000000
	$(DATA) $(T)/videos --clips 3000 --size 144x192
	$(BIN)/python -m geometrycrafter.training.tiny begin $(T)/hub
	touch $@

$(T)/prior.done $(T)/autoencoder.done: $(T)/data.done
$(T)/vae-field.done: $(T)/autoencoder.done
$(T)/vae.done: $(T)/vae-field.done
$(T)/vae-sizes.done: $(T)/vae.done
$(T)/unet-deterministic.done: $(T)/prior.done $(T)/vae-sizes.done
$(T)/unet-diffusion.done: $(T)/unet-deterministic.done
$(T)/unet-deterministic-points.done $(T)/unet-diffusion-points.done: $(T)/unet-diffusion.done
$(T)/unet-diffusion-own.done: $(T)/unet-deterministic-points.done $(T)/unet-diffusion-points.done

$(T)/unet-%: private TRAIN = OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc-per-node 2 -m geometrycrafter.cli.main train
$(T)/unet-%-points.done: private TRAIN = $(ALONE)

$(T)/%.done:
	$(TRAIN) $(firstword $(subst -, ,$*)) tiny-$* -o $(T)/$*
	touch $@

# Fine-tunes the embedded model's prior and decoder on both rendered worlds, from the weights in the package, in an
# estimated three hours on two cores. Look at the scores before
# `python -m geometrycrafter.training.tiny package runs/tiny-2/hub`.
T2 := runs/tiny-2

tiny2: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	$(MAKE) -j2 $(T2)/softened.done
	$(BIN)/python -m geometrycrafter.training.tiny score $(T2)/hub $(T2)/validation

$(T2)/data.done:
	$(DATA) $(T2)/validation --world 2 --clips 48 --size 192x256 --seed 10000000
	$(DATA) $(T2)/stills --world 2 --clips 2600 --frames 2 --size 240x320 --seed 1000000
	$(DATA) $(T2)/videos --world 2 --clips 1100 --size 144x192
	$(DATA) $(T2)/first-validation --clips 24 --size 192x256 --seed 10000000
	$(DATA) $(T2)/first-stills --clips 2000 --frames 2 --size 192x256 --seed 1000000
	$(BIN)/python -m geometrycrafter.training.tiny unpack $(T2)/hub
	touch $@

$(T2)/prior.done $(T2)/vae.done: $(T2)/data.done
$(T2)/softened.done: $(T2)/prior.done $(T2)/vae.done
	$(BIN)/python -m geometrycrafter.training.tiny blend $(T2)/hub
	$(BIN)/python -m geometrycrafter.training.tiny soften $(T2)/hub
	touch $@

$(T2)/%.done:
	$(TRAIN) $(firstword $(subst -, ,$*)) tiny-$*-2 -o $(T2)/$*
	touch $@

clean:
	rm -rf .venv demo-output
