#!/usr/bin/env python3
"""bench/modes.py FOLDER: the table of bench/modes.sh's runs, in Markdown."""
import json
import pathlib
import statistics
import sys

MODES = ("qat", "psq", "fqt-paper", "fqt-paper-code", "fqt-one-bit", "fqt-balanced",
         "fqt-accurate")


def row(folder, model, mode):
    runs = [json.loads(path.read_text())
            for path in sorted(folder.glob("%s-%s-[0-9]/result.json" % (model, mode)))]
    finished = [run for run in runs if run["status"] == "done"]
    accuracy = [100 * run["accuracy"] for run in finished]
    if not accuracy:
        return "| %s | %s | no finished run of %d | | | |" % (model, mode, len(runs))
    return "| %s | %s | %.1f (%s) | %d | %.0f | %.0f |" % (
        model, mode.replace("fqt-", "fqt, "), statistics.mean(accuracy),
        ", ".join("%.1f" % value for value in accuracy), len(runs) - len(finished),
        statistics.median(run["images_per_s"] for run in finished),
        max(run["peak_rss_mb"] for run in finished))


def main():
    folder = pathlib.Path(sys.argv[1])
    print("| network | mode | test accuracy, % (each seed) | failed | images/s, 1 thread"
          " | peak MB |")
    print("|---|---|---|---|---|---|")
    for model in ("vgg16", "resnet18"):
        for mode in MODES:
            print(row(folder, model, mode))


if __name__ == "__main__":
    main()
