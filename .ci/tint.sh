#!/usr/bin/env bash
# Makes a Python environment with Dawn, which carries Tint, Chrome's WGSL compiler, in $1. Prints its interpreter. Safe to run again.
set -euo pipefail

version=0.32.0.4
root=$1
if [ "$(cat "$root/version" 2>/dev/null || true)" != "$version" ]; then
  python3 -m venv --clear "$root" 2>/dev/null || {
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv && python3 -m venv --clear "$root"
  } </dev/null >&2
  "$root/bin/pip" install -q --disable-pip-version-check "wgpudawn==$version" numpy >&2
  echo "$version" >"$root/version"
fi
echo "$root/bin/python"
