# Sourced: this machine's package sources in `lists`, files of either format, any of which may be missing; and in `mirror` the one of
# the main archive, which ends in /debian. Ends the script where there is none; `suite` says what is looked for.
shopt -s nullglob
lists=(/etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list)
[ ! -f /etc/apt/sources.list ] || lists+=(/etc/apt/sources.list)
if [ ${#lists[@]} -eq 0 ]; then
  echo "this machine names no package source in /etc/apt" >&2
  exit 1
fi
# `URIs: A B` (deb822) or `deb [options] A suite …`.
mirror=$(awk '/^URIs:/ || /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /\/debian\/?$/) { print $i; exit } }' "${lists[@]}")
if [ -z "$mirror" ]; then
  echo "no package source in /etc/apt ends in /debian: cannot tell where $suite is" >&2
  exit 1
fi
