#!/usr/bin/env python3
"""clang-format would change nothing. Exit 77 (skipped) without clang-format 14: other versions lay
out some constructs differently.

usage: format.py ROOT
"""

import os
import re
import shutil
import subprocess
import sys

VERSION = "14"


def find_formatter():
    for name in ("clang-format-" + VERSION, "clang-format"):
        path = shutil.which(name)
        if path:
            said = subprocess.run([path, "--version"], stdout=subprocess.PIPE, text=True).stdout
            if re.search(r"version %s\." % VERSION, said):
                return path
    return None


def main():
    root = sys.argv[1]
    formatter = find_formatter()
    if formatter is None:
        print("SKIPPED: clang-format %s is not installed; the layout is NOT checked" % VERSION)
        return 77
    files = [os.path.join(path, name)
             for folder in ("src", "cli", "include", "tests", "bench", "examples")
             for path, _, names in os.walk(os.path.join(root, folder))
             for name in sorted(names) if name.endswith((".c", ".h"))]
    check = [formatter, "--dry-run", "-Werror", "--style=file"]
    planted = subprocess.run([formatter, "-Werror", "--dry-run", "--style=LLVM"],
                             input="int  a ;\n", stderr=subprocess.DEVNULL, text=True)
    if planted.returncode == 0:
        print("self-test: badly laid out text was accepted")
        return 1
    done = subprocess.run(check + files, stderr=subprocess.PIPE, text=True)
    wrong = sorted(set(re.findall(r"^(.+?):\d+:\d+: error", done.stderr, flags=re.M)))
    for file in wrong:
        print("%s: run clang-format -i on it" % os.path.relpath(file, root))
    print("format: %d files, %d to be formatted" % (len(files), len(wrong)))
    return 1 if done.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
