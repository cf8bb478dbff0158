PYTHON ?= python3
SCALE  ?= demo
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := lab,dev,site,sweep$(if $(shell command -v nvidia-smi),$(comma)gpu)
comma  := ,
# What explorers have compiled is kept for the user: the next time they open sooner.
KEPT   := JAX_COMPILATION_CACHE_DIR="$${JAX_COMPILATION_CACHE_DIR:-$$($(BIN)/python -c \
          'import pooch; print(pooch.os_cache("inrlib") / "compiled")')}" \
          JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.1
ROOT   := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help lab test check slow notebooks rehearse site bench regrets weights gallery format lock clean

help:        ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

lab: $(VENV)/ready        ## open JupyterLab on the notebooks (and let photographs of 100 MB pass)
	$(KEPT) $(BIN)/jupyter lab $(ROOT) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
	    --ServerApp.tornado_settings='{"websocket_max_message_size": 100000000}'

test: $(VENV)/ready       ## unit tests, notebooks, browser tests
	$(BIN)/pytest

check: $(VENV)/ready      ## lint and unit tests: no notebooks, no browser
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/pytest -m 'not (notebook or browser or install or slow)'

slow: $(VENV)/ready       ## every case of every property, every explorer in the browser (over an hour)
	$(BIN)/pytest -m slow

notebooks: $(VENV)/ready  ## execute every notebook into build/ (SCALE=paper for published sizes)
	$(BIN)/python tools/notebooks.py --scale $(SCALE)

rehearse: $(VENV)/ready   ## how long SCALE=paper would take on this machine (an hour)
	$(BIN)/python tools/rehearse.py

site: $(VENV)/ready       ## make build/site of the executed notebooks and of site/
	$(BIN)/python tools/website.py

bench: $(VENV)/ready      ## print speed ratios
	$(BIN)/python tools/bench.py

regrets: $(VENV)/ready    ## what each rule for ω0 and σ loses, in dB (an hour; goes on where it was stopped)
	$(BIN)/python tools/regrets.py

weights: $(VENV)/ready    ## train the weights that the package ships (says first how long)
	$(BIN)/python tools/weights.py

gallery: $(VENV)/ready    ## redraw docs/gallery, the README's badges and counts from build/
	$(BIN)/python tools/gallery.py

format: $(VENV)/ready     ## ruff: lint and format code and notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/ready       ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --universal --upgrade --quiet --all-extras --no-emit-index-url \
	    --no-emit-find-links --no-annotate --no-header --no-emit-package inrlib \
	    --output-file requirements.lock pyproject.toml

clean:       ## remove the environment and all that was built
	rm -rf $(VENV) build

# The environment: made once, and again when the pins change.
$(VENV)/ready: pyproject.toml requirements.lock postBuild
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS)]'
	PATH="$(CURDIR)/$(BIN):$$PATH" ./postBuild
	touch $@
