#!/bin/sh
# Installs the Debian packages that the named groups of tools/packages.txt need and that are missing.
# usage: install_packages.sh [--list] GROUP...
# Exit status: 0 all are there, 3 some are not (they are named; the caller may go on: the tools may
# have come by another way), 2 wrong use.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

list_only=no
if [ "${1-}" = --list ]; then
    list_only=yes
    shift
fi
if [ $# -eq 0 ]; then
    echo "usage: $0 [--list] GROUP... (groups: see tools/packages.txt)" >&2
    exit 2
fi

wanted=$(awk -v groups="$*" '
    BEGIN { n = split(groups, asked, " ") }
    /^#/ || NF < 2 { next }
    { for (i = 1; i <= n; i++) if (index("," $2 ",", "," asked[i] ",")) { print $1; next } }
' "$here/packages.txt")
if [ -z "$wanted" ]; then
    echo "$0: no package in group $*; groups stand in tools/packages.txt" >&2
    exit 2
fi
# shellcheck disable=SC2086 # one word per package from here on
set -- $wanted
if [ $list_only = yes ]; then
    printf '%s\n' "$@"
    exit 0
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is not a Debian system. What these Debian packages hold is needed:"
    echo "    $*"
    exit 3
fi

missing_of() {
    for package; do
        state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) || state=
        [ "${state#ii}" != "$state" ] || echo "$package"
    done
}

missing=$(missing_of "$@" | tr '\n' ' ')
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo env"
else
    echo "Missing packages, and neither root nor sudo without a password. Please run:"
    echo "    sudo apt-get install --no-install-recommends $missing"
    exit 3
fi

echo "Installing: $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    $as_root DEBIAN_FRONTEND=noninteractive apt-get "$@" >"$log" 2>&1 </dev/null
}
apt update || { tail -n 5 "$log"; echo "apt-get update failed; going on with the lists there are"; }
# shellcheck disable=SC2086
if ! apt install -y --no-install-recommends $missing; then
    # A release may lack one of them: the others are still wanted.
    for package in $missing; do
        apt install -y --no-install-recommends "$package" || { tail -n 2 "$log"; }
    done
fi
missing=$(missing_of "$@" | tr '\n' ' ')
[ -n "$missing" ] || exit 0
echo "Still missing: $missing"
exit 3
