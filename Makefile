# `make help` lists the targets.

.PHONY: help deps servers quick hermetic live test test-connect check chaos chaos-kafka nightly fuzz deny demo page bench bench-page path man dist \
	deploy-check deploy-tools manifests clean

SERVERS = --quiet --package wal2graph-servers -- fetch

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

deps: ## What Debian has to install: PostgreSQL, Maven, a Java, compilers, headers
	@./deploy/install-dependencies

servers: deps ## Fetches the real servers that tests and demo use
	cargo run $(SERVERS)

quick: ## The tests that need no server, without Kafka and the simulation: Rust and a C compiler will do
	cargo test --no-default-features --lib --test hermetic -- --skip simulation::

hermetic: deps ## The tests that need no server: seconds
	cargo test --lib --test hermetic

live: servers ## The tests against real servers
	cargo test --features live --test live

test: servers ## Every test, on a machine with nothing prepared
	cargo test --workspace --features live

test-connect: servers ## Kafka Connect with Debezium's connectors, fetched: reads what publish writes, writes what apply reads
	cargo test --features live --test live -- --ignored kafka::connect kafka::debezium

check: deps ## What CI runs: format, lints, docs, every test, and how long each took
	@# Servers come while the compiler works; a stage below waits for them. Live tests wait for servers more
	@# than they compute: twice as many threads as processors.
	@(cargo run $(SERVERS) >/dev/null 2>&1 &)
	@.ci/stages \
		'format' 'cargo fmt --all --check' \
		'lints' 'cargo clippy --workspace --all-targets --features live -- -D warnings' \
		'lints without Kafka' 'cargo clippy --no-default-features --lib --bins -- -D warnings' \
		'documentation' 'RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet' \
		'compile' 'cargo test --workspace --features live --no-run' \
		'servers are there' 'cargo run $(SERVERS)' \
		'hermetic' 'cargo test --workspace --features live --lib --bins --test hermetic' \
		'servers' 'cargo test --workspace --features live --test servers' \
		'live' 'RUST_TEST_THREADS=4 cargo test --workspace --features live --test live' \
		'chaos' 'MINUTES=$${CHAOS_MINUTES:-2} $(MAKE) chaos' \
		'chaos through Kafka' 'MINUTES=$${CHAOS_MINUTES:-2} $(MAKE) chaos-kafka'

chaos: servers ## Everything breaks at once for MINUTES (2), from SEED: what the graph shows stays right
	cargo test --features live --test live -- --exact --include-ignored --nocapture \
		chaos::whatever_breaks_the_graph_shows_states_of_the_tables_and_equals_them_at_the_end

chaos-kafka: servers ## The same through a topic, with one publish, two apply and a broker that breaks
	cargo test --features live --test live -- --exact --include-ignored --nocapture \
		chaos::topic::whatever_breaks_beside_a_topic_the_graph_equals_the_tables_at_the_end

nightly: servers fuzz deny ## What takes longer: ten times the histories from any seed, all rounds, fuzzing, without Kafka
	from=$${FROM:-$$(date +%s)}; FROM=$$from HISTORIES=$${HISTORIES:-120000} \
		cargo test --release --test hermetic simulation:: -- --nocapture
	cargo test --no-default-features --lib --test hermetic
	THOROUGH=1 cargo test --workspace --features live -- --include-ignored

fuzz: deps ## Each fuzz target for SECONDS_EACH (60), with coverage
	fuzz/run

deny: ## Licences and sources of what is depended on; known holes, where their list can be reached
	command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny check licenses bans sources
	@if cargo deny fetch db; then cargo deny check advisories; \
	else echo "The list of known holes can not be fetched: it was not looked at." >&2; fi

demo: deps ## A real PostgreSQL becomes a real graph, before your eyes
	@# Neo4j comes while the compiler works; the last but one step waits for it.
	@(cargo run --profile demo $(SERVERS) demo >/dev/null 2>&1 &)
	cargo build --profile demo --no-default-features --bins --package wal2graph --package wal2graph-demo
	cargo run --profile demo $(SERVERS) demo
	cargo run --profile demo --quiet --package wal2graph-demo

page: servers ## Pictures of the page in each state, by chromium: target/pictures
	cargo test --features live --test live -- --exact --ignored page::the_page_shows_each_state_in_a_browser

bench: servers ## Measures it on real servers; PARTS="drain copy" for some of it, ROUNDS=n
	cargo build --release --package wal2graph --package wal2graph-bench
	target/release/wal2graph-bench $(PARTS) --rounds $(or $(ROUNDS),5)

bench-page: ## Writes docs/benchmarks.md from the last run of all parts
	cargo build --release --package wal2graph-bench
	target/release/wal2graph-bench --page docs/benchmarks.md

path: ## Allocations and instructions of a change on its way through the program
	cargo build --release --package wal2graph-bench
	target/release/wal2graph-path

man: ## The manual pages, into target/man
	cargo run --quiet -- man target/man

dist: ## What a release consists of, into target/shipped: program, manuals, completions, licences, sums
	deploy/dist

deploy-check: ## deploy/, docker-compose.yml and Dockerfile, read by the tools that they are for
	deploy/check

deploy-tools: ## Builds these tools into target/tools: needs Go
	GOBIN=$(CURDIR)/target/tools go install github.com/prometheus/prometheus/cmd/promtool@v0.316.0
	GOBIN=$(CURDIR)/target/tools go install helm.sh/helm/v3/cmd/helm@v3.22.0
	GOBIN=$(CURDIR)/target/tools go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
	GOBIN=$(CURDIR)/target/tools go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	GOBIN=$(CURDIR)/target/tools go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2
	mv target/tools/cmd target/tools/compose-go

manifests: ## Renders deploy/kubernetes from the Helm chart
	PATH=$(CURDIR)/target/tools:$$PATH helm template shop deploy/helm/wal2graph > deploy/kubernetes/wal2graph.yaml

clean: ## Removes what was built, and the fetched servers
	cargo clean
