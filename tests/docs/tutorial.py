#!/usr/bin/env python3
"""Runs the commands of a tutorial and compares what they say with what the page shows.

usage: tutorial.py PROGRAM DRAW_PICTURES PAGE            prints a diff of each block that differs
       tutorial.py --update PROGRAM DRAW_PICTURES PAGE   writes the answers into the page
       tutorial.py --self-test                           plants mistakes and expects each to be found

The page's blocks

    ```console
    $ bitprop predict runs/photos new
    cup     98.21 %  new/1.jpg
    ```

are run in order in one folder; standard output and errors are shown together, as on a terminal. A
line "..." stands for any lines; "^C" for the moment at which Ctrl-C is pressed, as soon as the line
above it has appeared. Numbers that differ between machines are masked on both sides (MASKS here and
in tests/cli/run.py). A block that --update does not touch is one with "..." or "^C".

The folder holds at first what the page speaks of: photos of three kinds, of which one is broken and
one lies in two folders, and new ones.
"""

import difflib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = importlib.util.spec_from_file_location("run", os.path.join(HERE, "..", "cli", "run.py"))
RUN = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(RUN)

TIMEOUT_SECONDS = 300
KINDS = ("cup", "plate", "spoon")

MASKS = RUN.MASKS + [
    (r'": -?\d+\.\d+(e[-+]?\d+)?', '": #'),
    (r"\bepoch \d+,", "epoch #,"),  # the best one
    (r"\b\d+\.\d+ M weights, \d+\.\d %", "# M weights, # %"),
]


# Lines that only a slow machine, or a build without oneDNN, prints.
PASSED_OVER = re.compile(r"step +\d+/\d+  loss |this build has no oneDNN")


def mask(line):
    for pattern, replacement in MASKS:
        line = re.sub(pattern, replacement, line)
    return line


def draw(tool, folder):
    """photos/KIND/000.jpg ... and new/*: pictures that were not among them."""
    for name, count in (("photos", 80), ("more", 83)):
        subprocess.run([tool, "folder", os.path.join(folder, name), "3", str(count), "48"], check=True)
    os.mkdir(os.path.join(folder, "new"))
    for number, kind in enumerate(KINDS):
        shape = "shape%d" % (number + 1)
        os.rename(os.path.join(folder, "photos", shape), os.path.join(folder, "photos", kind))
        for file, name in (("081.jpg", "%d.jpg" % (number + 1)), ("080.png", "%d.png" % (number + 4))):
            shutil.move(os.path.join(folder, "more", shape, file),
                        os.path.join(folder, "new", name))
    shutil.rmtree(os.path.join(folder, "more"))
    os.truncate(os.path.join(folder, "photos/cup/007.jpg"), 500)
    shutil.copy(os.path.join(folder, "photos/spoon/010.jpg"),
                os.path.join(folder, "photos/cup/spoon.jpg"))


def blocks(lines):
    """(command's line number, command, first and last line number of its output)."""
    inside = False
    found = []
    for at, line in enumerate(lines):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append([at, line[2:], at + 1, at + 1])
        elif inside and found:
            found[-1][3] = at + 1
    return found


def answer(command, wanted, folder, env):
    """The lines that a command prints; Ctrl-C where `wanted` says so."""
    process = subprocess.Popen(["sh", "-c", command], cwd=folder, env=env, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    lines = []
    if "^C" in wanted:
        last = mask(wanted[wanted.index("^C") - 1])
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if mask(lines[-1]).startswith(last[:13]):
                break
        lines.append("^C")
        os.killpg(process.pid, signal.SIGINT)
    try:
        rest, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ["(no answer within %d seconds)" % TIMEOUT_SECONDS]
    lines += rest.split("\n")[:-1]
    return [line.rstrip() for line in lines if not PASSED_OVER.match(line)]


def fits(wanted, got):
    """1 if the lines are the same, where "..." is any lines."""
    if not wanted or not got:
        return not got and all(line == "..." for line in wanted)
    if wanted[0] == "...":
        return fits(wanted[1:], got) or fits(wanted, got[1:])
    return wanted[0] == got[0] and fits(wanted[1:], got[1:])


def matches(wanted, got):
    return fits([mask(line.rstrip()) for line in wanted], [mask(line) for line in got])


def run_page(program, tool, page, update):
    with open(page, encoding="utf-8") as text:
        lines = text.read().split("\n")
    found = blocks(lines)
    failures = 0
    shown = list(lines)
    with tempfile.TemporaryDirectory(prefix="bitprop-docs-") as outer:
        RUN.TOOLS.clear()
        env = RUN.environment(program, outer)
        folder = os.path.join(outer, "work")
        os.mkdir(folder)
        draw(os.path.abspath(tool), folder)
        moved = 0  # how far an update has moved the lines
        for at, command, first, end in found:
            wanted = lines[first:end]
            got = answer(command, wanted, folder, env)
            if update and "..." not in wanted and "^C" not in wanted:
                shown[first + moved:end + moved] = got
                moved += len(got) - len(wanted)
            if matches(wanted, got):
                continue
            failures += 1
            print("line %d: $ %s" % (at + 1, command))
            print("\n".join(difflib.unified_diff(wanted, got, "the page", "the program", lineterm="")))
    if update:
        with open(page, "w", encoding="utf-8") as out:
            out.write("\n".join(shown))
    print("%d commands, %d differ" % (len(found), failures))
    return 1 if failures or not found else 0


def self_test():
    right = ["data  3 images", "epoch 1  loss 0.5", "done in 3 s"]
    cases = [(right, right, True), (["..."], right, True), (["...", "done in 4 s"], right, True),
             (["data  3 images", "..."], right, True), (["...", "..."], [], True), ([], [], True),
             (right, ["data  3 images", "epoch 1  loss 7.25", "done in 12.5 s"], True),
             (right[:2], right, False), (right, right[:2], False), ([], right, False),
             (right, [], False), (["data  4 images", "..."], right, False),
             (["...", "data  3 images"], right, False)]
    mistakes = sum(matches(wanted, got) != verdict for wanted, got, verdict in cases)
    page = ["text", "$ no", "```console", "$ one", "a", "", "$ two", "```", "```", "$ no", "```"]
    mistakes += blocks(page) != [[3, "one", 4, 6], [6, "two", 7, 7]]
    folder = tempfile.mkdtemp(prefix="bitprop-docs-")
    said = answer("trap 'echo caught; exit' INT; echo begin; while :; do sleep 0.05; done",
                  ["begin", "^C", "caught"], folder, dict(os.environ))
    os.rmdir(folder)
    mistakes += said != ["begin", "^C", "caught"]
    print("self-test: %d cases, %d mistakes" % (len(cases) + 2, mistakes))
    return 1 if mistakes else 0


def main():
    words = sys.argv[1:]
    if words == ["--self-test"]:
        return self_test()
    update = "--update" in words
    words = [word for word in words if word != "--update"]
    if len(words) != 3:
        print(__doc__)
        return 2
    return run_page(*words, update)


if __name__ == "__main__":
    sys.exit(main())
