# What a stranger needs first: `make demo` and `make test`.

GO       ?= go
FUZZTIME ?= 1m
PARTS     = $(or $(AKPROX_PARTS),$(HOME)/.cache/akprox/parts)
# One version, named in e2e/parts/parts.txt.
LINTER    = $(PARTS)/golangci-lint-$(shell awk '$$1 == "golangci-lint" { print $$2 }' e2e/parts/parts.txt)

.PHONY: demo build test parts lint bench soak fuzz mutations licences sbom vuln clean

# Not go run, and no shell: both call Ctrl-C an error.
demo: ## Run the program with a built-in sign-in, to look at it in a browser.
	@mkdir -p build
	@$(GO) build -o build/akprox-demo ./cmd/akprox
	@build/akprox-demo demo $(if $(LISTEN),--listen $(LISTEN))

build: ## Build bin/akprox, static.
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/akprox ./cmd/akprox

# -trimpath: another clone reuses what this one has compiled. -count=1: what a
# test starts may have changed although the test has not. GORACE: else each
# program sleeps for a second as it ends.
test: export GORACE = atexit_sleep_ms=100
test: parts ## Run all tests, the end-to-end ones against real parts included.
	$(GO) test -race -trimpath -count=1 -timeout 20m ./...

parts: ## Get the real proxies, issuers and so on that are not here yet.
	scripts/parts.sh

lint: ## Check the form and the usual mistakes.
	@scripts/parts.sh golangci-lint
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(LINTER) run ./...

bench: ## Measure, in under a quarter of an hour; CASE=WORDS measures the lines that hold them. The table is in build/bench.md too.
	@mkdir -p build
	$(GO) run ./bench -markdown build/bench.md

soak: parts ## Ten minutes of many instances while things break, and the figures of docs/many-instances.md.
	AKPROX_SOAK=$(or $(SOAK),10m) $(GO) test -v -parallel 1 -timeout 60m \
		-run '^(TestSoak|TestEndIsSeenEverywhere|TestSeenSessionsAskNothing|TestSizeOfSessions)$$' ./e2e

fuzz: ## Run every fuzz target for FUZZTIME (1m).
	@grep -rn --include='*_test.go' -E '^func Fuzz[A-Za-z0-9_]*\(' . | \
		sed -E 's|^(.*)/[^/]*:[0-9]+:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | sort | \
		while read -r dir target; do \
			echo "== $$dir $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" || exit 1; \
		done

mutations: ## Weaken the code in some thirty places, one at a time; a test must fail for each.
	$(GO) run ./scripts/mutations

licences: ## Write docs/licences.md, the licences of what is linked.
	$(GO) run ./scripts/licences

sbom: build ## Write build/sbom.json, the modules in bin/akprox, as CycloneDX.
	$(GO) run ./scripts/licences -sbom build/sbom.json bin/akprox

vuln: ## Look for known holes in what is linked. Needs a network, and is not part of CI.
	@scripts/vuln.sh

clean: ## Remove what was built. The parts stay.
	rm -rf bin build
