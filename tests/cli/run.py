#!/usr/bin/env python3
"""Tests of the program: each file of cases/ is a session with it, and what it must answer.

usage: run.py PROGRAM CASE...            runs the cases; prints a diff of each that fails
       run.py --update PROGRAM CASE...   writes what was answered into the cases
       run.py --self-test PROGRAM        plants wrong expectations and expects each to fail
       run.py --with=TOOL ...            another program that the cases find by its name

A case is text:

    # What it shows.
    $ bitprop train nowhere
    ! bitprop: no data set nowhere: ...
    = 3

"$ " is a command for sh ("> " continues it on further lines), "| " a line of its standard output,
"! " a line of its standard error, "= " its exit code. The commands of a case run one after another
in one folder, empty at first. Beside bitprop they find the commands of helpers.py.

What differs between runs or machines is masked in the answers; MASKS below is the whole list. Lines
of advice on standard error are left out: whether a run of a second learned anything is chance. Exit
code 77 of a command skips the case.
"""

import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77
TOOLS = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("--with=")]
# Ends only what hangs: on a busy machine sanitizers make minutes out of seconds.
TIMEOUT_SECONDS = 600

MASKS = [
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE"),
    (r"\b\d+\.\d+\.\d+\b", "VERSION"),
    (r"(?m)^(DATE )?this build has no oneDNN.*\n", ""),
    (r"  +(?=\d+\.\d+ ms\b)", " "),
    (r"\b\d+(\.\d+)? (ms|MB|s|images/s|img/s)\b", r"# \2"),
    (r"  waiting for data \d+ %", ""),
    (r"\bleft (\d+:)?\d+:\d\d", "left #"),
    (r"\b(loss|acc) \d+\.\d+", r"\1 #"),
    (r"  *\d+\.\d\d %", " # %"),        # accuracies; shares have one digit behind the point
    (r"(val # %)( \*|  )", r"\1"),      # the star of the best epoch
    (r"in epoch \d+", "in epoch #"),    # the best one
    (r"\(\d+ of ", "(# of "),           # right ones of a class
    (r"after step \d+ of", "after step # of"),
    (r"the (loss|gradient) became NaN or infinite in step \d+", "the # became NaN in step #"),
    (r"header needs \d+ bytes", "header needs # bytes"), # it holds the loss, in digits
    (r"truncated to \d+ bytes", "truncated to # bytes"),
    (r"\b\d+ threads?\b", "# threads"),
    (r"\b(c|avx2|avx512|amx|neon) kernels", "TIER kernels"),
]


def mask(text, folder):
    text = text.replace(folder, "FOLDER")
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text)
    return text


def environment(program, folder):
    """A folder of commands first in the path; no settings of whoever runs the tests."""
    commands = os.path.join(folder, "bin")
    os.mkdir(commands)
    os.symlink(os.path.abspath(program), os.path.join(commands, "bitprop"))
    for tool in TOOLS:
        os.symlink(os.path.abspath(tool), os.path.join(commands, os.path.basename(tool)))
    helpers = os.path.join(HERE, "helpers.py")
    with open(helpers, encoding="utf-8") as text:
        names = re.findall(r"^def command_(\w+)", text.read(), flags=re.M)
    for name in names:
        path = os.path.join(commands, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write('#!/bin/sh\nexec "%s" -B "%s" %s "$@"\n' % (sys.executable, helpers, name))
        os.chmod(path, 0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BITPROP_")}
    kept.update(PATH=commands + ":" + os.environ.get("PATH", "/usr/bin:/bin"), LC_ALL="C",
                TZ="UTC", HOME=folder)
    return kept


def lines(prefix, text):
    if not text:
        return []
    parts = text.split("\n")
    if parts[-1] == "":
        parts.pop()
    else:
        parts[-1] += "(no newline)"
    return [(prefix + part).rstrip() for part in parts]


def answer(command, folder, env):
    """What a command says, as lines of a case, and its exit code."""
    process = subprocess.Popen(["sh", "-c", command], cwd=folder, env=env, text=True,
                               errors="backslashreplace", stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ["(no answer within %d seconds)" % TIMEOUT_SECONDS], 1
    err = re.sub(r"^advice: .*\n", "", err, flags=re.M)
    return (lines("| ", mask(out, folder)) + lines("! ", mask(err, folder)) +
            ["= %d" % process.returncode]), process.returncode


def play(program, wanted):
    """The lines of a case with the answers put in; None if a command skips the case."""
    got = []
    commands = []
    for line in wanted:
        if line.startswith("> ") and commands:
            commands[-1] += "\n" + line[2:]
        elif line.startswith("$ "):
            commands.append(line[2:])
    with tempfile.TemporaryDirectory(prefix="bitprop-cli-") as outer:
        os.chmod(outer, 0o755)
        env = environment(program, outer)
        folder = os.path.join(outer, "case")
        os.mkdir(folder)
        left = iter(commands)
        for at, line in enumerate(wanted):
            if line[:2] in ("| ", "! ", "= ") or line in ("|", "!"):
                continue
            got.append(line)
            if not line.startswith(("$ ", "> ")):
                continue
            if at + 1 < len(wanted) and wanted[at + 1].startswith("> "):
                continue
            said, code = answer(next(left), folder, env)
            if code == SKIPPED:
                print("\n".join(said))
                return None
            got += said
        subprocess.run(["chmod", "-R", "u+rwX", outer], check=False)
    return got


def run_case(program, path, update):
    """0, 1 or SKIPPED."""
    with open(path, encoding="utf-8") as text:
        wanted = text.read().split("\n")
    if wanted[-1] == "":
        wanted.pop()
    got = play(program, wanted)
    name = os.path.basename(path)
    if got is None:
        print("SKIPPED: %s" % name)
        return SKIPPED
    if not any(line.startswith("= ") for line in got):
        print("FAILED: %s has no command" % name)
        return 1
    if got == wanted:
        print("passed: %s" % name)
        return 0
    print("\n".join(difflib.unified_diff(wanted, got, "expected", "answered", lineterm="")))
    if update:
        with open(path, "w", encoding="utf-8") as out:
            out.write("\n".join(got) + "\n")
        print("updated: %s" % name)
        return 0
    print("FAILED: %s; if the answer is right: %s --update PROGRAM %s" % (name, __file__, path))
    return 1


def self_test(program):
    right = ("# A case.\n$ bitprop --version >&2; echo out\n| out\n! bitprop VERSION\n= 0\n"
             "$ exit 3\n= 3\n")
    wrong = [right.replace("| out", "| oust"), right.replace("! b", "! B"),
             right.replace("= 3", "= 0"), right.replace("| out\n", ""),
             right.replace("| out", "| out\n| more"), right.replace("= 0\n", ""),
             "# No command.\n"]
    folder = tempfile.mkdtemp(prefix="bitprop-cli-")
    mistakes = 0
    try:
        path = os.path.join(folder, "planted.case")
        for number, text in enumerate([right] + wrong):
            with open(path, "w", encoding="utf-8") as out:
                out.write(text)
            if run_case(program, path, False) != (1 if number else 0):
                print("self-test: case %d: wrong verdict" % number)
                mistakes += 1
        with open(path, "w", encoding="utf-8") as out:
            out.write(wrong[0])
        run_case(program, path, True)
        with open(path, encoding="utf-8") as text:
            mistakes += text.read() != right
    finally:
        shutil.rmtree(folder)
    print("self-test: %d planted, %d mistakes" % (len(wrong), mistakes))
    return 1 if mistakes else 0


def main():
    words = sys.argv[1:]
    update = "--update" in words
    only_self = "--self-test" in words
    words = [word for word in words if not word.startswith("--")]
    if not words or (not only_self and len(words) < 2):
        print(__doc__)
        return 2
    if only_self:
        return self_test(words[0])
    results = [run_case(words[0], path, update) for path in words[1:]]
    return 1 if 1 in results else max(results)


if __name__ == "__main__":
    sys.exit(main())
