#!/bin/sh
# Unpacks the ARM libraries that a cross-build of everything needs (cmake --preset aarch64) into a
# folder. Nothing is installed and nothing of this system changes: the packages are Debian's for
# arm64, fetched by apt with lists of its own. Needs apt and a connection, not root.
# usage: aarch64_sysroot.sh [FOLDER]    (default: build/aarch64-sysroot)
set -eu
cd "$(dirname -- "$0")/.."
folder=${1:-build/aarch64-sysroot}
packages="libc6 libc6-dev linux-libc-dev libcrypt1 libcrypt-dev libgcc-s1 libstdc++6 libjansson4
    libjansson-dev zlib1g zlib1g-dev libjpeg62-turbo libjpeg62-turbo-dev libpng16-16 libpng-dev
    libcmocka0 libcmocka-dev"

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$folder" "$state/lists/partial" "$state/cache/archives/partial"
folder=$(CDPATH='' cd -- "$folder" && pwd)

apt() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User= \
        -o Dir::State::lists="$state/lists" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$state/cache" "$@" >"$state/log" 2>&1 || {
        tail -n 5 "$state/log" >&2
        echo "$0: apt-get $1 failed" >&2
        exit 1
    }
}

apt update
cd "$state"
# shellcheck disable=SC2086
apt download $packages
for package in *.deb; do
    dpkg-deb -x "$package" "$folder"
done
echo "ARM libraries: $folder"
