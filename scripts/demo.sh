#!/usr/bin/env bash
# The whole loop on this machine, from nothing: installs what is missing, builds Spawnpoint, installs and starts a Docker
# engine where neither the embedded runtime nor Docker runs, and ends with `spawnpoint demo`: a real container is deployed
# over HTTP, played over UDP, and stopped. May be run again; the second time it takes seconds.
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A dockerd that we started stays for the reader's own tries, unless nobody will come back to this machine.
finish() {
  [ "${CI:-}" = true ] && { stop_dockerd; return; }
  [ -z "$dockerd_pid" ] || step "dockerd keeps running for your own tries; to end it: kill $dockerd_pid"
}
trap finish EXIT

want_build_packages
install_packages
ensure_rust
step "building Spawnpoint (about 4 minutes the first time on two cores)"
cargo build --locked -q -p spawnpoint || die "the build failed"
spawnpoint=${CARGO_TARGET_DIR:-target}/debug/spawnpoint
step "$spawnpoint doctor"
if ! "$spawnpoint" doctor; then
  want_docker_packages
  install_packages
  ensure_docker
fi
step "$spawnpoint demo"
"$spawnpoint" demo
