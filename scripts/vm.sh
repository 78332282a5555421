#!/usr/bin/env bash
# Runs the embedded runtime under other kernels, in a virtual machine: Debian with its own kernel and systemd, pure cgroup v2
# (or v1, or hybrid), where `spawnpoint doctor`, the demo, the service of docs/operating.md and the tests of `driver-oci` and
# `network` are played. Nothing of the guest survives; everything is kept in target/vm and made once.
#   bash scripts/vm.sh                           Debian 12, cgroup v2
#   bash scripts/vm.sh --groups v1               the same with v1 (or: hybrid)
#   bash scripts/vm.sh --kernel bullseye         another Debian's kernel (5.10; trixie: 6.12)
#   bash scripts/vm.sh --arch arm64              another architecture, emulated: slow
#   bash scripts/vm.sh --broken                  where it cannot run: what `doctor` and `auto` say
#   bash scripts/vm.sh --only doctor,demo        some of the steps of scripts/vm/guest.sh
#   bash scripts/vm.sh --as-built                with the programs of the last run
# Needs root and Debian's qemu-system-x86 (qemu-system-arm and gcc-aarch64-linux-gnu for arm64), debootstrap, cpio,
# e2fsprogs. With /dev/kvm about three minutes; without it, and for arm64, it is emulated: about ten times that.
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arch=amd64
suite=bookworm
groups=v2
steps=
broken=
linker=()
fast=
as_built=
limit=
while [ $# -gt 0 ]; do
  case $1 in
    --arch) arch=$2 && shift ;;
    --kernel) suite=$2 && shift ;;
    --groups) groups=$2 && shift ;;
    --only) steps=$2 && shift ;;
    --limit) limit=$2 && shift ;;
    --broken) broken=1 ;;
    --as-built) as_built=1 ;;
    *) die "unknown option $1; they are listed at the top of scripts/vm.sh" ;;
  esac
  shift
done

[ -z "$broken" ] || steps=refused,rights
work=$SPAWNPOINT_ROOT/target/vm
mirror=${SPAWNPOINT_DEBIAN_MIRROR:-http://deb.debian.org/debian}
# What the tests call and a host has.
packages=systemd,systemd-sysv,nftables,iproute2,procps,kmod,iptables,curl,util-linux
# What the guest's first program loads, with all that they need; the guest loads the rest itself, as any Debian.
first_modules='virtio_pci virtio_mmio virtio_blk ext4'
mkdir -p "$work"

case $arch in
  amd64)
    target=x86_64-unknown-linux-gnu out=target/debug strip=strip cargo_target=()
    machine=(qemu-system-x86_64 -machine q35)
    # There is a KVM that runs kernels only that were built for it (PVM, inside of some clouds): it is none for Debian's.
    if [ -w /dev/kvm ] && [ ! -e /sys/module/kvm_pvm ]; then
      fast=1 machine+=(-accel kvm -cpu host)
    else
      machine+=(-accel "tcg,thread=multi" -cpu max)
    fi
    console=ttyS0
    ;;
  arm64)
    target=aarch64-unknown-linux-gnu out=target/aarch64-unknown-linux-gnu/debug strip=aarch64-linux-gnu-strip
    cargo_target=(--target "$target")
    # What is told of lines is stripped anyway.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_PROFILE_DEV_DEBUG=0
    machine=(qemu-system-aarch64 -machine virt -accel "tcg,thread=multi" -cpu "max,pauth-impdef=on")
    console=ttyAMA0
    ;;
  *) die "no such architecture here: $arch (amd64 or arm64)" ;;
esac
# Seconds of a guest's life.
[ -n "$limit" ] || { [ -n "$fast" ] && limit=900 || limit=7200; }

# What is missing is named; this is a test of its own, which nobody has to be able to run.
for tool in "${machine[0]}" debootstrap cpio mke2fs dpkg-deb depmod $strip; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || {
    step "skipped: $tool is not installed (Debian: apt-get install qemu-system-x86 qemu-system-arm debootstrap cpio e2fsprogs kmod gcc-aarch64-linux-gnu)"
    exit 0
  }
done
[ "$(id -u)" = 0 ] || die "run this as root: the guest's files belong to it"

# ---- the guest's files ----------------------------------------------------------------------------------------------

# package NAME SUITE: the path of a Debian package below the mirror.
index() {
  local file=$work/Packages-$1-$arch
  [ -s "$file" ] || curl -fsS "$mirror/dists/$1/main/binary-$arch/Packages.xz" | xz -d >"$file" || die "no list of packages of $1"
  printf '%s\n' "$file"
}

# fetch SUITE PACKAGE FOLDER: unpacks a package there.
fetch() {
  local list path
  list=$(index "$1") || exit 1
  path=$(awk -v name="$2" '$1 == "Package:" { ours = $2 == name } ours && $1 == "Filename:" { print $2; exit }' "$list")
  [ -n "$path" ] || die "$1 has no package $2"
  curl -fsS "$mirror/$path" -o "$work/fetched-$$.deb" || die "cannot fetch $path"
  mkdir -p "$3" && dpkg-deb -x "$work/fetched-$$.deb" "$3" && rm "$work/fetched-$$.deb"
}

# The kernel of a suite: the package that the one without a number names.
make_kernel() {
  kernel=$work/kernel-$suite-$arch
  if [ ! -e "$kernel/done" ]; then
    local list name
    list=$(index "$suite") || exit 1
    # The cloud's variant is the smallest that has all that is needed.
    name=$(awk -v name="linux-image-cloud-$arch" '$1 == "Package:" { ours = $2 == name }
      ours && $1 == "Depends:" { print $2; exit }' "$list")
    step "fetching the kernel $name"
    rm -rf "$kernel"
    fetch "$suite" "$name" "$kernel"
    [ -d "$kernel/usr/lib/modules" ] && ln -sfn usr/lib "$kernel/lib"
    version=$(basename "$(echo "$kernel"/lib/modules/*)")
    depmod -b "$kernel" "$version" || die "depmod"
    touch "$kernel/done"
  fi
  version=$(basename "$(echo "$kernel"/lib/modules/*)")
  image=$kernel/boot/vmlinuz-$version
}

# Debian, unpacked and set up by hand: its own scripts would need the guest's processor.
make_root() {
  root=$work/$arch
  [ -e "$root/done" ] && return
  step "fetching Debian 12 for $arch"
  rm -rf "$root"
  debootstrap --foreign --arch=$arch --variant=minbase --include=$packages bookworm "$root" "$mirror" \
    >"$work/debootstrap.log" 2>&1 || die "debootstrap failed: $work/debootstrap.log"
  local deb
  for deb in "$root"/var/cache/apt/archives/*.deb; do
    # Over the links that make /bin and /lib parts of /usr.
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root" || die "cannot unpack $deb"
  done
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root/debootstrap"
  # In a container, debootstrap makes a link of it.
  rm -f "$root/proc" && mkdir -p "$root"/{proc,sys,dev,run,usr/local/bin}
  cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  ln -sf bash "$root/bin/sh" && ln -sf mawk "$root/usr/bin/awk"
  for tool in iptables ip6tables iptables-save iptables-restore; do ln -sfn xtables-nft-multi "$root/usr/sbin/$tool"; done
  : >"$root/etc/machine-id"
  echo guest >"$root/etc/hostname"
  echo '127.0.0.1 localhost guest' >"$root/etc/hosts"
  # Who is logged in at a console is nobody's business here.
  ln -sf /dev/null "$root/etc/systemd/system/getty.target"
  mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
  cat >"$root/etc/systemd/system/tests.service" <<UNIT
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash $SPAWNPOINT_ROOT/guest.sh
StandardOutput=file:/dev/console
StandardError=inherit
TimeoutStartSec=infinity
UNIT
  ln -sf ../tests.service "$root/etc/systemd/system/multi-user.target.wants/tests.service"
  mkdir -p "$root$SPAWNPOINT_ROOT"
  touch "$root/done"
}

# disk FILE SIZE FOLDER: a file system of what is in a folder.
disk() { rm -f "$1" && truncate -s "$2" "$1" && mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$3" "$1" || die "mke2fs $1"; }

# The first program and what it loads.
make_initramfs() {
  local tree=$work/initramfs-tree-$suite-$arch module file
  rm -rf "$tree" && mkdir -p "$tree"/{bin,dev,proc,sys,new,modules}
  fetch_busybox && cp "$work/busybox-$arch/bin/busybox" "$tree/bin/busybox"
  cp "$SPAWNPOINT_ROOT/scripts/vm/init" "$tree/init" && chmod +x "$tree/init"
  for module in $first_modules; do
    # Each with those that it needs first; what is part of the kernel has none.
    modprobe -d "$kernel" -S "$version" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++' >"$work/modules-$suite-$arch"
  while read -r file; do
    case $file in
      *.xz) xz -dc "$file" >"$tree/modules/$(basename "$file" .xz)" ;;
      *) cp "$file" "$tree/modules/" ;;
    esac
    basename "$file" .xz >>"$tree/modules/order"
  done <"$work/modules-$suite-$arch"
  (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs-$suite-$arch" || die "cpio"
}

fetch_busybox() {
  [ -x "$work/busybox-$arch/bin/busybox" ] || fetch bookworm busybox-static "$work/busybox-$arch"
}

# ---- what is tested -------------------------------------------------------------------------------------------------

# The programs by the paths that they were built with: tests know each other by those.
make_payload() {
  local tree=$work/payload-tree-$arch program
  step "building what is to run in the guest ($target)"
  cargo build --locked -q "${cargo_target[@]}" -p spawnpoint || die "the build failed"
  : >"$work/programs-$arch"
  case $steps in
    "" | *conformance* | *faults* | *network* | *driver_oci*)
      cargo test --locked -q --no-run --message-format=json "${cargo_target[@]}" -p spawnpoint-driver-oci -p spawnpoint-network \
        | grep -o '"executable":"[^"]*"' | cut -d'"' -f4 >"$work/programs-$arch" || die "the build of the tests failed"
      ;;
  esac
  rm -rf "$tree" && mkdir -p "$tree/$out" "$tree/target/tmp" "$tree/${out%/debug}/tmp"
  for program in "$SPAWNPOINT_ROOT/$out/spawnpoint" $(cat "$work/programs-$arch"); do
    mkdir -p "$tree/$(dirname "${program#"$SPAWNPOINT_ROOT"/}")"
    $strip -g -o "$tree/${program#"$SPAWNPOINT_ROOT"/}" "$program" || die "strip $program"
  done
  # The tests' own game is built by rustc where they run; here it is what the product carries.
  cp "$(find "$SPAWNPOINT_ROOT/$out/build" -path '*/spawnpoint-*/out/game' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)" "$tree/game"
  [ $arch = amd64 ] || linker=(-C linker=aarch64-linux-gnu-gcc)
  rustc --target "$target" --edition 2024 -C target-feature=+crt-static -C opt-level=s -C panic=abort "${linker[@]}" \
    --crate-name abuse "$SPAWNPOINT_ROOT/crates/game/src/bin/abuse/main.rs" -o "$tree/abuse" || die "the abuser does not build"
  {
    printf 'OUT=%s\n' "$SPAWNPOINT_ROOT/$out"
    sed "s|^.*/\([a-z_]*\)-[0-9a-f]*$|\1 &|" "$work/programs-$arch" | awk '$1 !~ "/" { printf "TEST_%s=%s\n", $1, $2 }'
  } >"$tree/programs"
}

# ---- the run --------------------------------------------------------------------------------------------------------

# boot NAME KERNEL_ARGUMENTS...: one life of a guest. Its console is the report.
boot() {
  local name=$1 report=$work/report-$1.txt
  shift
  step "booting $name (Linux $version, at most $limit s); its console: $report"
  timeout "$limit" "${machine[@]}" -smp 2 -m 2048 -nographic -no-reboot -nic none \
    -kernel "$image" -initrd "$work/initramfs-$suite-$arch" \
    -append "console=$console quiet panic=-1 mitigations=off no_timer_check systemd.show_status=0 vm.root=$SPAWNPOINT_ROOT $*" \
    -drive "file=$work/root-$suite-$arch.ext4,format=raw,if=none,id=root,snapshot=on" -device virtio-blk-pci,drive=root \
    -drive "file=$work/payload-$arch.ext4,format=raw,if=none,id=payload,snapshot=on" -device virtio-blk-pci,drive=payload \
    </dev/null >"$report" 2>&1
  local status=$?
  [ $status != 124 ] || echo "=== the time was over" >>"$report"
  tr -d '\r' <"$report" | grep -a '^=== ' | sed "s/^===/    /"
  tr -d '\r' <"$report" | grep -aq '^=== all went well' && return 0
  step "FAILED: $name; the end of its console:"
  tr -d '\r' <"$report" | tail -n 40
  return 1
}

make_kernel
make_root
step "making the disks"
cp -a "$kernel/lib/modules/." "$root/lib/modules/" 2>/dev/null || { mkdir -p "$root/lib/modules" && cp -a "$kernel/lib/modules/." "$root/lib/modules/"; }
disk "$work/root-$suite-$arch.ext4" 3G "$root"
make_initramfs
[ -n "$as_built" ] && [ -e "$work/payload-tree-$arch/programs" ] || make_payload
cp "$SPAWNPOINT_ROOT"/{scripts/vm/guest.sh,docs/operating.md} "$work/payload-tree-$arch/"
disk "$work/payload-$arch.ext4" 1G "$work/payload-tree-$arch"

case $groups in
  v2) mode=(systemd.unified_cgroup_hierarchy=1) ;;
  hybrid) mode=(systemd.unified_cgroup_hierarchy=0) ;;
  v1) mode=(systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1) ;;
  *) die "no such control groups: $groups (v2, hybrid or v1)" ;;
esac

failed=0
if [ -n "$broken" ]; then
  boot "without-memory-groups" "${mode[@]}" cgroup_disable=memory vm.steps=refused vm.word=cgroup_disable=memory || failed=1
  boot "without-overlay" "${mode[@]}" module_blacklist=overlay vm.steps=refused vm.word=overlay || failed=1
  boot "without-nftables" "${mode[@]}" module_blacklist=nf_tables vm.steps=refused vm.word=nf_tables || failed=1
  boot "with-less-rights" "${mode[@]}" vm.steps=rights || failed=1
else
  boot "$suite-$arch-$groups" "${mode[@]}" ${steps:+vm.steps=$steps} || failed=1
fi
[ $failed = 0 ] && step "all went well"
exit $failed
