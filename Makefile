# The commands of developers and of the build machine. `make` lists them.
#
# CARGO_TARGET_DIR is respected. With CI=true a suite that cannot run is a failure.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/requirements.stamp
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE_BIN := $(TARGET)/release/credenza
STATIC_BIN := $(TARGET)/$(HOST)/release/credenza
DOCKER ?= docker
OCI_IMAGE ?= credenza:latest
PROGRAM ?= $(STATIC_BIN)
PREFIX ?= /usr/local
DESTDIR ?=
# The program that the real clients use: the debug build.
export CREDENZA_BIN ?= $(abspath $(TARGET)/debug/credenza)
export SSO_FAKES ?= $(abspath $(TARGET)/debug/sso-fakes)
# Reproducible builds: the paths of this machine are not in the program.
CARGO_FOLDER := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)
REMAP := --remap-path-prefix=$(CURDIR)=/credenza --remap-path-prefix=$(CARGO_FOLDER)=/cargo --remap-path-prefix=$(abspath $(TARGET))=/target
TOOLS := .cache/tools
TOOLS_STAMP := $(TOOLS)/tools.stamp
ACTIONLINT_VERSION := 1.7.12
ACTIONLINT := .cache/actionlint/$(ACTIONLINT_VERSION)/actionlint
FUZZ_SECONDS ?= 60
RUST_CLIENT_TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR)/rust-client,$(CURDIR)/.cache/rust-client)

# For comparison in the benchmark; AWS_CLI=/usr/local/bin/aws uses an installed one.
OWN_AWS_CLI := .cache/aws-cli/aws/aws
AWS_CLI ?= $(OWN_AWS_CLI)
BESIDE = --aws "$(AWS_CLI)" --python $(VENV)/bin/python
BENCH_TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR)/bench,$(CURDIR)/.cache/bench)

# Goals follow one another: `make -j setup test` is no race.
.NOTPARALLEL:

.PHONY: help build test fmt clippy unit doc clients demo restarts soak systemd bench bench-works install uninstall dist static clean image kubernetes

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the release binary
	RUSTFLAGS="$(RUSTFLAGS) $(REMAP)" cargo build --release --locked

.PHONY: setup
setup: ## install what `make test` needs and this machine lacks: Debian packages (through sudo) and Rust components; ARGS=--all adds those of matrix, kubernetes and fuzz
	@tests/setup.sh $(ARGS)

test: ## every check: suites side by side, with a table at the end (SUITES="fmt unit" picks some); what cannot run here is skipped loudly, and fails with CI=true
	@tests/suites.sh $(SUITES)

fmt: ## lock files, and formatting of the program, the benchmark, the Rust client and the fuzz targets
	cargo fmt --all --check
	cargo fmt --manifest-path benches/Cargo.toml --check
	cargo fmt --manifest-path tests/clients/rust/Cargo.toml --check
	cargo fmt --manifest-path examples/aws-sdk/Cargo.toml --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	@# A new dependency of the program belongs into the lock files of the packages around it, too.
	@for package in examples/aws-sdk fuzz benches tests/clients/rust; do \
	  cargo metadata --locked --quiet --format-version 1 --manifest-path $$package/Cargo.toml >/dev/null; done

clippy: ## lints, warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings
	CARGO_TARGET_DIR="$(BENCH_TARGET)" cargo clippy --locked --manifest-path benches/Cargo.toml -- -D warnings

# The black-box tests mostly wait: more threads than cores.
unit: export RUST_TEST_THREADS ?= 6
unit: ## cargo test, but for the simulated days
	cargo test --locked --workspace -- --skip daemon::soak

.PHONY: simulation
simulation: ## a simulated day of random faults, one seed (make soak takes three days and more seeds)
	cargo test --locked --lib -- daemon::soak

.PHONY: compile
compile: ## builds the tests of `make unit simulation`, with the program and the fakes
	cargo test --locked --workspace --no-run

doc: ## the documentation builds, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --features aws-sdk
	cargo test --locked --doc --features aws-sdk sdk_provider

.PHONY: workflows
workflows: $(ACTIONLINT) ## lints .github/workflows, and checks that the make targets in them exist
	@tests/workflows.sh "$(ACTIONLINT)"

.PHONY: deny
deny: $(TOOLS_STAMP) ## advisories, licences, banned and duplicate crates, origins of crates
	@PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" tests/deny.sh

.PHONY: fuzz
fuzz: $(TOOLS_STAMP) ## every parser of outside input for a minute (FUZZ_SECONDS=…, ARGS="url_source auth_token" picks some)
	@PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run.sh $(ARGS)

clients: $(STAMP) debug-binary fakes ## real clients on a real S3: boto3, the AWS CLI, the AWS SDK for Rust (ARGS="-k url" picks some)
	@! command -v cargo >/dev/null || CARGO_TARGET_DIR="$(RUST_CLIENT_TARGET)" cargo build --locked --manifest-path tests/clients/rust/Cargo.toml
	$(VENV)/bin/pytest -n 2 tests/clients $(ARGS)

.PHONY: matrix
matrix: $(STAMP) debug-binary ## real clients on every way in, each cell a run; keeps docs/CLIENTS.md and the symptoms in docs/TROUBLESHOOTING.md (ARGS="--clients go2 --ways imds" runs some and keeps nothing)
	@CARGO_TARGET_DIR="$(RUST_CLIENT_TARGET)" $(VENV)/bin/python tests/clients/matrix/run.py $(if $(ARGS),$(ARGS),--write docs/CLIENTS.md --troubleshooting docs/TROUBLESHOOTING.md)

.PHONY: six
six: $(STAMP) debug-binary ## the matrix of the six most used clients: boto3, AWS CLI v2, JavaScript v3, Rust, Go v2, Java v2
	@CARGO_TARGET_DIR="$(RUST_CLIENT_TARGET)" $(VENV)/bin/python tests/clients/matrix/run.py --six $(ARGS)

.PHONY: six-brief
six-brief: ## the same clients: every behaviour on the full URI, two on each other protocol
	@$(MAKE) six ARGS=--brief

demo: $(STAMP) debug-binary ## the main use case on real parts in half a minute; KEEP=1 leaves it running
	@$(VENV)/bin/python tests/clients/demo.py

restarts: $(STAMP) debug-binary ## 200 restarts behind a socket under 8 clients, no failed request (RESTARTS=…, SEED=…)
	@$(VENV)/bin/python tests/clients/restarts.py

systemd: static ## the Debian packages and the tarball on a booted systemd (root)
	@tests/systemd/suite.sh "$(STATIC_BIN)"

soak: $(STAMP) debug-binary ## three simulated days of random faults, 20 seeds (SEED=… repeats one, SEEDS=… takes so many), and 1,000 restarts
	@HOURS=$${HOURS:-72} SEEDS=$${SEEDS:-20} RUST_BACKTRACE=0 cargo test --release --locked --lib -- daemon::soak --nocapture
	@[ -n "$${SEED:-}" ] || RESTARTS=$${RESTARTS:-1000} $(VENV)/bin/python tests/clients/restarts.py

image: $(STAMP) static ## the image, the Pod and the compose file, run with podman around a boto3 program (root; ARGS="-k pod" picks some)
	@# A network namespace: the sidecar listens on the default port, which may be in use on this machine.
	CREDENZA_STATIC_BIN="$(abspath $(STATIC_BIN))" unshare --net $(VENV)/bin/pytest tests/image $(ARGS)

kubernetes: $(STAMP) ## a real Kubernetes API server accepts the manifests (etcd, Go; builds the server once, 7 minutes of CPU)
	tests/kubernetes/apiserver.sh build
	$(VENV)/bin/pytest tests/kubernetes $(ARGS)

bench: static ## every target beside a bare hyper server, the AWS CLI and boto3, ten minutes; keeps the table in docs/PERFORMANCE.md (ARGS="load memory" measures some and keeps nothing)
	CARGO_TARGET_DIR="$(BENCH_TARGET)" cargo build --release --locked --manifest-path benches/Cargo.toml
	@# The table lists what is missing.
	@$(MAKE) --keep-going $(STAMP) $(AWS_CLI) || true
	@"$(BENCH_TARGET)/release/bench" --program "$(STATIC_BIN)" $(BESIDE) $(if $(ARGS),$(ARGS),--write docs/PERFORMANCE.md)

bench-works: debug-binary ## a test of the benchmark, too short for meaningful numbers
	@CARGO_TARGET_DIR="$(BENCH_TARGET)" cargo build --release --locked --manifest-path benches/Cargo.toml
	@"$(BENCH_TARGET)/release/bench" --program "$(CREDENZA_BIN)" $(BESIDE) --rounds 1 --turn 100 --scale 0.002

install: ## program, units, completions and manual pages below PREFIX (/usr/local); DESTDIR for packagers
	@# Under sudo there is often no cargo: the existing build is installed then.
	@if [ "$(origin RELEASE_BIN)" = file ] && command -v cargo >/dev/null; then $(MAKE) build; fi
	packaging/install.sh "$(RELEASE_BIN)" "$(DESTDIR)" "$(PREFIX)"
	@[ -n "$(DESTDIR)" ] || echo "next: systemd-sysusers && systemctl daemon-reload && systemctl enable --now credenza.service"

uninstall: ## removes what `make install` has installed (PREFIX, DESTDIR); no configuration and no keys
	@packaging/uninstall.sh "$(DESTDIR)" "$(PREFIX)"

dist: static ## a tarball and Debian packages with a static program, in dist/
	packaging/dist.sh tarball "$(STATIC_BIN)" dist
	packaging/dist.sh deb "$(STATIC_BIN)" dist

static: ## a release binary without shared libraries
	RUSTFLAGS="$(RUSTFLAGS) $(REMAP) -C target-feature=+crt-static" cargo build --release --locked --target $(HOST)

.PHONY: version release-notes oci
version: ## the version of Cargo.toml
	@sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml

release-notes: ## the part of CHANGELOG.md about this version
	@packaging/release-notes.sh "$$($(MAKE) version)"

oci: ## the image around a static program (PROGRAM=…, OCI_IMAGE=name:tag), with DOCKER=docker or podman
	rm -rf dist/image
	packaging/image-root.sh "$(PROGRAM)" dist/image
	$(DOCKER) build --target prebuilt --build-arg VERSION="$$($(MAKE) version)" \
	  --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" --tag "$(OCI_IMAGE)" --file Dockerfile dist/image

.PHONY: reproducible
reproducible: ## two builds in two folders give the same binary, dynamic and static (ten minutes and more)
	packaging/reproducible.sh $(ARGS)

clean: ## remove what was built and downloaded here
	cargo clean
	rm -rf $(VENV) .cache fuzz/target fuzz/corpus fuzz/artifacts

# Builds the program, unless the environment names another one.
.PHONY: debug-binary
debug-binary:
ifeq ($(origin CREDENZA_BIN),file)
	@cargo build --locked
endif

# The fakes of SSO, Sign-In and STS as a program for real clients, unless the environment names another one.
.PHONY: fakes
fakes:
ifeq ($(origin SSO_FAKES),file)
	@! command -v cargo >/dev/null || cargo build --locked -p testkit --bin sso-fakes
endif

# Shared by suites that run side by side.
.PHONY: venv release
venv: $(STAMP) $(TOOLS_STAMP)

release: static

# Prebuilt tools of cargo; their Python dependencies are not needed.
$(TOOLS_STAMP): tests/tools.txt
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --no-input --no-deps -r $<
	@touch $@

# Built from source: the package on PyPI only downloads a binary.
$(ACTIONLINT):
	GOBIN="$(CURDIR)/$(@D)" GOTOOLCHAIN=local go install github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT_VERSION)

$(OWN_AWS_CLI): benches/aws-cli.txt benches/aws-cli.sh | $(STAMP)
	benches/aws-cli.sh $(VENV)/bin/python .cache/aws-cli

$(STAMP): tests/clients/requirements.txt tests/image/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	  || { echo "make: $(PYTHON) is missing or older than 3.10 (make setup installs it)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make virtual environments (make setup installs them)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-input $(addprefix -r ,$^)
	@touch $@

.PHONY: bench-instructions
bench-instructions: static ## the instructions of one request beside bare hyper's, counted by callgrind (valgrind); fails above the limit
	CARGO_TARGET_DIR="$(BENCH_TARGET)" cargo build --release --locked --manifest-path benches/Cargo.toml
	@"$(BENCH_TARGET)/release/bench" --program "$(STATIC_BIN)" --hold instructions
