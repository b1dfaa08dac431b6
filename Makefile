# `make` lists the targets. Everything that takes long is kept in ${XDG_CACHE_HOME:-~/.cache}/drydock-lab.
#
#   make test KUBECONFIG=FILE IMAGES=registry.example/drydock POSTGRES_HOST=ADDRESS
#
# uses a cluster that exists instead of the lab: it must be able to pull $(IMAGES)/drydock:dev and $(IMAGES)/orders:…,
# and its pods to reach this machine at ADDRESS. An exported KUBECONFIG is ignored on purpose: tests create and delete,
# and must not meet a cluster that was not named for them.

CARGO ?= cargo
# Properties try the same cases in every run, so that only a change makes them fail; `make soak` looks for others.
export PROPTEST_RNG_SEED ?= 1
LAB := tests/lab/lab
TARGET := x86_64-unknown-linux-gnu
BINARY := $(CURDIR)/target/$(TARGET)/release/drydock
STATIC := RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"'

# Tests in a cluster are those in tests/cluster_*.rs.
all_tests := $(basename $(notdir $(wildcard tests/*.rs)))
cluster_tests := $(filter cluster_%,$(all_tests))
quick_tests := tidy crd_files docs
server_tests := $(filter-out cluster_% $(quick_tests),$(all_tests))

ifeq ($(origin KUBECONFIG),command line)
export KUBECONFIG := $(abspath $(KUBECONFIG))
export DRYDOCK_TEST_IMAGES := $(IMAGES)
export DRYDOCK_TEST_POSTGRES_HOST := $(POSTGRES_HOST)
cluster :=
else
unexport KUBECONFIG
cluster := lab-up
# Test programs run in the lab's network, where the cluster is.
in_cluster := CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(CURDIR)/$(LAB) exec"
endif

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install the Debian packages that are missing
	@tests/lab/setup

.PHONY: check
check: ## the quick part: format, lints, unit tests; no servers
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	$(CARGO) test --quiet --lib --bins $(addprefix --test ,$(quick_tests))

.PHONY: test
test: check test-servers test-cluster ## everything, on real servers and a real cluster

.PHONY: test-servers
test-servers: postgres ## integration tests on PostgreSQL 18, or DRYDOCK_TEST_PG=13
	$(CARGO) test --quiet $(addprefix --test ,$(server_tests))

.PHONY: test-matrix
test-matrix: postgres ## the same on PostgreSQL 13 to 18
	@for major in 13 14 15 16 17 18; do echo "PostgreSQL $$major"; DRYDOCK_TEST_PG=$$major $(MAKE) --no-print-directory test-servers || exit; done

.PHONY: soak
soak: postgres ## properties with other cases in each run, and many; the application beside 50 rehearsals
	env -u PROPTEST_RNG_SEED PROPTEST_CASES=20000 $(CARGO) test --quiet --lib
	env -u PROPTEST_RNG_SEED MODEL_CASES=200000 $(CARGO) test --quiet --test rehearsal_model
	TRAFFIC_RUNS=50 $(CARGO) test --quiet --test round_trip_traffic -- --nocapture

.PHONY: test-cluster
test-cluster: postgres release $(cluster) ## tests in the cluster
ifneq ($(cluster_tests),)
	$(in_cluster) DRYDOCK_TEST_BINARY=$(BINARY) $(CARGO) test --quiet $(addprefix --test ,$(cluster_tests))
endif

.PHONY: demo
demo: release ## see it work: without a cluster, then with one
	DRYDOCK=$(BINARY) demo/run

.PHONY: bench
bench: release ## measure what docs/performance.md says: ratios within one run, and their bounds
	DRYDOCK=$(BINARY) benches/run

.PHONY: release
release: ## the static binary
	$(STATIC) $(CARGO) build --quiet --release --locked --target $(TARGET)
	@echo $(BINARY)

.PHONY: image
image: release ## the binary as drydock.local/drydock:dev, in the lab
	$(LAB) image drydock $(BINARY)

.PHONY: postgres
postgres: ## PostgreSQL servers 13 to 18, into the cache
	@$(LAB) postgres install

.PHONY: lab-up
lab-up: ## a real Kubernetes on this machine (the first time it is built: about 15 minutes)
	@$(LAB) up

.PHONY: lab-down
lab-down: ## end it and leave nothing behind
	@$(LAB) down
