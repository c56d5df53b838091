"""What the runs of results.json say: medians, factors, memory."""
import statistics

PRESETS = ("one-bit", "balanced", "accurate")


def points(runs):
    """(model, size, batch) of the comparison, in the order in which they were measured."""
    keys = [(run["model"], run["size"], run["batch"]) for run in runs if run["kind"] != "memory"]
    return sorted(dict.fromkeys(keys), key=lambda key: (key[0] != "vgg16", key[1], key[2]))


def at(runs, point, side, *kinds):
    return [run for run in runs if (run["model"], run["size"], run["batch"]) == point
            and run["side"] == side and run["kind"] in kinds]


def good(runs):
    return [run for run in runs if "failed" not in run]


def contestant(runs, point, side):
    """The side's runs, fastest way by median: {"ms", "rounds": {round: ms}, "variant", "probe"}, or
    None. Without a timed run the fastest probe stands in and "probe" is true."""
    best = None
    for kind in ("timed", "probe"):
        found = good(at(runs, point, side, kind))
        for variant in dict.fromkeys(run["variant"] for run in found):
            rounds = {run["round"]: run["step_ms"] for run in found if run["variant"] == variant}
            ms = statistics.median(rounds.values())
            if best is None or ms < best["ms"]:
                best = {"ms": ms, "rounds": rounds, "variant": variant, "probe": kind == "probe"}
        if best is not None:
            return best
    return None


def factor(runs, point, side, peer):
    """How many times as fast as the peer: (median over the rounds, least, most, from a probe?)."""
    ours, theirs = contestant(runs, point, side), contestant(runs, point, peer)
    if ours is None or theirs is None:
        return None
    both = sorted(set(ours["rounds"]) & set(theirs["rounds"]))
    if ours["probe"] or theirs["probe"] or not both:
        value = theirs["ms"] / ours["ms"]
        return value, value, value, True
    ratios = [theirs["rounds"][number] / ours["rounds"][number] for number in both]
    return statistics.median(ratios), min(ratios), max(ratios), False


def memory(runs, point, side):
    """(peak of the process, of it the libraries before the network exists) in MB, or None. The
    smallest of all of the side's runs: whatever way of PyTorch needs least."""
    found = good(at(runs, point, side, "timed", "probe", "memory"))
    if not found:
        return None
    least = min(found, key=lambda run: run["peak_rss_mb"] - run.get("library_rss_mb", 0.0))
    return least["peak_rss_mb"], least.get("library_rss_mb", 0.0)


def failures(runs):
    return ["%s, %d px, batch %d: %s%s (%s): %s" % (
        run["model"], run["size"], run["batch"], run["side"],
        " " + run["variant"] if run["variant"] else "", run["kind"], run["failed"])
            for run in runs if "failed" in run]


def missing(runs):
    """Sides without a figure at a point where others have one."""
    sides = list(dict.fromkeys(run["side"] for run in runs if run["kind"] != "memory"))
    return ["%s, %d px, batch %d: %s has no figure" % (*point, side)
            for point in points(runs) for side in sides if contestant(runs, point, side) is None]
