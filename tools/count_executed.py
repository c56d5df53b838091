#!/usr/bin/env python3
"""Instructions that a program for aarch64 executed, by function, and what they would at least cost a
Cortex-A76. The counts are those of tools/executed.c.

usage: count_executed.py OBJDUMP PROGRAM COUNTS [COUNTS_BEFORE [ELEMENTS]]

COUNTS_BEFORE is subtracted: of a run with one step less, say. With ELEMENTS, all is for each of so
many elements. The bound is the slowest of: each of the two vector pipes (V0, V1: what only this one
can do) and both together, two loads or stores a cycle, one multi-cycle integer instruction, three
integer ones, four instructions in all. Which instruction goes where is taken from LLVM's model of
the Neoverse N1 (AArch64SchedNeoverseN1.td), the same core made for servers. Nothing waits in it:
no latency, no cache, no branch predicted wrongly.
"""

import collections
import re
import subprocess
import sys

UNITS = ("v0", "v1", "v", "l", "i", "m")
V0 = re.compile(r"(?:sqd|[su])(?:mull|mlal|mlsl)2?$|fcvt[ln]2?$|fcc?mpe?$|fccmpe?$")
V1 = re.compile(r"shll2?$|shl$|r?shrn2?$|[su]shll2?$|[su]xtl2?$|[su]r?shr$|s[lr]i$|[su]q?r?shl$|"
                r"[su]r?sra$|[su]adalp$|[su]abal?2?$|[su]qxtn2?$|sqxtun2?$")
CONVERT = re.compile(r"[su]cvtf$|fcvt[amnpz][su]$|frint.$")
BRANCH = re.compile(r"(?:b|bl|br|blr|ret|nop|cbn?z|tbn?z|b\.\w+)$")


def listed(operands):
    """How many registers a list such as {v0.16b, v1.16b} or {v0.16b-v3.16b} names."""
    names = [int(n) for n in re.findall(r"v(\d+)\.", re.search(r"\{(.*?)\}", operands).group(1))]
    is_range = "-" in operands.split("}")[0]
    return (names[-1] - names[0]) % 32 + 1 if is_range else len(names)


def memory(kind, operands):
    """Loads and stores: (vector, load and store units)."""
    is_store = kind.startswith("st")
    if re.match(r"(ld|st)[1-4]r?$", kind):
        one_lane = kind.endswith("r") or re.search(r"\}\[\d+\]", operands)
        count = listed(operands)
        if kind == "st4":
            return 6, 6
        return (count if is_store or one_lane or kind != "ld1" else 0), count
    pair = kind in ("ldp", "stp", "ldnp", "stnp")
    register = operands[0]
    if register not in "qdsbh":
        return 0, 2 if pair and register == "x" else 1
    if not is_store:
        return 0, 2 if pair and register in "qd" else 1
    if register == "q":
        return 2, 4 if pair else 2
    return (2, 2) if pair and register == "d" else (1, 1)


def units(text):
    """How long an instruction occupies each kind of unit."""
    kind, _, operands = text.split("//")[0].strip().partition(" ")
    first = operands.split(",")[0]
    if BRANCH.match(kind):
        return {}
    if re.match(r"ld|st|prfm", kind):
        vector, load = memory(kind, operands)
        return {"v": vector, "l": load}
    whole = re.match(r"v\d+\.(16b|8h|4s|2d)", first) is not None
    if re.search(r"\bv\d+\.|\b[qdshb]\d+\b", operands):
        from_integer = re.search(r", [wx](\d+|zr)", operands) is not None
        to_integer = re.match(r"[wx]\d", first) is not None
        if to_integer:
            return {"v0": 1, "v1": 1} if kind.startswith("fcvt") else {"v1": 1}
        if from_integer:
            return {"m": 1, "v0": 1} if "cvt" in kind else {"m": 1, "v": kind in ("ins", "mov")}
        if CONVERT.match(kind):
            return {"v0": 2 if ".4s" in first else 1}
        if kind in ("fdiv", "fsqrt"):
            return {"v0": 7}
        if kind in ("mul", "mla", "mls"):
            return {"v0": 2 if whole else 1}
        if kind == "tbl":
            return {"v": 1 if listed(operands.split(",", 1)[1]) <= 2 else 3}
        return {"v0": 1} if V0.match(kind) else {"v1": 1} if V1.match(kind) else {"v": 1}
    if kind in ("umulh", "smulh"):
        return {"m": 3}
    if kind in ("udiv", "sdiv"):
        return {"m": 5}
    shifted = re.search(r"sxtw|uxtw|lsr|asr|lsl #([5-9]|\d\d)", operands)
    if re.match(r"[su]?m(add|sub|ul|neg)l?$|[su]mull$|bfi$|bfxil$|extr$", kind) or (
            shifted and kind in ("add", "sub", "adds", "subs", "cmp", "cmn")):
        return {"m": 1}
    return {"i": 1}


def bound(cost):
    return max(cost["v0"], cost["v1"], (cost["v0"] + cost["v1"] + cost["v"]) / 2, cost["l"] / 2,
               cost["m"], (cost["m"] + cost["i"]) / 3, cost["all"] / 4)


def instructions(objdump, program):
    """address -> (function, instruction)"""
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", program], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    found, name = {}, None
    for line in text.splitlines():
        start = re.match(r"^[0-9a-f]+ <(.+)>:$", line)
        row = re.match(r"^\s*([0-9a-f]+):\s+(.*)$", line)
        if start:
            name = start.group(1)
        elif row:
            found[int(row.group(1), 16)] = (name, " ".join(row.group(2).split()))
    return found


def executed(path, code):
    """function -> cost; a program that may lie anywhere has addresses from 0 on."""
    costs, known = collections.defaultdict(collections.Counter), {}
    with open(path, encoding="ascii") as lines:
        begin = int(next(lines), 16)
        base = 0 if begin in code or min(code) >= begin else begin
        for line in lines:
            block = line.split()
            first, times = int(block[0], 16) - base, int(block[2])
            for address in range(first, first + 4 * int(block[1]), 4):
                if address not in code:  # a library
                    continue
                name, text = code[address]
                if address not in known:
                    known[address] = units(text)
                costs[name]["all"] += times
                for unit, amount in known[address].items():
                    costs[name][unit] += amount * times
    return costs


def main():
    if len(sys.argv) not in (4, 5, 6):
        print(__doc__, file=sys.stderr)
        return 2
    code = instructions(sys.argv[1], sys.argv[2])
    costs = executed(sys.argv[3], code)
    if len(sys.argv) > 4:
        for name, cost in executed(sys.argv[4], code).items():
            costs[name].subtract(cost)
    elements = float(sys.argv[5]) if len(sys.argv) > 5 else 1
    costs = {name: cost for name, cost in costs.items() if cost["all"] > 0}
    print("%-34s %14s %12s %12s %12s %14s" % ("function", "instructions", "vector", "V0 alone",
                                              "loads, stores", "cycles"))
    for name in sorted(costs, key=lambda name: -bound(costs[name])):
        cost = costs[name]
        row = (cost["all"], cost["v0"] + cost["v1"] + cost["v"], cost["v0"], cost["l"], bound(cost))
        print("%-34s %14.3f %12.3f %12.3f %12.3f %14.3f" %
              ((name,) + tuple(value / elements for value in row)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
