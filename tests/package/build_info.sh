#!/bin/sh
# The header with the commit of the build follows the work tree, is left alone while nothing changed,
# and names no commit where there is none: an archive without git, even inside another work tree.
# usage: build_info.sh CMAKE SOURCE_FOLDER; 77: skipped, there is no git
set -eu
cmake=$1 source=$2
command -v git >/dev/null || exit 77
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE # set where a hook of git runs the tests
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
header=$scratch/build_info.h
tree=$scratch/tree

commit_change() {
    echo "$1" >"$tree/file"
    git -C "$tree" add file
    git -C "$tree" -c user.name=x -c user.email=x -c commit.gpgsign=false commit -q -m "$1"
}

expect() { # pattern, what was done, work tree
    "$cmake" -DSOURCE="$3" -DGIT="$(command -v git)" -DBP_VERSION=1.2.3 -DOUT="$header" \
        -DIN="$source/src/train/build_info.h.in" -P "$source/cmake/build_info.cmake"
    if ! grep -qx '#define BP_BUILD_VERSION "1.2.3"' "$header" ||
        ! grep -Eqx "#define BP_BUILD_COMMIT \"$1\"" "$header"; then
        cat "$header"
        echo "build_info: $2: expected $1" >&2
        exit 1
    fi
    echo "ok: $2"
}

mkdir -p "$tree/archive"
expect '' 'no git' "$tree"
git -C "$tree" init -q
commit_change one
first=$(git -C "$tree" rev-parse HEAD | cut -c1-12)
expect "$first" 'a commit' "$tree"
touch -d @1000000000 "$header"
expect "$first" 'the same commit' "$tree"
[ "$(stat -c %Y "$header")" = 1000000000 ] || { echo "build_info: written again" >&2; exit 1; }
echo edited >"$tree/file"
expect "$first-dirty" 'an edited file' "$tree"
commit_change two
expect "$(git -C "$tree" rev-parse HEAD | cut -c1-12)" 'the next commit' "$tree"
expect '' 'an archive inside a work tree' "$tree/archive"
