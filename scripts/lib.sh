# Shared by demo.sh and test.sh (sourced, not run): makes a bare Debian 12 able to build and run Spawnpoint.
# Every function may be called again: it does nothing where there is nothing to do, and says in one line what it does.
# SPDX-License-Identifier: Apache-2.0

SPAWNPOINT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$SPAWNPOINT_ROOT" || exit 1

step() { printf '==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# ---- packages -------------------------------------------------------------------------------------------------------

missing_packages=()

# want PACKAGE TEST...: notes PACKAGE as missing unless the command TEST succeeds.
want() {
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing_packages+=("$package")
}

# any_file PATTERN: succeeds if a file matches the shell pattern.
any_file() { compgen -G "$1"; }

# install_packages: installs what `want` noted. Services that come with a package are not started by its installer where
# no systemd runs (a policy file that says so is there for the while), and PostgreSQL makes no system-wide cluster.
install_packages() {
  [ ${#missing_packages[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "please install what matches these Debian packages: ${missing_packages[*]}"
  [ "$(id -u)" = 0 ] || die "run this as root once, or install yourself: apt-get install ${missing_packages[*]}"
  step "installing packages: ${missing_packages[*]}"
  local log policy=/usr/sbin/policy-rc.d made_policy=
  log=$(mktemp)
  if [ ! -d /run/systemd/system ] && [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made_policy=1
  fi
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  export DEBIAN_FRONTEND=noninteractive
  local failed=
  { apt-get update && apt-get install -y --no-install-recommends "${missing_packages[@]}"; } \
    >"$log" 2>&1 </dev/null || failed=1
  [ -z "$made_policy" ] || rm -f $policy
  if [ -n "$failed" ]; then
    tail -n 20 "$log" >&2
    die "apt-get failed; its whole output is in $log"
  fi
  rm -f "$log"
  missing_packages=()
}

# want_build_packages: what compiling takes: a C compiler (SQLite, ring) and the static C library (the demo's game).
want_build_packages() {
  want gcc command -v cc
  want libc6-dev any_file '/usr/lib*/*/libc.a'
  want ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
  want curl command -v curl
}

# want_docker_packages: the engine that runs the game servers.
want_docker_packages() {
  if docker_answers; then return 0; fi
  want docker.io command -v dockerd
  want iptables command -v iptables
}

# want_test_packages: PostgreSQL, what the README's walk and the crash tests type, and OpenSSL for one test client (the crate
# `edgegap`, which nobody here wrote).
want_test_packages() {
  [ -n "${SPAWNPOINT_TEST_POSTGRES:-}" ] || want postgresql postgres_programs
  want libssl-dev test -e /usr/include/openssl/ssl.h
  want pkg-config command -v pkg-config
  want netcat-openbsd command -v nc
  # A registry with a login, and clients on other machines (network namespaces).
  want docker-registry command -v docker-registry
  want iproute2 command -v ip
  # schemathesis lives in a virtual environment of its own.
  want python3-venv python3 -c 'import ensurepip, venv'
  # `dig`, which asks the built-in name server.
  want bind9-dnsutils command -v dig
  # `openssl` makes the API's certificate in a test.
  want openssl command -v openssl
  # An authority that speaks ACME.
  want pebble command -v pebble
  # Other tools that make images, and what they put into them; `nft` shows what our own firewall rules have become.
  want buildah command -v buildah
  want umoci command -v umoci
  want skopeo command -v skopeo
  want e2fsprogs command -v mkfs.ext4
  want busybox-static command -v busybox
  want nftables command -v nft
  # The shell's own `kill` is not a program that a test can start.
  want procps any_file '/bin/kill'
}

# ---- Rust -----------------------------------------------------------------------------------------------------------

# ensure_rust: cargo, by rustup if it is not there and rustup's server can be reached.
ensure_rust() {
  [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] && PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  if ! command -v cargo >/dev/null; then
    local how="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt -c clippy"
    step "installing the Rust toolchain with rustup"
    curl --proto '=https' --tlsv1.2 -sSf --connect-timeout 10 https://sh.rustup.rs 2>/dev/null \
      | sh -s -- -y -q --profile minimal -c rustfmt -c clippy >/dev/null 2>&1
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    command -v cargo >/dev/null || die "there is no Rust toolchain and rustup could not be reached; install it with:
  $how"
  fi
  export PATH
  cargo --version >/dev/null || die "cargo does not start; the toolchain wanted is named in rust-toolchain.toml"
}

# ---- Docker ---------------------------------------------------------------------------------------------------------

docker_socket=/var/run/docker.sock
dockerd_pid=
dockerd_log=${TMPDIR:-/tmp}/spawnpoint-dockerd.log

# docker_answers: an engine can be talked to. With DOCKER_HOST set, that engine is the user's business.
docker_answers() {
  [ -z "${DOCKER_HOST:-}" ] || return 0
  [ -S $docker_socket ] && curl -fsS -m 5 --unix-socket $docker_socket http://docker/_ping >/dev/null 2>&1
}

# forget_dead_docker: a daemon that was killed leaves its notes behind, and the next one believes them and does not start.
forget_dead_docker() {
  local note pid socket=/run/containerd/containerd.sock
  for note in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    pid=$(cat $note 2>/dev/null) || continue
    case $(cat "/proc/$pid/comm" 2>/dev/null) in
      dockerd | containerd) ;;
      *) rm -f $note ;;
    esac
  done
  if [ -S $socket ]; then
    curl -s -m 2 --unix-socket $socket http://containerd/ >/dev/null 2>&1
    # 7: nobody listens.
    [ $? != 7 ] || rm -f $socket
  fi
}

# start_dockerd [OPTION...]: starts the daemon in the background; succeeds once it answers, within a minute.
start_dockerd() {
  setsid dockerd "$@" >>"$dockerd_log" 2>&1 </dev/null &
  dockerd_pid=$!
  local i
  for ((i = 0; i < 120; i++)); do
    docker_answers && return 0
    kill -0 $dockerd_pid 2>/dev/null || break
    sleep 0.5
  done
  kill $dockerd_pid 2>/dev/null
  wait $dockerd_pid 2>/dev/null
  dockerd_pid=
  return 1
}

# ensure_docker: uses the engine that runs, or starts one: by systemd if there is one, else here.
ensure_docker() {
  if docker_answers; then
    step "using the Docker engine that is running"
    return 0
  fi
  if [ -d /run/systemd/system ]; then
    step "starting Docker by systemd"
    systemctl start docker && docker_answers && return 0
    die "Docker does not answer; see: journalctl -u docker"
  fi
  [ "$(id -u)" = 0 ] || die "no Docker engine answers at $docker_socket, and only root can start one"
  step "starting dockerd (log: $dockerd_log)"
  : >"$dockerd_log"
  forget_dead_docker
  start_dockerd && return 0
  step "dockerd did not start; trying the storage driver that works everywhere, vfs"
  start_dockerd --storage-driver vfs && return 0
  tail -n 20 "$dockerd_log" >&2
  die "dockerd does not start; its log is in $dockerd_log"
}

# stop_dockerd: ends the daemon that this script started, if it did.
stop_dockerd() {
  [ -n "$dockerd_pid" ] || return 0
  kill "$dockerd_pid" 2>/dev/null
  wait "$dockerd_pid" 2>/dev/null
  dockerd_pid=
}

# ---- PostgreSQL -----------------------------------------------------------------------------------------------------

postgres_dir=

# postgres_programs: prints the directory with initdb and pg_ctl, the newest if there are several.
postgres_programs() {
  local dir
  dir=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
  if [ -z "$dir" ] && command -v initdb >/dev/null; then dir=$(dirname "$(command -v initdb)"); fi
  [ -n "$dir" ] && [ -x "$dir/initdb" ] && echo "$dir"
}

# as_postgres COMMAND...: PostgreSQL refuses to run as root.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

# free_port: prints a TCP port on which nothing listens, below the range that the kernel gives to outgoing connections.
free_port() {
  local port
  for ((port = 25432; port < 25532; port++)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo $port; return 0; }
  done
  return 1
}

# ensure_postgres: a PostgreSQL of our own in a temporary directory, named by SPAWNPOINT_TEST_POSTGRES; or the one that
# this variable names already. It keeps nothing, so it need not wait for the disk.
ensure_postgres() {
  if [ -n "${SPAWNPOINT_TEST_POSTGRES:-}" ]; then
    step "using the PostgreSQL that SPAWNPOINT_TEST_POSTGRES names"
    return 0
  fi
  local bin port
  bin=$(postgres_programs) || die "PostgreSQL is not installed (Debian: apt-get install postgresql)"
  port=$(free_port) || die "no free port for PostgreSQL"
  postgres_dir=$(mktemp -d /tmp/spawnpoint-postgres.XXXXXX)
  [ "$(id -u)" != 0 ] || chown postgres "$postgres_dir"
  step "starting a PostgreSQL of our own in $postgres_dir on port $port"
  (
    cd "$postgres_dir" || exit 1
    as_postgres "$bin/initdb" -D "$postgres_dir/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 --no-sync &&
      as_postgres "$bin/pg_ctl" -D "$postgres_dir/data" -w -l "$postgres_dir/server.log" \
        -o "-p $port -k $postgres_dir -c listen_addresses=127.0.0.1 -c max_connections=300 -c fsync=off" start
  ) >"$postgres_dir.log" 2>&1 </dev/null || {
    tail -n 20 "$postgres_dir.log" "$postgres_dir/server.log" >&2
    die "PostgreSQL does not start"
  }
  export SPAWNPOINT_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port/postgres"
}

# stop_postgres: ends and removes the PostgreSQL that this script started, if it did.
stop_postgres() {
  [ -n "$postgres_dir" ] || return 0
  (cd / && as_postgres "$(postgres_programs)/pg_ctl" -D "$postgres_dir/data" -m immediate -w stop) >/dev/null 2>&1
  rm -rf "$postgres_dir" "$postgres_dir.log"
  postgres_dir=
}
