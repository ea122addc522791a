# Every target sets up what it needs. PYTHON is any Python from 3.11 on.
PYTHON ?= python3
BIN := .venv/bin

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
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

slow: setup
	$(BIN)/python -m pytest -m 'slow or not slow' --timeout 3600

# Trains the embedded model anew, in an estimated seven hours on two cores; goes on where it was stopped.
tiny: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	$(BIN)/geometrycrafter data synthesize runs/tiny/validation --clips 48 --size 192x256 --seed 10000000
	$(BIN)/geometrycrafter data synthesize runs/tiny/stills --clips 2400 --frames 2 --size 192x256 --seed 1000000
	$(BIN)/geometrycrafter data synthesize runs/tiny/videos --clips 3000 --size 144x192
	$(BIN)/python -m geometrycrafter.training.tiny begin runs/tiny/hub
	$(BIN)/geometrycrafter train prior tiny-prior -o runs/tiny/prior
	$(BIN)/geometrycrafter train autoencoder tiny-autoencoder -o runs/tiny/autoencoder
	$(BIN)/geometrycrafter train vae tiny-vae-field -o runs/tiny/vae-field
	$(BIN)/geometrycrafter train vae tiny-vae -o runs/tiny/vae
	$(BIN)/geometrycrafter train unet tiny-unet-deterministic -o runs/tiny/unet-deterministic
	for run in unet-diffusion vae-light unet-deterministic-decoded unet-diffusion-decoded; do \
		mkdir -p runs/tiny/$$run && ln -sfn ../unet-deterministic/latents runs/tiny/$$run/latents || exit 1; done
	$(BIN)/geometrycrafter train unet tiny-unet-diffusion -o runs/tiny/unet-diffusion
	rm -rf runs/tiny/shipped && cp -r runs/tiny/hub runs/tiny/shipped
	$(BIN)/geometrycrafter train vae tiny-vae-light -o runs/tiny/vae-light
	$(BIN)/geometrycrafter train unet tiny-unet-deterministic-decoded -o runs/tiny/unet-deterministic-decoded
	$(BIN)/geometrycrafter train unet tiny-unet-diffusion-decoded -o runs/tiny/unet-diffusion-decoded
	$(BIN)/python -m geometrycrafter.training.tiny package runs/tiny/shipped

clean:
	rm -rf .venv demo-output
