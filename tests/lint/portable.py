#!/usr/bin/env python3
"""The library runs on any x86-64: outside kernels/x86 no object holds an instruction beyond the
baseline (SSE2). Which tier runs is decided at run time, so a flag that leaks to another file would
be an illegal instruction on an older machine.

usage: portable.py OBJDUMP CC OBJECT_LIST_FILE
"""

import os
import re
import subprocess
import sys
import tempfile

# tzcnt is absent: compilers emit it as "rep bsf", which older processors run as bsf.
BEYOND = re.compile(
    r"(v[a-z0-9]+ .*%[xyz]mm|v[a-z0-9]+ .*%k[0-7]|vzero\w+|k[a-z]+[bwdq] .*%k[0-7]|"
    r"(ldtilecfg|sttilecfg|tile\w+|tdp\w+) ?|"
    r"(popcnt|pdep|pext|mulx|shlx|shrx|sarx|rorx|andn|bextr|lzcnt|blsr|blsi|blsmsk|crc32)[bwlq]? |"
    r"(pshufb|pmaddubsw|pmulld|pmov[sz]x\w+|ptest|palignr|pabs[bwd]|pblend\w+|round[ps][sd]) )")


def offenders(objdump, object_file):
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", object_file], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    function = "?"
    for line in text.splitlines():
        start = re.match(r"^[0-9a-f]+ <(.+)>:$", line)
        if start:
            function = start.group(1)
            continue
        # "address:\tinstruction operands"; LLVM's objdump has tabs between the latter too.
        instruction = " ".join(line.split("\t", 1)[-1].split())
        if BEYOND.match(instruction):
            yield function, instruction


def self_test(objdump, cc):
    """Planted: a loop built for AVX2, and one that counts bits."""
    source = ("void f(float *a){for(int i=0;i<1024;i++)a[i]=a[i]<0?-a[i]:2;}\n"
              "int g(unsigned long a){return __builtin_popcountl(a);}\n")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "planted.c")
        with open(path, "w", encoding="utf-8") as out:
            out.write(source)
        results = []
        for name, flags in (("plain", []), ("leaked", ["-mavx2", "-mpopcnt"])):
            built = os.path.join(folder, name + ".o")
            subprocess.run([cc, "-O3", *flags, "-c", path, "-o", built], check=True)
            results.append({function for function, _ in offenders(objdump, built)})
    return results == [set(), {"f", "g"}]


def main():
    objdump, cc, listing = sys.argv[1:]
    if not self_test(objdump, cc):
        print("self-test: the planted AVX2 object was not found")
        return 1
    with open(listing, encoding="utf-8") as text:
        objects = [line for line in text.read().split("\n") if line and "/x86/" not in line]
    wrong = 0
    for object_file in objects:
        found = list(offenders(objdump, object_file))
        for function, instruction in found[:3]:
            print("%s: %s: %s" % (os.path.basename(object_file), function, instruction))
        wrong += bool(found)
    print("portable: %d objects, %d beyond the baseline" % (len(objects), wrong))
    return 1 if wrong or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
