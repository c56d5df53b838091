#!/usr/bin/env python3
"""Times PyTorch's training step on the CPU: forward, cross entropy, backward, Adam, on images that
are in memory already. One configuration per process, so that its peak memory is that
configuration's. Prints one JSON object."""
import argparse
import ctypes
import gc
import json
import os
import statistics
import sys
import tempfile
import time

ISA_CAPS = {  # --isa: variables for oneDNN and for ATen; read when torch is loaded
    "auto": {},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16", "ATEN_CPU_CAPABILITY": "avx512"},
}
# --env: variables that make PyTorch faster than it is as installed, for a little more memory.
# Freed memory stays with the process, so that no step pays for getting its pages anew.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
ENVS = {
    "tuned": {**KEEP, "OMP_WAIT_POLICY": "passive"},  # threads wait asleep: robust on busy cores
    "active": {**KEEP, "OMP_WAIT_POLICY": "active"},  # they spin: a little faster on idle ones
    "default": {},
}


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", choices=("vgg16", "resnet18"), default="vgg16")
    p.add_argument("--net", choices=("same", "plain"), default="same", help="see torch_nets.py")
    p.add_argument("--size", type=int, default=32)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--width", type=float, default=1.0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast")
    p.add_argument("--format", choices=("nchw", "channels_last"), default="nchw")
    p.add_argument("--mode", choices=("eager", "compile"), default="eager")
    p.add_argument("--env", choices=sorted(ENVS), default="tuned")
    p.add_argument("--isa", choices=sorted(ISA_CAPS), default="auto")
    p.add_argument("--warm-up", type=int, default=2, help="steps that are not timed")
    p.add_argument("--steps", type=int, default=10, help="timed steps, at most")
    p.add_argument("--seconds", type=float, default=60.0,
                   help="no further timed step after this time (one at least)")
    return p.parse_args()


def set_environment(args):
    """malloc reads its variables when a process begins: this one begins anew if need be."""
    wanted = {**ISA_CAPS[args.isa], **ENVS[args.env], "OMP_NUM_THREADS": str(args.threads)}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable] + sys.argv, {**os.environ, **wanted})


def memory_mb(field):
    """VmRSS or VmHWM of this process in 10^6 bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status has no " + field)


def restart_peak():
    """VmHWM begins anew at the present memory: the compiler's garbage is no part of a step."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def onednn_isa(torch):
    """The instruction set that oneDNN says it uses: it prints that before its first operation."""
    sys.stdout.flush()
    libc, stdout = ctypes.CDLL(None), os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                torch.conv2d(torch.ones(8, 16, 32, 32), torch.ones(16, 16, 3, 3))
            libc.fflush(None)
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        file.seek(0)
        text = file.read().decode()
    found = [line.split("isa:")[1].strip() for line in text.splitlines() if ",cpu,isa:" in line]
    return found[0] if found else "unknown"


def make_step(torch, args):
    """-> a function that does one training step and returns the loss."""
    from torch_nets import build
    torch.manual_seed(1)
    layout = torch.channels_last if args.format == "channels_last" else torch.contiguous_format
    net = build(args.model, args.net, args.size, args.width).to(memory_format=layout)
    images = torch.randn(args.batch, 3, args.size, args.size).to(memory_format=layout)
    labels = torch.arange(args.batch) % 10
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

    def loss_of(x, y):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            return torch.nn.functional.cross_entropy(net(x), y)

    forward = torch.compile(loss_of) if args.mode == "compile" else loss_of

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = forward(images, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main():
    args = parse()
    set_environment(args)
    import torch
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    isa, library_mb = onednn_isa(torch), memory_mb("VmRSS")
    begin = time.perf_counter()
    step = make_step(torch, args)
    losses = [step() for _ in range(args.warm_up)]
    first_peak_mb = memory_mb("VmHWM")
    restart_peak()
    times = []
    end = time.perf_counter() + args.seconds
    warm_up_s = time.perf_counter() - begin
    while len(times) < args.steps and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        losses.append(step())
        times.append(1e3 * (time.perf_counter() - start))
    peak_mb = memory_mb("VmHWM")
    median = statistics.median(times)
    print(json.dumps({
        **vars(args), "step_ms": median, "step_ms_min": min(times), "steps_ms": times,
        "images_per_s": 1e3 * args.batch / median, "warm_up_s": warm_up_s,
        "peak_rss_mb": peak_mb, "library_rss_mb": library_mb,
        "process_peak_rss_mb": max(peak_mb, first_peak_mb), "losses": losses,
        "torch": torch.__version__, "onednn_isa": isa,
        "aten_isa": torch.backends.cpu.get_cpu_capability()}))


if __name__ == "__main__":
    main()
