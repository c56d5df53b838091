#!/usr/bin/env python3
"""Includes go one way: checks every #include under src/, cli/ and include/ against the rooms below.

usage: includes.py ROOT         prints violations, exits 1 if there are any
       includes.py --self-test  plants violations in a scratch tree and expects to find each
"""

import os
import re
import sys
import tempfile

# What a room may include besides itself. cli is outside: it sees bitprop.h only.
ROOMS = {
    "base": set(),
    "kernels": {"base"},
    "ops": {"kernels", "base"},
    "fp32": {"ops", "base"},
    "nn": {"fp32", "ops", "kernels", "base"},
    "data": {"base"},
    "io": {"base"},
    "report": {"base"},
    "train": {"nn", "fp32", "ops", "kernels", "data", "io", "report", "base"},
}

# The public header is for its implementation; base/status.h takes bp_status from it.
PUBLIC_USERS = re.compile(r"^(src/bitprop\.c|src/train/.*|src/base/status\.h)$")

# A system header (pattern) and the only files that may include it.
SYSTEM = [
    (r"(dnnl|oneapi)", r"src/fp32/fp32_onednn\.c"),
    (r"omp\.h$", r"src/fp32/fp32_onednn\.c"),
    (r"pthread\.h$", r"src/base/(threads|ahead)\.c"),
    (r"zlib\.h$", r"src/(data/.*|train/system_info)\.c"),
    (r"(jpeglib|jerror|jmorecfg|jconfig)\.h$", r"src/data/image_jpeg\.c"),
    (r"png\.h$", r"src/data/image_png(_write)?\.c"),
    (r"jansson\.h$", r"src/(io|train|report)/.*\.(c|h)"),
    (r"(.*intrin|cpuid)\.h$", r"src/(kernels/x86/.*|base/cpu\.c)"),
    (r"arm_.*\.h$", r"src/kernels/arm/.*"),
]

# Written at configure time, outside the tree, and the only files that may include it.
GENERATED = {"build_info.h": r"src/train/system_info\.c"}

SOURCE = (".c", ".h", ".def", ".inc", ".py", ".sh")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')


def files_under(root, folders, endings):
    for folder in folders:
        for path, names, files in os.walk(os.path.join(root, folder)):
            names.sort()
            for name in sorted(files):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(path, name), root)


def why_not(root, file, quote, target):
    """The reason against this include, or None."""
    if quote == "<":
        if target == "bitprop.h":
            return 'write "bitprop.h"'
        for header, allowed in SYSTEM:
            if re.match(header, target) and not re.fullmatch(allowed, file):
                return "only %s may include it" % allowed.replace("\\", "")
        return None
    if target.startswith(".") or "/../" in target or "/./" in target:
        return "write the path from src/ as root"
    if target == "bitprop.h":
        allowed = file.startswith("cli/") or PUBLIC_USERS.match(file)
        return None if allowed else "the public header is for cli/ and its implementation"
    if re.fullmatch(GENERATED.get(target, "(?!)"), file):
        return None
    room, _, rest = target.partition("/")
    if not rest:
        return "write the path from src/ as root"
    if file.startswith("include/"):
        return "the public header includes nothing of ours"
    if file.startswith("cli/"):
        if room != "cli":
            return "the program includes bitprop.h and its own headers only"
        where = root
    else:
        own = file.split("/")[1]
        where = os.path.join(root, "src")
        if room not in ROOMS:
            return "no such room"
        if own == "bitprop.c":
            own = "train"
        if own not in ROOMS:
            return "this file is in no room"
        if room != own and room not in ROOMS[own]:
            return "room %s may include %s only" % (own, ", ".join(sorted(ROOMS[own])) or "itself")
    if not os.path.isfile(os.path.join(where, target)):
        return "no such file"
    return None


def violations(root):
    found = []
    for file in files_under(root, ["src", "cli", "include"], (".c", ".h", ".def", ".inc")):
        with open(os.path.join(root, file), encoding="utf-8") as text:
            for number, line in enumerate(text, 1):
                match = INCLUDE.match(line)
                if match:
                    reason = why_not(root, file, match.group(1), match.group(2))
                    if reason:
                        found.append("%s:%d: includes %s: %s"
                                     % (file, number, match.group(2), reason))
    seen = {}
    for file in files_under(root, ["src", "cli", "include", "tests", "bench", "tools"], SOURCE):
        name = os.path.basename(file)
        if name in seen:
            found.append("%s: has the name of %s; file names are unique in the tree"
                         % (file, seen[name]))
        seen[name] = file
    return found


# file, text, a word of the expected violation (None: clean)
PLANTED = [
    ("src/base/a.h", "", None),
    ("src/kernels/k.h", '#include "base/a.h"\n#include <stdint.h>\n', None),
    ("src/ops/o.h", '#include "kernels/k.h"\n', None),
    ("src/nn/n.h", '#include "ops/o.h"\n#include "base/a.h"\n', None),
    ("src/io/i.h", '#include "base/a.h"\n', None),
    ("src/train/t.c", '#include "nn/n.h"\n#include "io/i.h"\n#include "bitprop.h"\n', None),
    ("src/bitprop.c", '#include "bitprop.h"\n#include "train/t.c"\n', None),
    ("src/fp32/fp32_onednn.c", "#include <omp.h>\n", None),
    ("src/fp32/fp32_onednn.c", '#include <oneapi/dnnl/dnnl.h>\n#include "ops/o.h"\n', None),
    ("cli/cli.h", "", None),
    ("cli/main.c", '#include "bitprop.h"\n#include "cli/cli.h"\n', None),
    ("include/bitprop.h", "#include <stddef.h>\n", None),
    ("src/train/system_info.c", '#include "build_info.h"\n', None),
    ("src/base/b0.c", '#include "build_info.h"\n', "src/ as root"),
    ("src/base/b1.c", '#include "kernels/k.h"\n', "room base may include itself only"),
    ("src/kernels/b2.c", '#  include "ops/o.h"\n', "room kernels may include base only"),
    ("src/fp32/b3.c", '#include "kernels/k.h"\n', "room fp32 may include"),
    ("src/io/b4.c", '#include "nn/n.h"\n', "room io may include base only"),
    ("src/ops/b5.c", '#include "../base/a.h"\n', "src/ as root"),
    ("src/ops/b6.c", '#include "o.h"\n', "src/ as root"),
    ("src/ops/b7.c", '#include "base/absent.h"\n', "no such file"),
    ("src/nn/b8.c", "#include <dnnl.h>\n", "only src/fp32/fp32_onednn.c may"),
    ("src/nn/b9.c", "#include <omp.h>\n", "may include it"),
    ("src/data/image_jpeg.c", "#include <jpeglib.h>\n", None),
    ("src/data/b15.c", "#include <png.h>\n", "only src/data/image_png(_write)?.c may"),
    ("src/nn/b10.c", '#include "bitprop.h"\n', "public header is for"),
    ("src/ops/b11.c", "#include <immintrin.h>\n", "may include it"),
    ("cli/b12.c", '#include "base/a.h"\n', "bitprop.h and its own headers"),
    ("include/b13.h", '#include "base/a.h"\n', "nothing of ours"),
    ("src/stray/b14.c", '#include "base/a.h"\n', "in no room"),
    ("tests/unit/o.h", "", "file names are unique"),
]


def self_test():
    with tempfile.TemporaryDirectory() as root:
        for file, text, _ in PLANTED:
            os.makedirs(os.path.dirname(os.path.join(root, file)), exist_ok=True)
            with open(os.path.join(root, file), "w", encoding="utf-8") as out:
                out.write(text)
        found = violations(root)
    wrong = 0
    for file, _, words in PLANTED:
        own = [line for line in found if re.match(re.escape(file) + ":", line)]
        right = not own if words is None else len(own) == 1 and words in own[0]
        if not right:
            print("%s: expected %r, got %r" % (file, words, own))
            wrong += 1
    print("self-test: %d planted, %d judged wrong" % (len(PLANTED), wrong))
    return wrong


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    found = violations(sys.argv[1])
    print("\n".join(found) if found else "includes: no violation")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
