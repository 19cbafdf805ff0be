#!/usr/bin/env bash
# Installs lavapipe, Mesa's software Vulkan device, in one known version: results and speed depend on it.
# Debian 12's own Mesa 22 lacks f16, so it comes from backports. Needs root where something is to be installed.
set -euo pipefail

version=25.0.7-2~bpo12+1
suite=bookworm-backports

installed() { dpkg-query -W -f '${Status} ${Version}\n' "$1" 2>/dev/null || true; }

if [ "$(installed mesa-vulkan-drivers)" = "install ok installed $version" ] && [[ "$(installed libvulkan1)" == "install ok installed "* ]]; then
  exit 0
fi

name=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}" || true)
if [ "$name" != bookworm ] || ! command -v apt-get >/dev/null; then
  echo "lavapipe $version is for Debian 12; whatever Vulkan device this machine has is used" >&2
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  echo "installing lavapipe $version needs root" >&2
  exit 1
fi

# The machine's own mirror: in files of either format, any of which may be missing.
shopt -s nullglob
lists=(/etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list)
[ ! -f /etc/apt/sources.list ] || lists+=(/etc/apt/sources.list)
if [ ${#lists[@]} -eq 0 ]; then
  echo "this machine names no package source in /etc/apt" >&2
  exit 1
fi
if ! grep -qE "^[^#]*\b$suite\b" "${lists[@]}"; then
  # `URIs: A B` (deb822) or `deb [options] A suite …`; the main archive ends in /debian.
  mirror=$(awk '/^URIs:/ || /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /\/debian\/?$/) { print $i; exit } }' "${lists[@]}")
  if [ -z "$mirror" ]; then
    echo "no package source in /etc/apt ends in /debian: cannot tell where $suite is" >&2
    exit 1
  fi
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  options=$([ ! -f $keyring ] || echo "[signed-by=$keyring] ")
  echo "deb $options$mirror $suite main" >/etc/apt/sources.list.d/backports.list
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q </dev/null
apt-get install -y -q --allow-downgrades -t "$suite" "mesa-vulkan-drivers=$version" libvulkan1 </dev/null
