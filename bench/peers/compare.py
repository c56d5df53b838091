#!/usr/bin/env python3
"""Compares bitprop's training step with PyTorch's on this machine's CPU. Writes results.json (every
run), table.md and plots into --out. An interrupted series goes on with the same command."""
import argparse
import pathlib
import signal
import subprocess
import sys
import time

import sides
from store import Results, machine

POINTS = ["%s:%d" % (model, size) for model in ("vgg16", "resnet18") for size in (32, 64, 128, 224)]


class OutOfTime(Exception):
    pass


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--points", nargs="+", default=POINTS, metavar="MODEL:SIZE[:BATCH]")
    p.add_argument("--sides", nargs="+", default=sides.SIDES, choices=sides.SIDES)
    p.add_argument("--rounds", type=int, default=5, help="visits of each side (default 5)")
    p.add_argument("--steps", type=int, default=10, help="timed steps a visit, at most (10)")
    p.add_argument("--seconds", type=float, default=4.0,
                   help="timed seconds a visit; one step at least (4)")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--isa", choices=("auto", "avx512", "avx2"), default="auto",
                   help="caps the instruction set of all sides")
    p.add_argument("--probe", choices=("full", "quick", "eager"), default="full",
                   help="ways of PyTorch to choose from: all, the plain networks', or of these the "
                        "eager ones")
    p.add_argument("--finalists", type=int, default=2,
                   help="fp32 ways of PyTorch that take part in the rounds (2)")
    p.add_argument("--slow-factor", type=float, default=3.0,
                   help="bf16 that a probe finds this much slower than fp32 takes part in no "
                   "round, and at no further point of the network; 0: always (3)")
    p.add_argument("--memory-batches", nargs="*", type=int, default=[16, 32, 64, 128, 256],
                   help="batches of the memory series at 32 px; none: leave it out")
    p.add_argument("--limit", type=float, default=300.0, help="seconds that one run may take (300)")
    p.add_argument("--minutes", type=float, default=1e9, help="begin no run after this time")
    p.add_argument("--retry-failed", action="store_true", help="run again what had failed")
    p.add_argument("--fresh", action="store_true", help="forget the results in --out")
    p.add_argument("--out", default="build/peers", help="folder of the results (build/peers)")
    p.add_argument("--program", default=str(sides.PROGRAM))
    p.add_argument("--python", default=str(sides.PYTHON), help="the Python that has PyTorch")
    return p.parse_args()


class Series:
    def __init__(self, args, results):
        self.args, self.results = args, results
        self.deadline = time.monotonic() + 60.0 * args.minutes

    def once(self, point, side, variant, kind, number, steps, seconds):
        """Runs it unless its result is there already."""
        args = self.args
        identity = {**point, "threads": args.threads, "side": side, "variant": variant,
                    "kind": kind, "round": number}
        known = self.results.find(identity)
        if known is not None:
            return known
        if time.monotonic() > self.deadline:
            raise OutOfTime
        point = {**point, "threads": args.threads}
        if side in sides.TORCH:
            command = sides.torch_command(side, variant, point, args.isa, steps, seconds,
                                          args.python)
        else:
            command = sides.bitprop_command(side, point, args.isa, steps, args.program)
        run = self.results.add(identity, sides.run(command, args.limit))
        print_run(run)
        return run

    def skip(self, point, side, reason):
        identity = {**point, "threads": self.args.threads, "side": side, "variant": None,
                    "kind": "skip", "round": 0}
        if self.results.find(identity) is None:
            print_run(self.results.add(identity, {"failed": reason}))


def print_run(run):
    what = "%s %d px, batch %d: %s %s (%s %d)" % (
        run["model"], run["size"], run["batch"], run["side"], run["variant"] or "", run["kind"],
        run["round"])
    if "failed" in run:
        print("%s FAILED: %s" % (what, run["failed"]), flush=True)
    else:
        print("%s %.1f ms, %.0f MB" % (what, run["step_ms"], run["peak_rss_mb"]), flush=True)


def succeeded(runs):
    return sorted((run for run in runs if "failed" not in run), key=lambda run: run["step_ms_min"])


def ways(args):
    return [way for way in sides.variants()
            if (args.probe == "full" or way.startswith("plain/"))
            and (args.probe != "eager" or "/eager/" in way)]


def probe_torch(series, point, side, ways_to_try):
    """-> the successful probes, fastest first."""
    return succeeded(series.once(point, side, way, "probe", 0, 3, series.args.seconds)
                     for way in ways_to_try)


def probe_bf16(series, point, fp32, slow):
    """slow: {model: why bf16 is not run} and is added to. -> [the fastest way] or nothing."""
    factor = series.args.slow_factor
    if point["model"] in slow:
        series.skip(point, "torch-bf16", slow[point["model"]])
        return []
    if factor and fp32:
        first = probe_torch(series, point, "torch-bf16", ways(series.args)[:1])
        ratio = first[0]["step_ms_min"] / fp32[0]["step_ms_min"] if first else 0.0
        if not first or ratio > factor:
            slow[point["model"]] = "not run: at %d px, batch %d %s" % (
                point["size"], point["batch"],
                "it was %.1f times slower than fp32" % ratio if first else "it had failed")
            return []
    return probe_torch(series, point, "torch-bf16", ways(series.args))[:1]


def contestants(series, point, slow):
    """-> [(side, variant, timed steps a visit)]: who takes part in the rounds at this point."""
    args, out = series.args, []
    for side in (name for name in args.sides if name in sides.BITPROP):
        probe = series.once(point, side, None, "probe", 0, 1, args.seconds)
        if "failed" not in probe:
            steps = int(1e3 * args.seconds / probe["step_ms"])
            out.append((side, None, max(1, min(args.steps, steps))))
    fp32 = []
    if "torch-fp32" in args.sides:
        fp32 = probe_torch(series, point, "torch-fp32", ways(args))
        out += [("torch-fp32", probe["variant"], args.steps) for probe in fp32[:args.finalists]]
    if "torch-bf16" in args.sides:
        out += [("torch-bf16", probe["variant"], args.steps)
                for probe in probe_bf16(series, point, fp32, slow)]
    return out


def run_rounds(series, point, taking_part):
    """Who begins changes each round, and the direction: a slow minute of the machine hits all."""
    for number in range(series.args.rounds):
        first = number % max(1, len(taking_part))
        order = taking_part[first:] + taking_part[:first]
        for side, variant, steps in order[::-1] if number % 2 else order:
            series.once(point, side, variant, "timed", number, steps, series.args.seconds)


def run_memory(series, models):
    """Peak memory by batch. PyTorch in eager mode, as it comes."""
    for model in models:
        for batch in series.args.memory_batches:
            point = {"model": model, "size": 32, "batch": batch, "width": 1.0}
            for side in series.args.sides:
                if side == "torch-bf16":
                    continue
                way = sides.LEAST_MEMORY if side in sides.TORCH else None
                series.once(point, side, way, "memory", 0, 1, 1.0)


def has_peer(args):
    done = subprocess.run([args.python, "-c", "import torch"], capture_output=True, text=True,
                          check=False) if pathlib.Path(args.python).exists() else None
    return done is not None and done.returncode == 0


def run_all(series, points):
    slow = {}
    for point in points:
        taking_part = contestants(series, point, slow)
        run_rounds(series, point, taking_part)
    run_memory(series, sorted({point["model"] for point in points}))


def main():
    args = parse()
    points = [sides.parse_point(text) for text in args.points]
    if not pathlib.Path(args.program).exists():
        raise SystemExit("no program %s; build bitprop first" % args.program)
    if any(side in sides.TORCH for side in args.sides) and not has_peer(args):
        raise SystemExit("%s has no working PyTorch; run bench/peers/setup.sh" % args.python)
    settings = {name: getattr(args, name) for name in ("steps", "seconds", "threads", "isa")}
    results = Results(pathlib.Path(args.out) / "results.json",
                      {"machine": machine(args.program), "settings": settings}, args.fresh)
    if args.retry_failed:
        results.drop_failed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status, begin = 0, time.monotonic()
    try:
        run_all(Series(args, results), points)
    except (OutOfTime, KeyboardInterrupt):
        status = 3
        print("stopped; the same command goes on")
    print("%.1f minutes" % ((time.monotonic() - begin) / 60.0))
    if results.data["runs"]:
        python = args.python if pathlib.Path(args.python).exists() else sys.executable
        report = pathlib.Path(__file__).with_name("report.py")
        subprocess.run([python, str(report), args.out], check=True)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
