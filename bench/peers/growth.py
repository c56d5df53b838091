#!/usr/bin/env python3
"""How time and memory of bitprop's training step grow with batch, resolution, width and threads:
one of them varies, the others stay. Writes growth.json, growth.md and growth-MODEL.svg into --out.
An interrupted series goes on with the same command."""
import argparse
import json
import math
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import sides
from store import Results, machine

BASE = {"size": 32, "batch": 128, "width": 1.0, "threads": 2}
SERIES = {  # what varies: values, and what else differs from BASE
    "batch": ([16, 32, 64, 128, 256, 512], {}),
    "size": ([32, 64, 96, 128, 160, 192, 224], {"batch": 16}),
    "width": ([0.25, 0.5, 1.0, 2.0], {"batch": 32}),
    "threads": ([1, 2], {}),
}
LABELS = {"batch": "batch", "size": "resolution, px", "width": "width", "threads": "threads"}


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--models", nargs="+", default=["vgg16", "resnet18"])
    p.add_argument("--series", nargs="+", default=list(SERIES), choices=list(SERIES))
    p.add_argument("--sides", nargs="+", default=["one-bit", "bitprop-fp32"],
                   choices=list(sides.BITPROP))
    p.add_argument("--rounds", type=int, default=3, help="visits of each configuration (3)")
    p.add_argument("--steps", type=int, default=3, help="timed steps a visit (3)")
    p.add_argument("--isa", choices=("auto", "avx2", "c"), default="auto")
    p.add_argument("--limit", type=float, default=300.0, help="seconds that one run may take (300)")
    p.add_argument("--minutes", type=float, default=1e9, help="begin no run after this time")
    p.add_argument("--report", action="store_true", help="measure nothing, report what is there")
    p.add_argument("--fresh", action="store_true", help="forget the results in --out")
    p.add_argument("--out", default="build/peers", help="folder of the results (build/peers)")
    p.add_argument("--program", default=str(sides.PROGRAM))
    p.add_argument("--python", default=str(sides.PYTHON), help="the Python that has matplotlib")
    return p.parse_args()


def configuration(model, series, value):
    return {"model": model, **BASE, **SERIES[series][1], series: value}


def configurations(args):
    """Every (options, side) once, though series share some."""
    every = [(tuple(configuration(model, series, value).items()), side)
             for model in args.models for series in args.series for value in SERIES[series][0]
             for side in args.sides]
    return [(dict(options), side) for options, side in dict.fromkeys(every)]


def measure(args, results):
    """-> whether all is there."""
    end = time.monotonic() + 60.0 * args.minutes
    for number in range(args.rounds):
        for options, side in configurations(args):
            identity = {**options, "side": side, "variant": None, "kind": "growth", "round": number}
            if results.find(identity) is not None:
                continue
            if time.monotonic() > end:
                return False
            command = sides.bitprop_command(side, options, args.isa, args.steps, args.program)
            run = results.add(identity, sides.run(command, args.limit))
            print(side, options, number, run.get("failed") or "%.1f ms, %.0f MB" % (
                run["step_ms"], run["peak_rss_mb"]), flush=True)
    return True


def rows_of(runs, model, series, side):
    """-> [(value, ms, MB)], medians, and the values without a figure."""
    rows, without = [], []
    for value in SERIES[series][0]:
        wanted = {**configuration(model, series, value), "side": side}
        found = [run for run in runs if "failed" not in run
                 and all(run[name] == wanted[name] for name in wanted)]
        if not found:
            without.append(value)
            continue
        rows.append((value, statistics.median(run["step_ms"] for run in found),
                     statistics.median(run["peak_rss_mb"] for run in found)))
    return rows, without


def power(rows, column):
    """The exponent between the last two values: what growth tends to."""
    if len(rows) < 2:
        return float("nan")
    (x0, *low), (x1, *high) = rows[-2], rows[-1]
    return math.log(high[column] / low[column]) / math.log(x1 / x0)


def table(runs, model, series, names):
    fixed = ", ".join("%s %g" % item for item in {**BASE, **SERIES[series][1]}.items()
                      if item[0] != series)
    text = "## %s, growth with %s\n\n%s\n\n| %s |" % (model, LABELS[series], fixed, series)
    columns = {side: rows_of(runs, model, series, side) for side in names}
    text += "".join(" %s, ms | MB |" % side for side in names)
    text += "\n|---|" + "---|---|" * len(names) + "\n"
    for value in SERIES[series][0]:
        text += "| %g |" % value
        for side in names:
            cell = [row for row in columns[side][0] if row[0] == value]
            text += " %.4g | %.4g |" % cell[0][1:] if cell else " no figure | no figure |"
        text += "\n"
    text += "| power at the end |" + "".join(
        " %.2f | %.2f |" % (power(columns[side][0], 0), power(columns[side][0], 1))
        for side in names)
    return text + "\n"


def report(folder, runs, args):
    failed = ["%s %s: %s" % (run["side"], {name: run[name] for name in ("model", *BASE)},
                             run["failed"]) for run in runs if "failed" in run]
    parts = [table(runs, model, series, args.sides)
             for model in args.models for series in args.series]
    if failed:
        parts.append("## Failed\n\n" + "\n".join("- " + line for line in failed) + "\n")
    text = "\n".join(parts)
    (folder / "growth.md").write_text(text, encoding="utf-8")
    print(text)
    try:
        import plots
    except ImportError:
        print("growth.py: no matplotlib for %s, no plots" % sys.executable, file=sys.stderr)
        return
    for model in args.models:
        series = [(name, LABELS[name], {side: rows_of(runs, model, name, side)[0]
                                        for side in args.sides}) for name in args.series]
        plots.growth(series, folder / ("growth-%s.svg" % model))


def series_of(args):
    """Measures; -> whether all is there."""
    if not pathlib.Path(args.program).exists():
        raise SystemExit("no program %s; build bitprop first" % args.program)
    header = {"machine": machine(args.program), "settings": {"steps": args.steps, "isa": args.isa}}
    results = Results(pathlib.Path(args.out) / "growth.json", header, args.fresh)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return measure(args, results)
    except KeyboardInterrupt:
        return False


def main():
    args = parse()
    folder = pathlib.Path(args.out)
    if args.report:
        report(folder, json.loads((folder / "growth.json").read_text())["runs"], args)
        return 0
    complete = series_of(args)
    if not complete:
        print("stopped; the same command goes on")
    if (folder / "growth.json").exists():  # reported by the Python that can draw
        python = args.python if pathlib.Path(args.python).exists() else sys.executable
        subprocess.run([python, __file__, "--report", *sys.argv[1:]], check=True)
    return 0 if complete else 3


if __name__ == "__main__":
    raise SystemExit(main())
