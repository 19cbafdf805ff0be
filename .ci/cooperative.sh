#!/usr/bin/env bash
# Makes a Debian 13 beside this system, in $1, with Mesa 26 or later, whose lavapipe has cooperative matrices: a system of its own since
# it needs a newer C library than Debian 12's. Prints the command that runs a program with its libraries and its Vulkan device.
set -euo pipefail

suite=trixie
root=$1
icd=$root/usr/share/vulkan/icd.d/lvp_icd.json

if [ ! -f "$icd" ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "making a Debian 13 needs root" >&2
    exit 1
  fi
  command -v debootstrap >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q debootstrap; } </dev/null >&2
  . "$(dirname "$0")/mirror.sh"
  rm -rf "$root"
  debootstrap --variant=minbase "$suite" "$root" "$mirror" >&2
  echo "deb $mirror $suite-backports main" >"$root/etc/apt/sources.list.d/backports.list"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service is to start
  chmod +x "$root/usr/sbin/policy-rc.d"
  chroot "$root" sh -c "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -t $suite-backports mesa-vulkan-drivers libvulkan1" </dev/null >&2
fi
version=$(chroot "$root" dpkg-query -W -f '${Version}' mesa-vulkan-drivers)
echo "lavapipe $version" >&2
echo "env VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd $root/lib64/ld-linux-x86-64.so.2 --library-path $root/usr/lib/x86_64-linux-gnu"
