#!/usr/bin/env python3
"""Commands for the cases: run.py puts each command_NAME into their path as NAME.

make_data DIR [TRAIN VAL SIDE CLASSES]  an IDX data set of noise (default: 40 12 8 3)
make_cifar DIR                          a CIFAR-10 data set of noise: 2 files of 12, 6 for the test
make_checkpoint KIND FILE               a file that looks like a checkpoint and is broken
patch FILE OFFSET HEX                   overwrites bytes
cut FILE BYTES                          shortens a file
json_keys                               stdin must be JSON objects; prints keys and types
signal_at SIGNAL STEP COMMAND...        signals the command, which prints JSON events, at that step
check_html FILE...                      pages must be sound, and need nothing from outside; prints parts
on_terminal COMMAND...                  runs it on a terminal; prints what stays on the screen
ctrl_c TIMES COMMAND...                 runs it on a terminal; presses Ctrl-C while it trains
as_nobody COMMAND...                    runs it without the rights of root
memory_sweep COMMAND...                 runs it with less and less memory
file_limit BYTES COMMAND...             runs it with files that cannot grow above a size
small_disk BYTES[,ro] COMMAND...        runs it with the folder "disk" on a disk of that size
"""

import html.parser
import json
import os
import pty
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time


def write_idx(path, sizes, elements):
    with open(path, "wb") as out:
        out.write(bytes([0, 0, 8, len(sizes)]))
        out.write(b"".join(struct.pack(">I", size) for size in sizes) + bytes(elements))


def command_make_data(folder, train=40, val=12, side=8, classes=3):
    draw = random.Random(1)
    os.makedirs(folder)
    side = int(side)
    for part, count in (("train", int(train)), ("t10k", int(val))):
        pixels = [draw.randrange(256) for _ in range(count * side * side)]
        write_idx("%s/%s-images-idx3-ubyte" % (folder, part), [count, side, side], pixels)
        write_idx("%s/%s-labels-idx1-ubyte" % (folder, part), [count],
                  [i % int(classes) for i in range(count)])
    return 0


def command_make_cifar(folder):
    draw = random.Random(1)
    os.makedirs(folder)
    for name, count in (("data_batch_1", 12), ("data_batch_2", 12), ("test_batch", 6)):
        with open("%s/%s.bin" % (folder, name), "wb") as out:
            for i in range(count):
                out.write(bytes([i % 10]) + draw.randbytes(3072))
    with open("%s/batches.meta.txt" % folder, "w", encoding="utf-8") as out:
        out.write("".join("kind %d\n" % i for i in range(10)))
    return 0


def command_make_checkpoint(kind, path):
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    headers = {
        "huge-header": None,
        "overflow": {"w": dict(tensor, shape=[1 << 62, 1 << 62])},
        "overlap": {"a": tensor, "b": tensor},
        "beyond": {"w": dict(tensor, shape=[1 << 30], data_offsets=[0, 4 << 30])},
        "negative": {"w": dict(tensor, data_offsets=[-4, 0])},
        "stranger": {"w": tensor},
        "newer": {"__metadata__": {"format": "bitprop-checkpoint-9"}, "w": tensor},
        "no-network": {"__metadata__": {"format": "bitprop-checkpoint-1"}, "w": tensor},
        "deep": None,
    }
    text = json.dumps(headers[kind]).encode()
    length = len(text)
    if kind == "huge-header":
        length = 1 << 63
    if kind == "deep":
        text = b'{"w": ' + b"[" * 100000 + b"]" * 100000 + b"}"
        length = len(text)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", length) + text + bytes(4))
    return 0


def command_patch(path, offset, text):
    with open(path, "r+b") as file:
        file.seek(int(offset))
        file.write(bytes.fromhex(text))
    return 0


def command_cut(path, count):
    os.truncate(path, int(count))
    return 0


def describe(value, name):
    """Lines of keys and types."""
    kinds = {bool: "true or false", int: "number", float: "number", str: "text",
             type(None): "null"}
    if isinstance(value, dict):
        for key in value:
            yield from describe(value[key], "%s.%s" % (name, key) if name else key)
    elif isinstance(value, list):
        yield "%s: list of %d\n" % (name, len(value))
        if value:
            yield from describe(value[0], name + "[0]")
    else:
        yield "%s: %s\n" % (name, kinds[type(value)])


def refuse_constant(name):
    raise ValueError("%s is not JSON" % name)


def command_json_keys():
    text = sys.stdin.buffer.read().decode("utf-8")
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    lines = []
    while text.strip():
        value, end = decoder.raw_decode(text.lstrip())
        if not isinstance(value, dict):
            raise ValueError("not an object")
        lines += describe(value, "")
        text = text.lstrip()[end:]
    sys.stdout.write("".join(lines))
    return 0


def command_at_most(key, file, limit_key, limit_file, unit=1):
    """Whether a number in one file of JSON is at most that in another; keys as json_keys says."""
    numbers = []
    for path, name in ((file, key), (limit_file, limit_key)):
        with open(path, encoding="utf-8") as text:
            value = json.load(text)
        for part in name.split("."):
            value = value[part]
        numbers.append(value)
    numbers[0] *= float(unit)
    print("yes" if numbers[0] <= numbers[1] else "no: %g is more than %g" % tuple(numbers))
    return 0


class PageParser(html.parser.HTMLParser):
    """Elements must nest; no script, no handler, nothing from outside the file."""

    EMPTY = {"meta", "img", "br"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = []
        self.parts = []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        if tag in ("script", "link", "iframe", "object", "embed", "base", "form"):
            raise ValueError("<%s> at %s" % (tag, self.getpos()))
        for name, value in attrs:
            outside = name in ("src", "href") and not value.startswith(("data:image/png;base64,", "#"))
            if name.startswith("on") or outside or "nan" in (value or "").lower().split():
                raise ValueError("%s=%r at %s" % (name, value, self.getpos()))
        if tag == "section":
            self.parts.append(dict(attrs)["id"])

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise ValueError("</%s> at %s" % (tag, self.getpos()))


def parts_of_page(text):
    parser = PageParser()
    parser.feed(text)
    parser.close()
    if parser.open:
        raise ValueError("not closed: %s" % parser.open)
    return parser.parts


def command_check_html(*paths):
    for planted in ("<p><b></p></b>", "<p>", "</p>", "<script></script>", "<img src='http://x'>",
                    "<p onclick='x'></p>", "<b></b></b>"):
        try:
            parts_of_page(planted)
        except ValueError:
            continue
        raise ValueError("the planted %r was accepted" % planted)
    for path in paths:
        with open(path, encoding="utf-8") as text:
            print("%s: %s" % (path, " ".join(parts_of_page(text.read()))))
    return 0


def exit_code(code):
    return code if code >= 0 else 128 - code


def command_signal_at(name, step, *command):
    """The pipe is kept small, so that the command cannot be far ahead of what was read."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        import fcntl
        fcntl.fcntl(process.stdout, 1031, 4096)  # F_SETPIPE_SZ
    except OSError:
        pass
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "step" and event["step"] == int(step):
            process.send_signal(getattr(signal, "SIG" + name))
            break
    last = None
    for line in process.stdout:
        last = line
    if name != "KILL":
        print("last event: %s" % json.loads(last)["event"])
    return exit_code(process.wait())


def command_on_terminal(*command):
    leader, follower = os.openpty()
    process = subprocess.Popen(command, stdout=follower, stderr=follower)
    os.close(follower)
    text = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # how Linux reports that the other side is closed
            break
        if not part:
            break
        text += part
    bars = 0
    for line in text.decode().replace("\r\n", "\n").split("\n"):
        parts = line.split("\r\033[K")
        bars += sum(part.startswith("[") for part in parts)
        if parts[-1]:
            print(parts[-1])
    print("(%s)" % ("with a bar" if bars else "without a bar"))
    return exit_code(process.wait())


def command_ctrl_c(times, *command):
    """Presses in the middle of the second step, behind the bar of the first, and quickly: a step must
    take longer than 0.05 s. Prints what the terminal shows behind the bar."""
    child, leader = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    text = b""
    pressed = False
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # how Linux reports that the other side is closed
            break
        if not part:
            break
        text += part
        if b"\033[K[" in text and not pressed:
            pressed = True
            time.sleep(0.03)  # before the step begins, the program would look and be gone at once
            for i in range(int(times)):
                time.sleep(0.01 if i > 0 else 0)
                os.write(leader, b"\x03")
    for line in text.decode().replace("\r\n", "\n").split("\n"):
        shown = line.split("\r\033[K")[-1]
        if "bitprop:" in shown:
            print(shown)
    return exit_code(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def command_as_nobody(program, *arguments):
    path = shutil.which(program)
    file = os.open(path, os.O_RDONLY)  # opened now: the folder may be closed to others
    os.set_inheritable(file, True)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    os.execve(file, [program, *arguments], os.environ)


def sweep(command, limit):
    """What a command does under a limit, in one word."""
    def apply():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=apply,
                          check=False)
    said = done.stderr.decode().split("\n")
    if done.returncode == 0:
        return "done"
    last = said[-2] if len(said) > 1 else ""
    if done.returncode == 5 and last.startswith("bitprop: ") and said[-1] == "":
        return "refused"
    if said[0] == "" and len(said) > 1 and said[1].startswith("libgomp: Out of memory"):
        return "not started"  # the OpenMP runtime ends the process by itself when it starts
    print("with %d MB: exit code %d, said %r" % (limit >> 20, done.returncode, said))
    return "wrong"


def command_memory_sweep(*command):
    """From where the program just starts to where the command runs through, in steps of 1 %."""
    first = 1 << 20
    while True:
        def apply():
            resource.setrlimit(resource.RLIMIT_AS, (first, first))
        started = subprocess.run([command[0], "--version"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, preexec_fn=apply, check=False)
        if started.returncode == 0:
            break
        first += first // 16
    verdicts = []
    limit = first
    while not verdicts or verdicts[-1] != "done":
        verdicts.append(sweep(command, limit))
        shutil.rmtree("run", ignore_errors=True)
        limit += limit // 100
        if limit > 1 << 40:
            print("never done")
            return 1
    print("refused: %s, then done; wrong: %d" %
          ("at least once" if "refused" in verdicts else "never", verdicts.count("wrong")))
    return 1 if "wrong" in verdicts else 0


def command_file_limit(size, *command):
    def apply():
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    return exit_code(subprocess.run(command, preexec_fn=apply, check=False).returncode)


def command_small_disk(size, *command):
    script = 'mount -t tmpfs -o size=%s none disk && "$@"' % size
    how = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    os.makedirs("disk", exist_ok=True)
    return exit_code(subprocess.run([*how, "sh", "-c", script, "sh", *command],
                                    check=False).returncode)


if __name__ == "__main__":
    sys.exit(globals()["command_" + sys.argv[1]](*sys.argv[2:]))
