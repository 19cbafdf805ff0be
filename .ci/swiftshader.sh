#!/usr/bin/env bash
# Takes SwiftShader, a Vulkan device in software with nothing of Mesa's in it, out of Debian's Chromium packages: unpacked into $1, not
# installed. Prints the file to name in VK_DRIVER_FILES. Safe to run again.
#
# Its version is Chromium's, and Debian keeps only the newest: it is printed, not chosen.
set -euo pipefail

root=$1
icd=$root/vk_swiftshader_icd.json
packages=(chromium chromium-common) # the one that holds it has changed before

if [ ! -f "$icd" ]; then
  command -v apt-get >/dev/null || { echo "unpacking SwiftShader needs apt-get" >&2; exit 1; }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work" # apt downloads as a user of its own
  # What apt knows may be older than what the mirror still has.
  (cd "$work" && { apt-get download -q "${packages[@]}" || { apt-get update -q && apt-get download -q "${packages[@]}"; }; }) </dev/null >&2
  for package in "$work"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work" --wildcards --no-wildcards-match-slash \
      './usr/lib/chromium/libvk_swiftshader.so' './usr/lib/chromium/vk_swiftshader_icd.json' 2>/dev/null || true
  done
  found=$work/usr/lib/chromium
  if [ ! -f "$found/libvk_swiftshader.so" ] || [ ! -f "$found/vk_swiftshader_icd.json" ]; then
    echo "the packages ${packages[*]} hold no libvk_swiftshader.so" >&2
    exit 1
  fi
  dpkg-deb -f "$work"/chromium_*.deb Version >"$found/version"
  mkdir -p "$root"
  cp "$found/libvk_swiftshader.so" "$found/version" "$root/"
  # The file that is looked for comes last: a copy that was broken off is made again.
  cp "$found/vk_swiftshader_icd.json" "$icd"
fi
echo "SwiftShader of chromium $(cat "$root/version")" >&2
echo "$icd"
