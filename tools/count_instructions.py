#!/usr/bin/env python3
"""Counts the instructions of the NEON products' inner loops, and estimates a Cortex-A76 from them.

usage: count_instructions.py OBJDUMP OBJECT...
       (aarch64-linux-gnu-objdump build/aarch64-kernels/src/kernels/CMakeFiles/bp_kernels.dir/arm/*.o)

Of each function, the innermost loop that multiplies most. One cnt counts the bits of 128 one-bit
products, one tbl looks up 16 entries of 4 products each, one smull multiplies 8 bytes. The estimate
takes the slowest of: vector instructions, 2 a cycle; loads, 2 a cycle (a pair of vectors is two); all
instructions, 4 a cycle.
Exit status 1: no such loop, or one that reads or writes the stack, as when registers ran out.
"""

import collections
import re
import subprocess
import sys

PRODUCTS = {"cnt": 128, "tbl": 64, "smull": 8, "smull2": 8}
FULL_BLOCK = {"cnt": 2048, "tbl": 2048, "smull": 128}  # of an iteration for all rows and lanes
BRANCH = re.compile(r"(?:b|b\.\w+|cbn?z \w+,|tbn?z [^,]+, [^,]+,) ?([0-9a-f]+) <")
Loop = collections.namedtuple("Loop", "products instructions vector loads stack kinds")


def functions(objdump, path):
    """Yields (name, [(address, instruction)])."""
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", path], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    name, body = None, []
    for line in text.splitlines():
        start = re.match(r"^[0-9a-f]+ <(.+)>:$", line)
        row = re.match(r"^\s*([0-9a-f]+):\s+(.*)$", line)
        if start:
            if body:
                yield name, body
            name, body = start.group(1), []
        elif row:
            body.append((int(row.group(1), 16), " ".join(row.group(2).split())))
    if body:
        yield name, body


def innermost_loops(body):
    """Ranges of instructions from the target of a backward branch to the branch."""
    at = {address: i for i, (address, _) in enumerate(body)}
    loops = set()
    for i, (_, text) in enumerate(body):
        branch = BRANCH.match(text)
        target = at.get(int(branch.group(1), 16)) if branch else None
        if target is not None and target <= i:
            loops.add((target, i))
    return [a for a in loops
            if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]


def measure(instructions):
    kinds = collections.Counter(text.split()[0] for text in instructions)
    vector = loads = stack = 0
    for text in instructions:
        kind = text.split()[0]
        on_vectors = re.search(r"\bv\d+\.", text) is not None
        if kind.startswith("ld"):
            loads += 2 if re.match(r"ldp q", text) else 1
            vector += kind == "ld1r"  # it passes through a vector pipe as well
        elif on_vectors and not re.match(r"dup v\d+\.\w+, [wx]", text):  # that one is an integer pipe's
            vector += 1
        stack += "[sp" in text
    products = sum(PRODUCTS[kind] * kinds[kind] for kind in PRODUCTS)
    return Loop(products, len(instructions), vector, loads, stack, kinds)


def is_full_block(loop):
    return any(loop.kinds[kind] > 0 and loop.products == full for kind, full in FULL_BLOCK.items())


def main():
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    found, spills = 0, 0
    print("%-28s %9s %6s %7s %6s %6s %13s" % ("loop", "products", "instr", "vector", "loads",
                                              "stack", "products/cycle"))
    for path in sys.argv[2:]:
        for name, body in functions(sys.argv[1], path):
            loops = [measure([text for _, text in body[a:b + 1]])
                     for a, b in innermost_loops(body)]
            loops = [loop for loop in loops if is_full_block(loop)]
            if not loops:
                continue
            best = min(loops, key=lambda loop: loop.instructions)
            cycles = max(best.vector / 2, best.loads / 2, best.instructions / 4)
            print("%-28s %9d %6d %7d %6d %6d %13.1f" % (name, best.products, best.instructions,
                                                        best.vector, best.loads, best.stack,
                                                        best.products / cycles))
            found += 1
            spills += best.stack > 0
    return 0 if found >= 7 and spills == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
