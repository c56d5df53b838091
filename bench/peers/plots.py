"""Plots of the comparison and of growth.py, as SVG without a date, so that equal figures give equal
files."""
import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.hashsalt": "bitprop", "axes.grid": True, "grid.alpha": 0.3,
                            "axes.spines.top": False, "axes.spines.right": False})
from matplotlib import pyplot  # noqa: E402  (after the choice of backend)

from summary import PRESETS, contestant, factor, good, points  # noqa: E402

NAMES = {"vgg16": "VGG-16", "resnet18": "ResNet-18"}
LABELS = {"bitprop-fp32": "bitprop fp32", "torch-fp32": "PyTorch fp32"}
STYLES = {"one-bit": ("C0", "o"), "balanced": ("C1", "s"), "accurate": ("C2", "^"),
          "bitprop-fp32": ("C7", "x"), "torch-fp32": ("C3", "D")}


def panels(names):
    figure, axes = pyplot.subplots(1, max(1, len(names)), squeeze=False, layout="constrained",
                                   figsize=(5.2 * max(1, len(names)), 3.8))
    return figure, dict(zip(names, axes[0]))


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw(axis, side, xs, ys):
    color, marker = STYLES[side]
    axis.plot(xs, ys, color=color, marker=marker, label=LABELS.get(side, side))


def label_xs(axis, xs):
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted(xs), ["%g" % x for x in sorted(xs)])
    axis.minorticks_off()


def factor_by_resolution(runs, path):
    places = points(runs)
    figure, axes = panels(list(dict.fromkeys(point[0] for point in places)))
    for model, axis in axes.items():
        sizes = sorted({point[1] for point in places if point[0] == model})
        for side in ("bitprop-fp32",) + PRESETS:
            found = [(point[1], factor(runs, point, side, "torch-fp32")) for point in places
                     if point[0] == model and contestant(runs, point, side)]
            found = [(size, value) for size, value in found if value]
            if found:
                draw(axis, side, [size for size, _ in found], [value[0] for _, value in found])
        label_xs(axis, sizes)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set(title=NAMES[model], xlabel="resolution, px", ylim=(0, None),
                 ylabel="times as fast as PyTorch fp32")
    named = {name: line for axis in axes.values()
             for line, name in zip(*axis.get_legend_handles_labels())}
    if named:  # below, where it covers no line
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named))
    save(figure, path)


def memory_by_batch(runs, path):
    """PyTorch: whole process, and dashed without its libraries."""
    runs = [run for run in good(runs) if run["kind"] == "memory"]
    if not runs:
        return
    figure, axes = panels(list(dict.fromkeys(run["model"] for run in runs)))
    for model, axis in axes.items():
        for side in STYLES:
            found = sorted((run["batch"], run["peak_rss_mb"], run.get("library_rss_mb", 0.0))
                           for run in runs if run["side"] == side and run["model"] == model)
            batches = [batch for batch, _, _ in found]
            if found:
                draw(axis, side, batches, [peak for _, peak, _ in found])
            if found and found[0][2]:
                axis.plot(batches, [peak - library for _, peak, library in found], "--",
                          color=STYLES[side][0], label=LABELS[side] + " without its libraries")
        label_xs(axis, {run["batch"] for run in runs})
        axis.set(title=NAMES[model] + ", 32 px", xlabel="batch", ylabel="peak memory, MB",
                 ylim=(0, 1.45 * max(run["peak_rss_mb"] for run in runs)))
        axis.legend(loc="upper left")
    save(figure, path)


def growth(series, path):
    """series: [(title, x label, {side: [(x, ms, MB)]})], one column each: time above, memory below,
    all axes logarithmic, so that a slope is a power."""
    figure, axes = pyplot.subplots(2, len(series), squeeze=False, layout="constrained",
                                   figsize=(4.2 * len(series), 6.4))
    for (title, label, by_side), top, bottom in zip(series, axes[0], axes[1]):
        for side, rows in by_side.items():
            draw(top, side, [x for x, _, _ in rows], [ms for _, ms, _ in rows])
            draw(bottom, side, [x for x, _, _ in rows], [mb for _, _, mb in rows])
        for axis, unit in ((top, "ms a step"), (bottom, "peak memory, MB")):
            label_xs(axis, {x for rows in by_side.values() for x, _, _ in rows})
            axis.set_yscale("log")
            axis.set(xlabel=label, ylabel=unit)
        top.set_title(title)
        top.legend()
    save(figure, path)
