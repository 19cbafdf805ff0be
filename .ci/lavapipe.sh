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

. "$(dirname "$0")/mirror.sh"
if ! grep -qE "^[^#]*\b$suite\b" "${lists[@]}"; then
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  options=$([ ! -f $keyring ] || echo "[signed-by=$keyring] ")
  echo "deb $options$mirror $suite main" >/etc/apt/sources.list.d/backports.list
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q </dev/null
apt-get install -y -q --allow-downgrades -t "$suite" "mesa-vulkan-drivers=$version" libvulkan1 </dev/null
