#!/usr/bin/env python3
"""The shared library exports what include/bitprop.h declares, all of it and nothing else; the
static library's global names all begin with bp_ (nothing else hides its rooms from a program).

usage: symbols.py NM CC HEADER SHARED STATIC   (CC builds the library of the self-test)
"""

import os
import re
import subprocess
import sys
import tempfile

# One sound name, and one of each violation.
PLANTED_HEADER = """
BP_API int bp_good(void);
BP_API int bp_absent(int (*call)(void));
"""
PLANTED_SOURCE = """
#define EXPORTED __attribute__((visibility("default")))
EXPORTED int bp_good(void) { return 0; }
EXPORTED int bp_extra(void) { return 0; }
int stray(void) { return 0; }
"""
PLANTED_WRONG = ["bp_extra: exported", "bp_absent: declared", "stray: a global name"]


def defined(nm, options, library):
    text = subprocess.run([nm, *options, "--defined-only", library], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    rows = (line.split() for line in text.splitlines())
    return {row[2].split("@")[0] for row in rows if len(row) == 3 and row[1] != "A"}


def check(nm, header, shared, static):
    """What is wrong, a line each; and how many names are exported and archived."""
    with open(header, encoding="utf-8") as text:
        code = re.sub(r"/\*.*?\*/|^#.*?$", "", text.read(), flags=re.S | re.M)
    declared = set(re.findall(r"\bBP_API\b[^;()]*?(\w+)\(", code))
    exported = defined(nm, ["-D"], shared)
    archived = defined(nm, ["-g"], static)
    wrong = ["%s: exported, but not declared" % name for name in sorted(exported - declared)]
    wrong += ["%s: declared, but not exported" % name for name in sorted(declared - exported)]
    wrong += ["%s: a global name of the static library without bp_" % name
              for name in sorted(archived) if not name.startswith("bp_")]
    if not declared or not archived:
        wrong.append("no names found: is %s the header, %s the library?" % (header, static))
    return wrong, len(exported), len(archived)


def self_test(nm, cc):
    """The planted violations are found, each by its own line, and nothing else is."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("planted.h", "planted.c", "planted.so", "planted.o")
        header, source, shared, static = (os.path.join(folder, name) for name in names)
        for path, text in ((header, PLANTED_HEADER), (source, PLANTED_SOURCE)):
            with open(path, "w", encoding="utf-8") as out:
                out.write(text)
        for flags in (["-shared", "-o", shared], ["-c", "-o", static]):
            subprocess.run([cc, "-fPIC", "-fvisibility=hidden", *flags, source], check=True)
        wrong, _, _ = check(nm, header, shared, static)
    return len(wrong) == len(PLANTED_WRONG) and all(map(str.startswith, wrong, PLANTED_WRONG))


def main():
    nm, cc, *files = sys.argv[1:]
    if not self_test(nm, cc):
        print("self-test: the planted names were not found")
        return 1
    wrong, exported, archived = check(nm, *files)
    print("\n".join(wrong))
    print("symbols: %d exported, %d in the static library, %d wrong"
          % (exported, archived, len(wrong)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
