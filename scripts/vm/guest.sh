#!/usr/bin/env bash
# What is played inside the guest of scripts/vm.sh, as a service of its systemd. A line that begins with "===" is told outside.
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
. "$ROOT/programs"
spawnpoint=$OUT/spawnpoint
failed=0

argument() { tr ' ' '\n' </proc/cmdline | sed -n "s/^vm\.$1=//p"; }

# play NAME SECONDS COMMAND...: a step, with its outcome.
play() {
  local name=$1 seconds=$2 begin status
  shift 2
  printf '\n--- %s\n' "$name"
  begin=$(date +%s%N)
  timeout -k 5 "$seconds" "$@" 2>&1
  status=$?
  printf '\n=== %s: exit %s after %s ms\n' "$name" $status $((($(date +%s%N) - begin) / 1000000))
  [ $status = 0 ] || failed=1
}

# The tests compile their game and their abuser where they run; here a compiler that hands out those that are there does.
fake_rustc() {
  # shellcheck disable=SC2016 # for the script that is written
  printf '#!/bin/sh\nmade=game\nfor last; do case $last in *abuse/main.rs) made=abuse ;; esac; done\ncp %s/$made "$last"\n' "$ROOT" >/usr/local/bin/rustc
  chmod +x /usr/local/bin/rustc
}

# test_of NAME: the path of a test program.
test_of() { eval "printf '%s' \"\${TEST_$1:?}\""; }

suite() {
  export RUSTC=/usr/local/bin/rustc SPAWNPOINT_REQUIRE_DOCKER=1
  fake_rustc
  cd "$ROOT" && "$(test_of "$1")" --nocapture --test-threads=2
}

call() { curl -sS -m 10 -H "Authorization: token $(cat /var/lib/spawnpoint/admin-token)" -H "Content-Type: application/json" "$@"; }

# field NAME: of the JSON that is read.
field() { sed "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/"; }

# up SECONDS COMMAND...: until the command succeeds.
up() {
  local left=$(($1 * 10))
  shift
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ $left -gt 0 ] || { echo "in vain waited for: $*"; return 1; }
    sleep 0.1
  done
}

answers() {
  local answer=
  exec 9<>"/dev/udp/127.0.0.1/$1" || return 1
  echo ping >&9
  IFS= read -r -t 1 answer <&9
  exec 9>&-
  [ -n "$answer" ]
}

has_status() { call "$API/v1/status/$ID" | grep -q "Status.$1"; }

# The unit of docs/operating.md, to the letter: a match outlives a restart, a stop and a kill of the service.
service() {
  set -e
  install -m 755 "$spawnpoint" /usr/local/bin/spawnpoint
  awk '/^```ini/ { unit = 1; next } /^```/ { unit = 0 } unit' "$ROOT/operating.md" >/etc/systemd/system/spawnpoint.service
  : >/etc/spawnpoint.toml
  mkdir -p /var/lib/spawnpoint
  systemctl daemon-reload
  spawnpoint --data-dir /var/lib/spawnpoint image demo
  systemctl start spawnpoint
  export API=http://127.0.0.1:8080
  up 20 curl -fsS "$API/monitor"
  call "$API/v1/app" -d '{"name": "arena", "is_active": true, "image": ""}'
  call "$API/v1/app/arena/version" -d '{"name": "v1", "docker_repository": "localhost", "docker_image": "spawnpoint-demo",
    "docker_tag": "0.1.0", "req_cpu": 256, "req_memory": 256,
    "ports": [{"name": "game", "port": 7777, "protocol": "UDP", "to_check": true}]}'
  ID=$(call "$API/v2/deployments" -d '{"application": "arena", "version": "v1",
    "users": [{"user_type": "ip_address", "user_data": {"ip_address": "203.0.113.7"}}]}' | field request_id)
  up 20 has_status READY
  port=$(call "$API/v1/status/$ID" | field external)
  up 5 answers "$port"
  game=$(pgrep -nx game)
  echo "the match is process $game, of $(tr '\n' ' ' <"/proc/$game/cgroup")"
  for blow in "systemctl restart spawnpoint" "systemctl kill -s KILL spawnpoint" "systemctl stop spawnpoint"; do
    $blow
    up 5 answers "$port"
    [ -d "/proc/$game" ]
    [ "$blow" != "systemctl stop spawnpoint" ] || systemctl start spawnpoint
    up 20 curl -fsS "$API/monitor"
    up 10 has_status READY
    echo "$blow: process $game plays on, and its status is READY"
  done
  systemctl daemon-reexec
  call -X DELETE "$API/v1/stop/$ID"
  up 20 has_status TERMINATED
  if [ -d "/proc/$game" ]; then return 1; fi
  journalctl -u spawnpoint --no-pager | tail -n 40
  systemctl stop spawnpoint
}

# The same with a unit that gives each start mounts of its own. Not among what is played by itself: it is known not to work.
service_private() {
  mkdir -p /etc/systemd/system/spawnpoint.service.d
  printf '[Service]\nPrivateTmp=yes\n' >/etc/systemd/system/spawnpoint.service.d/private.conf
  service
}

# doctor and `auto` name what is missing, each in a line.
refused() {
  local word
  word=$(argument word)
  "$spawnpoint" doctor >/tmp/doctor && { cat /tmp/doctor; echo "doctor finds nothing"; return 1; }
  cat /tmp/doctor
  grep -q "^missing.*$word" /tmp/doctor || { echo "doctor does not name $word"; return 1; }
  timeout 20 "$spawnpoint" serve --data-dir /tmp/data --listen 127.0.0.1:0 >/tmp/served 2>&1
  cat /tmp/served
  [ "$(grep -c "Docker engine is used: driver oci: .*$word" /tmp/served)" = 1 ] || { echo "auto does not say why in one line"; return 1; }
}

# said WORD COMMAND...: the command fails, and a line of it that holds the word says why.
said() {
  local word=$1
  shift
  "$@" >/tmp/said 2>&1 && { cat /tmp/said; echo "this was to be refused: $*"; return 1; }
  grep -e "$word" /tmp/said || { cat /tmp/said; echo "$* does not say: $word"; return 1; }
}

# Who has less than the machine's root.
rights() {
  set -e
  export TMPDIR=/tmp
  cp "$spawnpoint" /tmp/spawnpoint && chmod 755 /tmp/spawnpoint
  said 'missing.*has to be run as root' setpriv --reuid 1000 --regid 1000 --clear-groups /tmp/spawnpoint doctor
  said 'missing.*user namespace only' setpriv --reuid 1000 --regid 1000 --clear-groups unshare --user --map-root-user --net --mount /tmp/spawnpoint doctor
  said 'missing.*lacks capabilities' setpriv --bounding-set -sys_admin --inh-caps -all /tmp/spawnpoint doctor
  said 'missing.*filters of system calls' unshare --mount sh -c 'mount -t tmpfs none /proc/sys/kernel/seccomp && exec /tmp/spawnpoint doctor'
  said 'missing.*read-only' unshare --mount sh -c 'mount -o remount,bind,ro /sys/fs/cgroup && exec /tmp/spawnpoint doctor'
  said 'missing.*mount cgroup2' unshare --mount sh -c 'umount -R /sys/fs/cgroup && exec /tmp/spawnpoint doctor'
}

# Inside a container with all rights, whose root of control groups is not the machine's and holds its processes.
container() (
  # As whoever makes containers does: those below have the controllers.
  echo +cpu +memory +pids >/sys/fs/cgroup/cgroup.subtree_control
  mkdir -p /sys/fs/cgroup/guest-container
  echo $BASHPID >/sys/fs/cgroup/guest-container/cgroup.procs
  exec unshare --cgroup --mount --net sh -c "
    umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && cat /proc/self/cgroup &&
    ip link set lo up && $spawnpoint doctor && $spawnpoint demo && ls -d /sys/fs/cgroup/*/"
)

# A step by itself.
if [ $# -gt 0 ]; then
  "$@"
  exit
fi

steps=$(argument steps)
steps=${steps:-doctor,demo,driver_oci,conformance,faults,network_units,network,service,container}
printf '=== Linux %s on %s, systemd %s, %s CPUs\n' "$(uname -r)" "$(uname -m)" "$(systemctl --version | awk 'NR == 1 { print $2 }')" "$(nproc)"
grep cgroup /proc/self/mountinfo | cut -d' ' -f5- | sed 's/^/    /'
# A host has an address and a way out; nobody is there.
ip link set lo up
ip link add way-out type dummy && ip addr add 192.0.2.10/24 dev way-out && ip link set way-out up && ip route add default via 192.0.2.1
for step in ${steps//,/ }; do
  case $step in
    doctor | demo) play "$step" 600 "$spawnpoint" "$step" ;;
    driver_oci) play "$step" 600 bash "$ROOT/guest.sh" suite spawnpoint_driver_oci ;;
    network_units) play "$step" 600 bash "$ROOT/guest.sh" suite spawnpoint_network ;;
    conformance | faults) play "$step" 3000 bash "$ROOT/guest.sh" suite "$step" ;;
    network) play "$step" 3000 bash "$ROOT/guest.sh" suite it ;;
    *) play "$step" 600 bash "$ROOT/guest.sh" "$step" ;;
  esac
done
if [ $failed = 0 ]; then echo "=== all went well"; else echo "=== something failed"; fi
sync
systemctl poweroff --force --force
