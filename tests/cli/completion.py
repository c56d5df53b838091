#!/usr/bin/env python3
"""Completion of the program in real shells, and its manual page.

usage: completion.py bash|zsh|manual PROGRAM   exit code 77 (skipped) without the shell, or mandoc
"""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile

SKIPPED = 77
PATIENCE_SECONDS = 60

# What is typed before the tabulator key, and the line afterwards. zsh adds an equals sign where a
# value may follow, and takes the slash of a folder back.
TYPED = [
    ("bitprop tr", "bitprop train"),
    ("bitprop help inf", "bitprop help info"),
    ("bitprop train --prec", "bitprop train --precision"),
    ("bitprop train --no-aug", "bitprop train --no-aug-flip"),
    ("bitprop train --round", "bitprop train --round"),      # an option of bench only
    ("bitprop train data --cpu av", "bitprop train data --cpu avx"),
    ("bitprop train data --cpu=ne", "bitprop train data --cpu=neon"),
    ("bitprop train data --batch con", "bitprop train data --batch con"),   # no number, no file
    ("bitprop train --config con", "bitprop train --config conf.json"),
    ("bitprop train --config=con", "bitprop train --config=conf.json"),
    ("bitprop train --run fol", "bitprop train --run folder/"),             # no file
    ("bitprop train data --progress j", "bitprop train data --progress json"),
    ("bitprop eval my", "bitprop eval my file.ckpt"),
    ("bitprop bench st", "bitprop bench step"),
    ("bitprop bench step --vs fqt:bal", "bitprop bench step --vs fqt:balanced"),
    ("bitprop bench step --vs=fqt:bal", "bitprop bench step --vs=fqt:balanced"),
    ("bitprop completion z", "bitprop completion zsh"),
    ("bitprop data ch", "bitprop data check"),
    ("bitprop data check my", "bitprop data check my file.ckpt"),
    ("bitprop predict my", "bitprop predict my file.ckpt"),
    ("bitprop predict a b con", "bitprop predict a b conf.json"),
    ("bitprop predict a --to", "bitprop predict a --top"),
    ("bitprop doctor --js", "bitprop doctor --json"),
]


def start_shell(shell, folder, env):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        words = ["bash", "--norc", "--noprofile", "-i"] if shell == "bash" else ["zsh", "-f", "-i"]
        os.execvpe(words[0], words, env)
    return pid, terminal


def read_until(terminal, wanted, text):
    while not re.search(wanted, text):
        ready, _, _ = select.select([terminal], [], [], PATIENCE_SECONDS)
        part = os.read(terminal, 65536) if ready else b""
        if not part:
            raise RuntimeError("the shell does not answer; it said %r" % text[-2000:])
        text += part.decode(errors="replace")
    return text


def type_lines(shell, folder, env, script):
    """Types every line, a tabulator, and then (from the line's begin) a command that shows it."""
    pid, terminal = start_shell(shell, folder, env)
    found = []
    try:
        # Neither shell is to draw more than what is typed.
        setup = {"bash": "PS1='> '; bind 'set enable-bracketed-paste off'; . '%s'" % script,
                 "zsh": "PS1='> '; unset zle_bracketed_paste; setopt no_beep no_prompt_cr; bindkey -e; "
                        "fpath=('%s' $fpath); autoload -Uz compinit; compinit -u -D"
                        % os.path.dirname(script)}[shell]
        os.write(terminal, (setup + "; echo READY\n").encode())
        read_until(terminal, r"\nREADY\r?\n", "")
        for typed, _ in TYPED:
            os.write(terminal, (typed + "\t\x01echo SHOWN \x05\n").encode())
            text = read_until(terminal, r"\nSHOWN [^\r\n]*\r?\n", "")
            found.append(re.search(r"\nSHOWN ([^\r\n]*)", text).group(1).rstrip())
    finally:
        os.close(terminal)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found


def help_of(program, *words):
    return subprocess.run([program, *words, "--help"], check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def offered_by_bash(script, *words):
    """What the function puts into COMPREPLY for these words, the last one being completed."""
    code = '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bitprop; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code, script, *words], check=True, text=True,
                          stdout=subprocess.PIPE)
    return sorted(done.stdout.split())


def check_offers(program, script):
    """The lists are those of the help, command by command; and choices are complete."""
    text = help_of(program)
    commands = re.findall(r"^  (\w+)\b", text.split("commands:")[1].split("\n\n")[0], flags=re.M)
    cases = [(["bitprop", ""], commands + ["help", "--help", "--version"])]
    for command in commands:
        options = re.findall(r"^  --([a-z-]+)( [A-Z])?", help_of(program, command), flags=re.M)
        names = ["--" + name for name, _ in options]
        own = {"print-config", "memory", "json", "help"}
        names += ["--no-" + name for name, value in options if not value and name not in own]
        cases.append((["bitprop", command, "--"], names))
    cases += [(["bitprop", "train", "--precision", ""], ["fqt", "psq", "qat", "fp32"]),
              (["bitprop", "train", "--precision", "="], ["fqt", "psq", "qat", "fp32"]),
              (["bitprop", "train", "--grad-bits-dw", "=", "4"], ["4"]),
              (["bitprop", "bench", "step", "--vs", "fqt", ":", "paper"], ["paper", "paper-code"]),
              (["bitprop", "train", "--epochs", ""], []),
              (["bitprop", "trian", "--"], [])]
    wrong = 0
    for words, wanted in cases:
        offered = offered_by_bash(script, *words)
        if offered != sorted(wanted):
            print("%s\n  offers %s\n  wanted %s" % (words, offered, sorted(wanted)))
            wrong += 1
    return wrong, len(cases)


def check_shell(shell, program):
    with tempfile.TemporaryDirectory(prefix="bitprop-completion-") as outer:
        folder, commands = os.path.join(outer, "work"), os.path.join(outer, "bin")
        for path in (folder, commands, os.path.join(folder, "folder")):
            os.mkdir(path)
        for name in ("fol.txt", "conf.json", "my file.ckpt"):
            open(os.path.join(folder, name), "w", encoding="utf-8").close()
        os.symlink(os.path.abspath(program), os.path.join(commands, "bitprop"))
        script = os.path.join(outer, "_bitprop")
        with open(script, "w", encoding="utf-8") as out:
            subprocess.run([program, "completion", shell], check=True, stdout=out)
        subprocess.run([shell, "-n", script], check=True)
        env = {"PATH": commands + ":" + os.environ.get("PATH", "/usr/bin:/bin"), "HOME": outer,
               "TERM": "dumb", "LC_ALL": "C", "INPUTRC": "/dev/null", "HISTFILE": ""}
        wrong = count = 0
        if shell == "bash":
            wrong, count = check_offers(program, script)
        for (typed, wanted), line in zip(TYPED, type_lines(shell, folder, env, script)):
            count += 1
            if line not in ([wanted] if shell == "bash" else [wanted.rstrip("/"), wanted + "="]):
                print("%r became %r, wanted %r" % (typed, line, wanted))
                wrong += 1
    print("%s: %d completions, %d wrong" % (shell, count, wrong))
    return 1 if wrong else 0


def check_manual(program):
    """mandoc finds nothing to warn of; every command, option and exit code of the help is there."""
    page = subprocess.run([program, "manual"], check=True, stdout=subprocess.PIPE).stdout
    # The test can fail: a page with a mistake is refused.
    for text, sound in ((page, True), (page.replace(b".El\n", b"", 1), False)):
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning"], input=text,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if (done.returncode == 0) != sound:
            print("mandoc -Tlint: %s" % (done.stdout.decode() if sound else "a mistake was accepted"))
            return 1
    shown = subprocess.run(["mandoc", "-Tascii"], input=page, check=True,
                           stdout=subprocess.PIPE).stdout.decode()
    shown = re.sub(".\x08", "", shown)  # bold and underlined
    text = help_of(program)
    commands = re.findall(r"^  (\w+)\b", text.split("commands:")[1].split("\n\n")[0], flags=re.M)
    wanted = ["bitprop %s" % command for command in commands]
    for command in commands:
        wanted += re.findall(r"^  (--[a-z-]+(?: [A-Z]\S*)?)", help_of(program, command), flags=re.M)
    wanted += ["     %s " % code for code in re.findall(r"(?<![\w-])(\d+) [a-z]", text.split("exit codes:")[1])]
    missing = [item for item in sorted(set(wanted)) if item not in shown]
    wide = [line for line in shown.split("\n") if len(line) > 80]
    print("manual: %d items, missing: %s; %d lines of more than 80 columns"
          % (len(set(wanted)), missing, len(wide)))
    return 1 if missing or wide or len(wanted) < 60 else 0


def main():
    what, program = sys.argv[1:]
    tool = "mandoc" if what == "manual" else what
    if shutil.which(tool) is None:
        print("SKIPPED: no %s here" % tool)
        return SKIPPED
    os.environ.update(LC_ALL="C")
    for name in [name for name in os.environ if name.startswith("BITPROP_")]:
        del os.environ[name]
    return check_manual(program) if what == "manual" else check_shell(what, program)


if __name__ == "__main__":
    sys.exit(main())
