#!/usr/bin/env bash
# Installs Debian's Chromium where no Chromium is there, for the test that opens the report in a browser, and prints its
# path. Needs root where it is to be installed.
set -euo pipefail

find_one() { command -v chromium || command -v chromium-browser || command -v google-chrome || command -v chrome; }

if find_one; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "no Chromium is there; install one, or set SARDONYX_CHROMIUM to its path" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "installing Chromium needs root" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
{
  apt-get update -q
  apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core
} </dev/null >&2
find_one
