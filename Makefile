# Each target can be run on a bare Debian 12 with git, make and Python 3.11: it sets up what it needs first.

BIN := .venv/bin

.PHONY: help setup images demo demo-wordpress test lint bench bench-cluster bench-network bench-scale faults simulate mutations

help:
	@echo 'make setup   install Debian packages and .venv/bin/vault, .venv/bin/vaultd (as root)'
	@echo 'make images  build busybox, mysql and wordpress images from Debian packages into .cache/images'
	@echo 'make demo    run the main job from start to end, as a person would type it'
	@echo 'make demo-wordpress  WordPress on a cluster of three nodes, seen by a headless chromium through each of them'
	@echo 'make test    check the code and run every test'
	@echo 'make lint    ruff, mypy and the import contracts'
	@echo 'make bench   measure, and compare with Docker Swarm where Docker Engine is at hand'
	@echo 'make bench-cluster  the same for three managers and a worker: creates, fail-over, dead workers, drains'
	@echo 'make bench-network  the same for overlay networks: requests along each way, names, starts'
	@echo 'make bench-scale  the scheduler alone; all deciders; a manager with a thousand simulated nodes: tasks assigned, nodes lost, memory'
	@echo 'make simulate  play 1,000 seeded histories of a cluster against the real deciders (docs/reliability.md)'
	@echo 'make mutations break each decider on purpose and see that the simulator notices'
	@echo 'make faults  break clusters in every way there is, by seed; goes on where it stopped (docs/reliability.md)'

setup:
	@deploy/setup.sh

images: setup
	@$(BIN)/python deploy/images/build.py

demo: setup images
	@deploy/demo/run

demo-wordpress: images
	@deploy/setup.sh chromium
	@$(BIN)/python deploy/demo/wordpress.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup images lint
	$(BIN)/pytest --numprocesses 3

bench: setup images
	$(BIN)/python -m bench

bench-cluster: setup images
	$(BIN)/python -m bench.cluster

bench-network: setup images
	$(BIN)/python -m bench.network

bench-scale: setup images
	$(BIN)/python -m bench.schedule
	$(BIN)/python -m bench.control
	$(BIN)/python -m bench.scale

faults: setup images
	$(BIN)/python -m tests.cluster.campaign

simulate: setup
	$(BIN)/python -m tests.sim --histories 1000

mutations: setup
	$(BIN)/python -m tests.sim.mutations
