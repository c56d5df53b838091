"""The sides of the comparison as commands, and running one."""
import json
import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/cli/bitprop"
PYTHON = ROOT / "build/peers-venv/bin/python"

BITPROP = {  # side: options
    "one-bit": ["--precision", "fqt", "--preset", "one-bit"],
    "balanced": ["--precision", "fqt", "--preset", "balanced"],
    "accurate": ["--precision", "fqt", "--preset", "accurate"],
    "bitprop-fp32": ["--precision", "fp32"],
}
TORCH = {"torch-fp32": "fp32", "torch-bf16": "bf16"}  # side: dtype
SIDES = list(BITPROP) + list(TORCH)


LEAST_MEMORY = "plain/channels_last/eager/default"  # as installed; for the series by batch


def variants():
    """Ways to run the same step in PyTorch, "net/format/mode/env"; the cheap ones first."""
    names = ["%s/%s/%s/tuned" % (net, layout, mode) for mode in ("eager", "compile")
             for net in ("plain", "same") for layout in ("channels_last", "nchw")]
    return names + ["plain/channels_last/eager/active", LEAST_MEMORY]


def parse_point(text):
    """"vgg16:32" or "vgg16:32:64" -> options of the network."""
    batches = {32: 128, 64: 64, 128: 32, 224: 16}
    words = text.split(":")
    try:
        size = int(words[1])
        batch = int(words[2]) if len(words) > 2 else batches[size]
    except (IndexError, ValueError, KeyError):
        raise SystemExit("point '%s': use MODEL:SIZE:BATCH, such as vgg16:32:128" % text) from None
    if words[0] not in ("vgg16", "resnet18") or len(words) > 3:
        raise SystemExit("point '%s': use vgg16:SIZE:BATCH or resnet18:SIZE:BATCH" % text)
    return {"model": words[0], "size": size, "batch": batch, "width": 1.0}


def network_options(point):
    return [word for name, value in point.items() for word in ("--" + name, str(value))]


def bitprop_command(side, point, isa, steps, program=PROGRAM):
    """point: options of the network and the machine, by the names that both programs give them."""
    command = [str(program), "bench", "step", "--json", *BITPROP[side], *network_options(point),
               "--cpu", isa, "--rounds", str(steps)]
    # its kernels are capped by --cpu, the bfloat16 of its oneDNN as PyTorch's is
    cap = ["env", "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16"] if isa == "avx512" else []
    return cap + command


def torch_command(side, variant, point, isa, steps, seconds, python=PYTHON):
    net, layout, mode, env = variant.split("/")
    return [str(python), str(ROOT / "bench/peers/torch_step.py"), "--dtype", TORCH[side],
            "--net", net, "--format", layout, "--mode", mode, "--env", env,
            *network_options(point), "--isa", isa, "--warm-up", "1", "--steps", str(steps),
            "--seconds", str(seconds)]


def last_line(text):
    """The last line, or the last that names an error: advice may follow it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error:" in line]
    return (errors or lines or ["it said nothing"])[-1][:300]


def run(command, limit_s):
    """-> what the command printed as JSON, or {"failed": why}. The command's whole process group
    ends with it: the compiler of PyTorch has helper processes."""
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(ROOT / "build/peers-cache")}
    load = os.getloadavg()[0]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, env=environment, start_new_session=True)
    except OSError as error:
        return {"failed": "cannot run %s: %s" % (command[0], error.strerror)}
    try:
        output, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"failed": "no result within %g s" % limit_s}
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    if process.returncode != 0:
        how = "exit status" if process.returncode > 0 else "signal"
        return {"failed": "%s %d: %s" % (how, abs(process.returncode), last_line(errors))}
    try:
        return {**json.loads(last_json(output)), "load_before": load}
    except ValueError:
        return {"failed": "printed no JSON: " + last_line(output)}


def last_json(text):
    """The last line; other libraries may print before it."""
    return text.strip().rsplit("\n", 1)[-1]
