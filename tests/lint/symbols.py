#!/usr/bin/env python3
"""The shared library exports what include/bitprop.h declares, all of it and nothing else; the
static library's global names all begin with bp_ (nothing else hides its rooms from a program).

usage: symbols.py NM HEADER SHARED STATIC
"""

import re
import subprocess
import sys


def defined(nm, options, library):
    text = subprocess.run([nm, *options, "--defined-only", library], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    rows = (line.split() for line in text.splitlines())
    return {row[2].split("@")[0] for row in rows if len(row) == 3 and row[1] != "A"}


def main():
    nm, header, shared, static = sys.argv[1:]
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
    print("\n".join(wrong))
    print("symbols: %d exported, %d in the static library, %d wrong"
          % (len(exported), len(archived), len(wrong)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
