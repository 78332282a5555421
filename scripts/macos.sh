#!/usr/bin/env bash
# Type-checks the binary for macOS, from Linux: what is Linux's own must stay behind spawnpoint/src/embedded.rs. C parts (SQLite,
# ring) are compiled by zig, which brings macOS's headers, from PyPI. No part of scripts/test.sh: it needs rustup's server.
#   bash scripts/macos.sh [aarch64|x86_64]
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arch=${1:-aarch64}
target=$arch-apple-darwin
tools=$SPAWNPOINT_ROOT/target/macos
[ -x "$tools/bin/python" ] || { python3 -m venv "$tools" && "$tools/bin/pip" -q install ziglang==0.13.0; }
cat >"$tools/cc" <<SH
#!/bin/sh
# Zig has one option for what Apple's compiler is told in three.
for argument; do
  shift
  case \$argument in
    --target=* | -arch | arm64 | x86_64 | -mmacosx-version-min=*) ;;
    *) set -- "\$@" "\$argument" ;;
  esac
done
exec "$tools/bin/python" -m ziglang cc -target $arch-macos "\$@"
SH
printf '#!/bin/sh\nexec "%s" -m ziglang ar "$@"\n' "$tools/bin/python" >"$tools/ar"
chmod +x "$tools/cc" "$tools/ar"
rustup target add "$target" "$arch-unknown-linux-musl"
export "CC_${target//-/_}=$tools/cc" "AR_${target//-/_}=$tools/ar" CRATE_CC_NO_DEFAULTS=1 RUSTFLAGS=-Dwarnings
cargo check --locked -q --target "$target" -p spawnpoint
file "$(ls -t target/"$target"/debug/build/spawnpoint-*/out/game | head -n 1)" | grep -q 'ELF.*statically linked\|ELF.*static-pie' ||
  die "the demo's game is no program for Linux"
step "the binary type-checks for $target, and its game is a program for Linux"
