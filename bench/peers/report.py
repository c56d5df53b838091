#!/usr/bin/env python3
"""report.py FOLDER: FOLDER/results.json -> table.md, factor.svg, memory.svg, and the table on
standard output."""
import json
import pathlib
import statistics
import sys

from summary import (PRESETS, at, contestant, factor, failures, good, memory, missing, points,
                     unsteady)

NAMES = {"vgg16": "VGG-16", "resnet18": "ResNet-18"}
PEERS = {"torch-fp32": "PyTorch fp32", "torch-bf16": "PyTorch bf16"}


def table(head, rows):
    lines = [head, ["---"] * len(head)] + rows
    return "\n".join("| %s |" % " | ".join(line) for line in lines) + "\n"


def place(point):
    return [NAMES[point[0]], str(point[1]), str(point[2])]


def milliseconds(found):
    if found is None:
        return "-"
    return "%.4g%s" % (found["ms"], " (probe)" if found["probe"] else "")


def times(runs):
    ours = ("bitprop-fp32",) + PRESETS
    head = ["network", "px", "batch", "PyTorch fp32", "its way", "PyTorch bf16", "bitprop fp32",
            *PRESETS]
    rows = []
    for point in points(runs):
        fp32 = contestant(runs, point, "torch-fp32")
        way = fp32["variant"].replace("/", ", ") if fp32 else "-"
        rows.append(place(point) + [
            milliseconds(fp32), way, milliseconds(contestant(runs, point, "torch-bf16")),
            *(milliseconds(contestant(runs, point, side)) for side in ours)])
    return table(head, rows)


def factors(runs, peer):
    sides = ("bitprop-fp32",) + PRESETS
    cells = {side: [factor(runs, point, side, peer) for point in points(runs)] for side in sides}
    rows = [place(point) + [
        "-" if cells[side][i] is None else "%.2f (%s)" % (
            cells[side][i][0],
            "probe" if cells[side][i][3] else "%.2f to %.2f" % cells[side][i][1:3])
        for side in sides] for i, point in enumerate(points(runs))]
    for name, reduce in (("mean (geometric)", statistics.geometric_mean), ("worst", min),
                         ("best", max)):
        values = {side: [cell[0] for cell in cells[side] if cell] for side in sides}
        rows.append([name, "", ""] + ["%.2f" % reduce(values[side]) if values[side] else "-"
                                      for side in sides])
    return table(["network", "px", "batch", "bitprop fp32", *PRESETS], rows)


def memories(runs):
    rows = []
    for point in points(runs):
        torch = memory(runs, point, "torch-fp32")
        row = ["%.0f" % torch[0], "%.0f" % (torch[0] - torch[1])] if torch else ["-", "-"]
        for side in ("bitprop-fp32",) + PRESETS:
            ours = memory(runs, point, side)
            if ours is None or torch is None:
                row.append("-" if ours is None else "%.0f" % ours[0])
            else:
                row.append("%.0f (%.2f, %.2f)" % (ours[0], ours[0] / torch[0],
                                                  ours[0] / (torch[0] - torch[1])))
        rows.append(place(point) + row)
    return table(["network", "px", "batch", "PyTorch fp32", "without its libraries",
                  "bitprop fp32", *PRESETS], rows)


def probes(runs):
    places = points(runs)
    found = {(point, peer, run["variant"]): run for peer in PEERS for point in places
             for run in at(runs, point, peer, "probe")}
    rows = []
    for peer, way in dict.fromkeys((peer, way) for _, peer, way in found):
        cells = [found.get((point, peer, way)) for point in places]
        rows.append([PEERS[peer], way.replace("/", ", ")] + [
            "-" if run is None else "failed" if not good([run]) else "%.4g" % run["step_ms_min"]
            for run in cells])
    return table(["", "way"] + ["%s %d px" % (NAMES[p[0]], p[1]) for p in places], rows)


def torch_versions(runs):
    known = {(run["torch"], run["onednn_isa"], run["aten_isa"]) for run in runs if "torch" in run}
    return "; ".join("PyTorch %s, oneDNN for %s, ATen for %s" % one for one in sorted(known))


def heading(data):
    machine, settings, runs = data["machine"], data["settings"], data["runs"]
    tiers = sorted({run["tier"] for run in runs if "tier" in run})
    rounds = 1 + max([run["round"] for run in runs if run["kind"] == "timed"], default=-1)
    dates = sorted(run["date"][:10] for run in runs)
    return ("%s, %d processors, %d MB of memory, %s; %d threads\n\nbitprop %s, commit %s, %s, %s "
            "kernels, float convolutions by %s\n\n%s\n\n%d rounds, %s\n" % (
                machine["cpu"], machine["processors"], machine["memory_mb"], machine["system"],
                settings["threads"], machine["bitprop_version"], machine["bitprop_commit"],
                machine["bitprop_compiler"], ", ".join(tiers), machine["bitprop_fp32"],
                torch_versions(runs), rounds, " to ".join(sorted({dates[0], dates[-1]}))))


def emulation(data, peer):
    if peer != "torch-bf16" or (data["machine"]["bf16"] and data["settings"]["isa"] != "avx2"):
        return []
    return ["Here PyTorch works without bf16 instructions and emulates them: nobody would use it "
            "so, and the\nfactors say nothing about processors that have them.\n"]


def report(data):
    runs = data["runs"]
    parts = ["# bitprop's training step against PyTorch's\n", heading(data),
             "## Milliseconds a step\n\nMedian of the rounds. PyTorch: the fastest way in each "
             "round.\n", times(runs)]
    for peer, name in PEERS.items():
        if any(contestant(runs, point, peer) for point in points(runs)):
            parts += ["## Times as fast as %s\n\nMedian over the rounds (least to most).\n" % name,
                      *emulation(data, peer), factors(runs, peer)]
    parts += ["## Peak memory, MB\n\nIn brackets: as a fraction of PyTorch's, and of PyTorch's "
              "without what its libraries\ntake before the network exists. PyTorch: the way that "
              "needs least.\n", memories(runs),
              "## Ways of PyTorch, ms a step\n\nFastest of the probe's steps.\n", probes(runs)]
    shaky = unsteady(runs)
    if shaky:
        parts += ["## Not to be relied on: rounds that differ by more than half\n",
                  "\n".join("- " + line for line in shaky) + "\n"]
    wrong = failures(runs) + missing(runs)
    if wrong:
        parts += ["## Failed or not run\n", "\n".join("- " + line for line in wrong) + "\n"]
    return "\n".join(parts)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: report.py FOLDER    (of compare.py's results.json)")
    folder = pathlib.Path(sys.argv[1])
    data = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    if not data["runs"]:
        sys.exit("report.py: %s: no run in it; begin with bench/peers/compare.py" %
                 (folder / "results.json"))
    text = report(data)
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(text)
    try:
        import plots
    except ImportError:
        print("report.py: no matplotlib for %s, no plots" % sys.executable, file=sys.stderr)
        return
    plots.factor_by_resolution(data["runs"], folder / "factor.svg")
    plots.memory_by_batch(data["runs"], folder / "memory.svg")


if __name__ == "__main__":
    main()
