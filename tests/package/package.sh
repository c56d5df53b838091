#!/bin/sh
# Installs a build into a scratch prefix and uses it from outside: through pkg-config and through
# find_package, shared and static each time. Also after the prefix was moved.
# usage: package.sh CMAKE CC VERSION BUILD_FOLDER SOURCE_FOLDER
set -eu
cmake=$1 cc=$2 version=$3 build=$4 source=$5
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "package: $*" >&2
    exit 1
}

expect_version() { # program, how it was made
    said=$("$1") || fail "the program made through $2 does not run"
    [ "$said" = "bitprop $version" ] || fail "the program made through $2 says '$said'"
    echo "ok: $2"
}

"$cmake" --install "$build" --prefix "$scratch/first" >"$scratch/log" 2>&1 ||
    { cat "$scratch/log"; fail "cmake --install fails"; }
mv "$scratch/first" "$scratch/moved"
prefix=$scratch/moved
pc=$(find "$prefix" -name bitprop.pc)
[ -n "$pc" ] || fail "bitprop.pc is not installed"
if grep -rlF -e "$build" -e "$source" -e "$scratch" --include='*.pc' --include='*.cmake' \
    --include='*.h' "$prefix"; then
    fail "the files above name a folder of the build"
fi
libdir=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$(dirname "$pc")${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
[ "$(pkg-config --modversion bitprop)" = "$version" ] || fail "pkg-config names another version"

# shellcheck disable=SC2046 # words are wanted
"$cc" -Wall -Wextra -Werror "$source/tests/package/outside.c" -o "$scratch/shared" \
    $(pkg-config --cflags --libs bitprop)
LD_LIBRARY_PATH=$libdir expect_version "$scratch/shared" "pkg-config, shared"

flags=$(pkg-config --static --cflags --libs bitprop | sed 's/-lbitprop/-l:libbitprop.a/')
# shellcheck disable=SC2086
"$cc" -Wall -Wextra -Werror "$source/tests/package/outside.c" -o "$scratch/static" $flags
LD_LIBRARY_PATH='' expect_version "$scratch/static" "pkg-config, static"

"$cmake" -S "$source/tests/package/outside" -B "$scratch/outside" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_PREFIX_PATH="$prefix" -DWANTED="$version" >"$scratch/log" 2>&1 &&
    "$cmake" --build "$scratch/outside" >>"$scratch/log" 2>&1 ||
    { cat "$scratch/log"; fail "find_package does not serve a project"; }
expect_version "$scratch/outside/outside_shared" "find_package, shared"
expect_version "$scratch/outside/outside_static" "find_package, static"

if [ -x "$prefix/bin/bitprop" ]; then
    "$prefix/bin/bitprop" --version | grep -qF "$version" || fail "the installed program fails"
    echo "ok: the installed program"
    "$prefix/bin/bitprop" manual | cmp - "$prefix/share/man/man1/bitprop.1" ||
        fail "the installed manual page is not the program's"
    "$prefix/bin/bitprop" completion bash |
        cmp - "$prefix/share/bash-completion/completions/bitprop" ||
        fail "the installed completion for bash is not the program's"
    "$prefix/bin/bitprop" completion zsh | cmp - "$prefix/share/zsh/site-functions/_bitprop" ||
        fail "the installed completion for zsh is not the program's"
    echo "ok: the installed manual page and completions"
fi
