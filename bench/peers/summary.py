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
    """{"ms", "rounds": {round: ms}, "variant", "probe"}, or None without a figure. A round's time
    is that of the fastest way in that round, ms is their median, variant the way with the lowest
    median. Without a timed run the probes stand in and "probe" is true."""
    for kind in ("timed", "probe"):
        rounds, ways = {}, {}
        for run in good(at(runs, point, side, kind)):
            rounds[run["round"]] = min(run["step_ms"], rounds.get(run["round"], run["step_ms"]))
            ways.setdefault(run["variant"], []).append(run["step_ms"])
        if rounds:
            return {"ms": statistics.median(rounds.values()), "rounds": rounds,
                    "variant": min(ways, key=lambda way: statistics.median(ways[way])),
                    "probe": kind == "probe"}
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


def unsteady(runs, limit=1.5):
    """Sides whose rounds differ by more than this factor: the machine was not quiet."""
    lines = []
    for point in points(runs):
        for side in dict.fromkeys(run["side"] for run in runs):
            found = contestant(runs, point, side)
            least, most = (min(found["rounds"].values()), max(found["rounds"].values())) if found \
                else (1.0, 1.0)
            if most > limit * least:
                lines.append("%s, %d px, batch %d: %s took %.4g to %.4g ms" % (*point, side, least,
                                                                              most))
    return lines
