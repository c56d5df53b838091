#!/usr/bin/env python3
"""Every header compiles alone, as C11 and as C++17, without a warning.

usage: headers.py ROOT CC CXX ARCH   (ARCH: x86 or arm; headers of the other one are left out)
"""

import os
import subprocess
import sys
import tempfile

# Headers of a tier may use its intrinsics at file scope.
AVX2 = ["-mavx2", "-mbmi", "-mbmi2", "-mf16c", "-mfma", "-mpopcnt"]
AVX512 = AVX2 + ["-mavx512" + x for x in ("f", "bw", "dq", "vl", "vbmi", "vbmi2", "vnni",
                                          "vpopcntdq", "bitalg")]
AMX = AVX512 + ["-mamx-tile", "-mamx-int8"]
OTHER = {"x86": "src/kernels/arm/", "arm": "src/kernels/x86/"}


def tier_flags(name):
    return AMX if "amx" in name else AVX512 if "avx512" in name else AVX2


def compiles(command, header, suffix, flags):
    with tempfile.NamedTemporaryFile("w", suffix=suffix) as source:
        # Twice: the guard works. A declaration, as an empty unit is not C.
        source.write('#include "%s"\n#include "%s"\nextern int bp_lint_unit;\n' % (header, header))
        source.flush()
        done = subprocess.run(command + flags + ["-fsyntax-only", source.name],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print("%s does not compile alone (%s):\n%s" % (header, suffix, done.stdout))
    return done.returncode == 0


def main():
    root, cc, cxx, arch = sys.argv[1:]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    warnings += ["-I" + os.path.join(root, folder) for folder in ("src", "include")]
    count = wrong = 0
    for folder in ("include", "src"):
        for path, _, files in os.walk(os.path.join(root, folder)):
            for name in sorted(files):
                file = os.path.join(path, name)
                shown = os.path.relpath(file, root)
                if not name.endswith(".h") or shown.startswith(OTHER.get(arch, "src/kernels/x86/")):
                    continue
                if arch not in OTHER and shown.startswith("src/kernels/arm/"):
                    continue
                tier = [] if "kernels/x86/" not in shown else tier_flags(name)
                header = os.path.relpath(file, os.path.join(root, folder))
                wrong += not compiles([cc, "-std=c11", "-Wpedantic"], header, ".c", warnings + tier)
                wrong += not compiles([cxx, "-std=c++17"], header, ".cpp", warnings + tier)
                count += 1
    # The test can fail: a header that needs another one first must be refused.
    with tempfile.NamedTemporaryFile("w", suffix=".h") as planted:
        planted.write("extern size_t bp_lint_needs_stddef;\n")
        planted.flush()
        done = subprocess.run([cc, "-std=c11", "-x", "c", "-fsyntax-only", planted.name],
                              stderr=subprocess.DEVNULL)
    if done.returncode == 0:
        print("self-test: a header that is not self-contained was accepted")
        wrong += 1
    print("headers: %d checked, %d failures" % (count, wrong))
    return 1 if wrong or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
