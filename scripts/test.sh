#!/usr/bin/env bash
# Every check of this project, from nothing: installs what is missing, starts a Docker engine if none runs and a
# PostgreSQL of its own, then runs them cheapest first. Ends with "N passed, N failed"; fails if anything failed.
#   bash scripts/test.sh            what CI runs; about 25 minutes the first time on two cores
#   bash scripts/test.sh --long     the same with the long forms of the crash and load tests
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

profile=default
long=
for argument in "$@"; do
  case $argument in
    --long) export SPAWNPOINT_LONG=1 profile=long long=--long ;;
    *) die "unknown option $argument; there is only --long" ;;
  esac
done

passed=0
failed=0
output=$(mktemp)

finish() {
  stop_postgres
  stop_dockerd
  rm -f "$output"
}
trap finish EXIT

# check NAME COMMAND...: one check without tests of its own to count.
check() {
  local name=$1
  shift
  step "$name"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    step "FAILED: $name"
  fi
}

# sum WORD: adds up the numbers before WORD in the result lines of cargo test and nextest.
sum() {
  grep -aE '^test result: |^ *Summary \[' "$output" | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'
}

# run_tests NAME COMMAND...: runs tests, shows their output, and counts them.
run_tests() {
  local name=$1 status
  shift
  step "$name"
  "$@" 2>&1 | tee "$output"
  status=${PIPESTATUS[0]}
  passed=$((passed + $(sum passed)))
  failed=$((failed + $(sum failed) + $(sum 'timed out')))
  # A run that died before it could count (a build error, a crash of the runner) has failed all the same.
  if [ "$status" != 0 ] && [ "$(sum failed)" = 0 ]; then failed=$((failed + 1)); fi
}

want_build_packages
want_docker_packages
want_test_packages
install_packages
ensure_rust
export CARGO_TERM_COLOR=never

if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
  check "formatting" cargo fmt --all --check
  check "clippy" cargo clippy --locked -q --workspace --all-targets -- -D warnings
else
  die "rustfmt and clippy are missing; add them with: rustup component add rustfmt clippy"
fi
# Private items are documented too, so links to them lead somewhere.
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" check "documentation" \
  cargo doc --locked -q --workspace --no-deps --document-private-items
if cargo deny --version >/dev/null 2>&1; then
  check "licences and bans of dependencies" cargo deny -L error check licenses bans sources
else
  step "skipped: licences and bans of dependencies (cargo-deny is not installed: cargo install --locked cargo-deny)"
fi

ensure_docker
# It is there now: a test that skips for want of it has found something.
export SPAWNPOINT_REQUIRE_DOCKER=1
ensure_postgres
if cargo nextest --version >/dev/null 2>&1; then
  # They wait for containers most of the time: one more than there are processors.
  run_tests "tests (nextest)" cargo nextest run --locked --workspace --profile "$profile" --no-fail-fast \
    --test-threads $(($(nproc) + 1))
else
  run_tests "tests" cargo test --locked -q --workspace --lib --bins --tests --no-fail-fast
fi
# shellcheck disable=SC2086 # nothing, or one word
check "the served descriptions against the server (schemathesis)" bash scripts/schemathesis.sh $long
run_tests "examples in the documentation" cargo test --locked -q --workspace --doc --no-fail-fast

stop_postgres
stop_dockerd
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
