# The two commands of the README are `make demo` and `make test`; each sets up what it needs.

PYTHON ?= python3
BIN := .venv/bin
TRAIN := .venv-train/bin

# What `make demo` shows: INPUT (image, folder, video or bag; the demo photograph where unset), the
# folder OUTPUT and further arguments ARGS. `make test ARGS='-k letterbox'` works alike.
INPUT ?= .cache/demo/small-vehicles1.jpeg
OUTPUT ?= out/demo
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup autoware demo replay-demo test lint format benchmarks train-setup train-test train-demo lock clean distclean

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One recipe for both environments; $(1) is the environment's name.
define set_up
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "set-up: '$(PYTHON)' was not found; Python 3.10 or newer is needed."; \
	  echo '    sudo apt install python3 python3-venv python3-dev g++ make'; exit 1; }
	@'$(PYTHON)' tools/setup_env.py $(1) --python '$(PYTHON)'
endef

setup:  ## Make .venv: ROS 2 from the sourced distribution, or from wheels
	$(call set_up,run)

autoware: setup  ## Add Autoware's messages to .venv, for the tests of its interface
	$(call set_up,autoware)

demo: setup  ## Detect and segment in a photograph, or in INPUT=...
	$(BIN)/perception_ros demo --input '$(INPUT)' --output '$(OUTPUT)' $(ARGS)

replay-demo: setup  ## A labelled bag, a replay that passes, a worse bundle that fails; WORSE=1: its status
	$(BIN)/python tools/replay_demo.py --data '$(DATA)' $(if $(WORSE),--worse) $(ARGS)

test: setup  ## Linters, types and all tests
	$(BIN)/python -m pytest $(ARGS)

lint: setup  ## Linters and types alone
	$(BIN)/python -m pytest -q test/test_style.py

format: setup  ## Mend what the linter can mend by itself
	$(BIN)/ruff check --fix .

# What is measured: our model and two foreign ones, at the precisions that pass the gate of
# `quantize`. A bundle that is there is not made anew: `rm -r .cache/benchmarks` starts afresh.
DATA ?= ../shared/data
BUNDLES := .cache/benchmarks
BOXES := --dataset yolo:$(DATA)/idd@training/splits/idd_val_drives.txt \
  --labels car,bus,truck,person,motorbike,bicycle
MASKS := --dataset camvid:$(DATA)/camvid@val
ROAD := --rename road=drivable
STREETS := --calibration $(DATA)/idd --calibration $(DATA)/camvid/train
GATED := $(foreach model,roadscene yolox_nano twinlitenet,$(foreach precision,fp16 int8,\
  $(BUNDLES)/$(model)_$(precision)))

$(BUNDLES)/yolox_nano:
	$(BIN)/perception_ros import $(DATA)/models/yolox_nano.onnx --output $@

$(BUNDLES)/twinlitenet:
	$(BIN)/perception_ros import $(DATA)/models/twinlitenet.onnx --output $@ \
	  --head drivable=da --labels drivable=background,drivable \
	  --head lane=ll --labels lane=background,lane

# The gate refuses what loses too much; then this precision is not there to be measured.
quantize = -$(BIN)/perception_ros quantize $(1) --precision $(lastword $(subst _, ,$@)) \
  --output $@ --no-latency $(2)

$(BUNDLES)/roadscene_%: | setup
	$(call quantize,roadscene,$(STREETS) $(BOXES) $(MASKS))

$(BUNDLES)/yolox_nano_%: | $(BUNDLES)/yolox_nano
	$(call quantize,$(BUNDLES)/yolox_nano,$(STREETS) $(BOXES))

$(BUNDLES)/twinlitenet_%: | $(BUNDLES)/twinlitenet
	$(call quantize,$(BUNDLES)/twinlitenet,$(STREETS) $(MASKS) $(ROAD))

benchmarks: setup $(GATED)  ## Measure every engine side by side; prints docs/benchmarks.md
	$(BIN)/perception_ros bench engine roadscene $(BUNDLES)/* \
	  --images $(DATA)/idd/images $(BOXES) $(MASKS) $(ROAD) --json out/benchmarks.json \
	  --markdown docs/benchmarks.md --plot docs/images/benchmarks.png $(ARGS)

train-setup:  ## Make .venv-train, the only environment with torch
	$(call set_up,train)

train-test: train-setup  ## The tests of training/
	cd training && PYTHONPATH=../tools ../$(TRAIN)/python -m pytest -p pytest_expected_skips $(ARGS)

# CamVid where it is at hand, else streets that it draws itself.
DEMO := $(if $(wildcard $(DATA)/camvid/train),camvid,shapes)

train-demo: train-setup  ## Train a small segmenter, watch it learn, deliver it; results in out/train-demo
	$(TRAIN)/perception_train demo --config training/configs/demo_$(DEMO).yaml \
	  --output out/train-demo data.root=$(DATA) $(ARGS)

lock:  ## Pin all requirements anew; UPGRADE=1 takes the newest versions
	@'$(PYTHON)' tools/lock.py $(if $(UPGRADE),--upgrade)

clean:  ## Remove what commands and tests made, but no environment
	rm -rf out build install log .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## Remove the environments and downloads too
	rm -rf .venv .venv-train .cache
