#!/usr/bin/env bash
# Holds the served descriptions against the server: schemathesis makes requests from them, good and bad ones, sends them to
# the real binary with the fake driver, and checks every answer. What it may complain about, and what not, with reasons:
# scripts/schemathesis/hooks.py.
#   bash scripts/schemathesis.sh            a few cases an operation; under 90 s once it is built
#   bash scripts/schemathesis.sh --long     at least 200 cases for each operation with anything to vary, stateful runs too
# Needs python3 with venv (Debian: python3-venv); installs schemathesis from PyPI into target/schemathesis.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cases=12 least=0 phases=examples,coverage,fuzzing
for argument in "$@"; do
  case $argument in
    --long) cases=250 least=200 phases=examples,coverage,fuzzing,stateful ;;
    *)
      printf 'error: unknown option %s; there is only --long\n' "$argument" >&2
      exit 1
      ;;
  esac
done

target=${CARGO_TARGET_DIR:-target}
venv=$target/schemathesis
wanted=$(grep -v '^#' scripts/schemathesis/requirements.txt)
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r scripts/schemathesis/requirements.txt
  printf '%s\n' "$wanted" >"$venv/installed"
fi
binary=${SPAWNPOINT_BINARY:-$target/debug/spawnpoint}
[ -n "${SPAWNPOINT_BINARY:-}" ] || cargo build --locked -q -p spawnpoint

dir=$(mktemp -d "${TMPDIR:-/tmp}/spawnpoint-schemathesis.XXXXXX")
server= registry=
finish() {
  for process in $server $registry; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  rm -rf "$dir"
}
trap finish EXIT

# A port on which nothing listens, below those that the kernel gives to outgoing connections.
port=
for ((candidate = 26100; candidate < 26200; candidate += 2)); do
  if ! (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then
    port=$candidate
    break
  fi
done
[ -n "$port" ] || { echo 'error: no free port' >&2; exit 1; }
python3 scripts/schemathesis/registry.py >"$dir/registry-port" &
registry=$!
for ((i = 0; i < 100; i++)); do
  [ -s "$dir/registry-port" ] && break
  sleep 0.1
done
[ -s "$dir/registry-port" ] || { echo 'error: the registry does not start' >&2; exit 1; }
{
  printf '[api]\nlisten = "127.0.0.1:%s"\n[callback]\nport = %s\n' "$port" "$((port + 1))"
  printf '[limits]\ndeploy_per_second = 0\nstatus_per_second = 0\nlist_per_second = 0\nhosts_per_second = 0\nfailed_logins_per_second = 0\n'
  printf '[[site]]\nname = "here"\ncity = "Montreal"\ncontinent = "North America"\nlatitude = 45.5\nlongitude = -73.57\n'
  printf '[[site.host]]\nname = "host-1"\ndriver = "fake"\nport_range = "10000-24999"\n'
  printf 'capacity = { cpu_units = 1048576, memory_mib = 1048576 }\n'
  printf '[[site.host]]\nname = "host-2"\ndriver = "fake"\nport_range = "25000-25999"\nprivate_fleet = "fixture"\n'
  printf 'capacity = { cpu_units = 8192, memory_mib = 8192 }\n'
  printf '[[private_fleet]]\nname = "fixture"\n'
  printf '[registry]\nurl = "127.0.0.1:%s"\nproject = "studio"\nusername = "robot"\ntoken_file = "%s/registry-token"\n' "$(cat "$dir/registry-port")" "$dir"
} >"$dir/config.toml"
echo a-secret-for-pushing >"$dir/registry-token" && chmod 600 "$dir/registry-token"

SPAWNPOINT_ADMIN_TOKEN=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
SPAWNPOINT_TEST_URL=http://127.0.0.1:$port
export SPAWNPOINT_ADMIN_TOKEN SPAWNPOINT_TEST_URL
"$binary" serve --config "$dir/config.toml" --data-dir "$dir/data" >"$dir/log" 2>&1 &
server=$!
for ((i = 0; i < 100; i++)); do
  curl -fsS -m 2 "$SPAWNPOINT_TEST_URL/monitor" >/dev/null 2>&1 && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
curl -fsS -m 2 "$SPAWNPOINT_TEST_URL/monitor" >/dev/null || { cat "$dir/log" >&2; exit 1; }
SPAWNPOINT_TEST_MASTER_KEY=$(tr -d ' \n' <"$dir/data/master-key")
export SPAWNPOINT_TEST_MASTER_KEY

reports=${SPAWNPOINT_REPORTS:-$dir/reports}
status=0
for document in swagger.json v2/openapi.json; do
  printf '==> schemathesis: %s, %s cases an operation\n' "$document" "$cases"
  (
    cd "$dir"
    SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$OLDPWD/scripts/schemathesis PYTHONDONTWRITEBYTECODE=1 \
      SPAWNPOINT_TEST_TRIED=$dir/tried-${document//\//-} \
      "$OLDPWD/$venv/bin/schemathesis" --config-file "$OLDPWD/scripts/schemathesis/schemathesis.toml" run "$SPAWNPOINT_TEST_URL/$document" \
      --checks all --phases "$phases" --max-examples "$cases" \
      --max-response-time 15 --warnings off --no-color --report json --report-json-path "$reports/$document.report" \
      --generation-database none --generation-with-security-parameters false ${SPAWNPOINT_SEED:+--seed "$SPAWNPOINT_SEED"}
  ) || status=1
done
"$venv/bin/python" scripts/schemathesis/tried.py "$least" "$dir"/tried-* || status=1
kill -0 "$server" 2>/dev/null || { echo 'FAILED: the server has ended' >&2; tail -n 50 "$dir/log" >&2; status=1; }
"$binary" audit --config "$dir/config.toml" --data-dir "$dir/data" >"$dir/audit" 2>&1 || { cat "$dir/audit" >&2; status=1; }
exit $status
