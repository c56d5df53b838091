#!/usr/bin/env python3
"""Compares bitprop's training mathematics with PyTorch.

    oracle.py ORACLE_DUMP [--quick] [--only TEXT]   compare; exit 0, 1 (mismatch), 77 (no torch)
    oracle.py ORACLE_DUMP --write-golden FOLDER     write the files of tests/unit/test_golden.c

oracle_dump runs a case in bitprop and writes parameters, images and all results to a file; here the
same network runs in PyTorch, in float64 (the truth) and three times in float32, with parameters one
rounding apart (how far float rounding alone moves the results).

Tolerance. For every tensor
    |bitprop - float64|  <=  8 max |float32 - float64|  +  1e-5 max |float64|
Decisions. A sign, mask, PReLU or pooling decision whose value lies within 4 times the float32 error
of its threshold can differ between two correct programs. Such a seed says nothing: the next one is
taken, and the report counts it. Factor and floor are the same for every tensor of every case."""
import argparse
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
except ImportError as error:
    print("oracle: skipped, %s" % error)
    sys.exit(77)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import golden  # noqa: E402
import recipes  # noqa: E402
import tensor_file  # noqa: E402
from torch_run import Case, rounding, run  # noqa: E402

SEEDS = 100  # candidates for each case

CASES = [
    # model, precision, width, size, channels, classes, batch, smoothing, optimizers
    ("vgg16", "fp32", 0.125, 32, 3, 10, 3, 0.0, 0),
    ("vgg16", "fp32", 0.05, 40, 1, 7, 2, 0.1, 1),
    ("vgg16", "fp32", 0.25, 32, 1, 10, 2, 0.1, 0),
    ("vgg16", "qat", 0.125, 32, 3, 10, 3, 0.0, 0),
    ("vgg16", "qat", 0.05, 40, 1, 7, 2, 0.1, 1),
    ("vgg16", "qat", 0.25, 40, 3, 10, 2, 0.1, 0),
    ("resnet18", "fp32", 0.08, 32, 3, 10, 2, 0.1, 0),
    ("resnet18", "fp32", 0.03, 36, 1, 7, 2, 0.0, 1),
    ("resnet18", "fp32", 0.0625, 96, 3, 10, 2, 0.0, 0),
    ("resnet18", "qat", 0.125, 32, 3, 10, 2, 0.1, 0),
    ("resnet18", "qat", 0.05, 36, 1, 7, 2, 0.0, 1),
    ("resnet18", "qat", 0.25, 32, 1, 10, 1, 0.1, 0),
    ("resnet18", "qat", 0.0625, 96, 3, 10, 2, 0.0, 0),
]
KEYS = ("model", "precision", "width", "size", "channels", "classes", "batch", "smoothing",
        "optimizers")


class Report:
    def __init__(self):
        self.failures, self.worst = [], (0.0, "nothing")

    def check(self, name, value, truth, rounded):
        scale = np.abs(truth).max()
        limit = 8 * rounding(truth, rounded) + 1e-5 * scale
        self.check_limit(name, value, truth, limit, scale)

    def check_limit(self, name, value, truth, limit, scale):
        value, truth = np.asarray(value, dtype=np.float64), np.asarray(truth, dtype=np.float64)
        if value.shape != truth.shape:
            self.failures.append("%s: shape %s, expected %s" % (name, value.shape, truth.shape))
            return
        error = np.abs(value - truth).max()
        ratio = error / limit if limit > 0 else (0.0 if error == 0 else np.inf)
        if not ratio <= self.worst[0]:
            self.worst = (ratio, name)
        if not ratio <= 1:
            self.failures.append("%s: error %.3g, allowed %.3g, largest value %.3g"
                                 % (name, error, limit, scale))

    def equal(self, name, value, truth):
        if not np.array_equal(value, truth):
            self.failures.append("%s: %s, expected %s" % (name, value, truth))


def expected_flags(name, dims, binary):
    """HEAD 1, NO_DECAY 2, LATENT 4: written from the definition of the groups."""
    flags = 1 if name in recipes.HEAD else 0
    if dims == 1:
        flags |= 2
    is_first = name.startswith(("conv1.", "stem."))
    if dims == 4 and binary and not flags & 1 and not is_first and "shortcut" not in name:
        flags |= 4
    return flags


def compare_pass(report, case, dump, training):
    prefix = "train." if training else "eval."
    truth, rounded = run(case, dump, training)
    unsafe = truth.unsafe_decisions(rounded)
    if unsafe:
        return unsafe
    report.check(prefix + "logits", dump[prefix + "logits"], truth.logits,
                 [r.logits for r in rounded])
    report.check(prefix + "loss", dump[prefix + "loss"][0], truth.loss, [r.loss for r in rounded])
    report.equal(prefix + "correct", dump[prefix + "correct"][0], truth.correct)
    if training:
        for name in truth.grads:
            report.check("grad." + name, dump["grad." + name], truth.grads[name],
                         [r.grads[name] for r in rounded])
        for name in truth.running:
            report.check("after." + name, dump["after." + name], truth.running[name],
                         [r.running[name] for r in rounded])
    return None


def compare_case(report, case, dump):
    """-> None, or why this seed is not usable."""
    mean, deviation = np.array([0.45, 0.5, 0.4]), np.array([0.25, 0.3, 0.2])
    pixels = (dump["images"] / 255.0 - mean[:case.channels]) / deviation[:case.channels]
    report.check_limit("input", dump["input"], pixels, 1e-6, 2)
    grads = {name[5:] for name in dump if name.startswith("grad.")}
    report.equal("names of gradients", sorted(grads), sorted(case.names(dump, "param.")))
    for name in case.names(dump, "param."):
        report.equal("flags of " + name, dump["flags." + name][0],
                     expected_flags(name, dump["param." + name].ndim, case.precision == "qat"))
    for training in (False, True):
        unsafe = compare_pass(report, case, dump, training)
        if unsafe:
            return unsafe
    return None


def run_case(program, case, folder):
    path = os.path.join(folder, "dump.safetensors")
    subprocess.run([program, path] + case.arguments(), check=True)
    return tensor_file.read(path)[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--quick", action="store_true", help="only the small networks")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--extra", action="append", default=[], help="key=value for oracle_dump")
    parser.add_argument("--write-golden", metavar="FOLDER")
    options = parser.parse_args()
    torch.set_num_threads(1)  # small tensors: more threads only wait
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        if options.write_golden:
            return golden.write_all(options.program, folder, options.write_golden, run_case)
        for values in CASES:
            fields = dict(zip(KEYS, values))
            if options.quick and fields["width"] > 0.1:
                continue
            skipped = []
            for seed in range(1, SEEDS + 1):
                case = Case(seed=seed, extra=options.extra, **fields)
                if options.only not in case.title():
                    break
                dump, report = run_case(options.program, case, folder), Report()
                unsafe = compare_case(report, case, dump)
                if not unsafe:
                    break
                skipped.append("seed %d: %s" % (seed, unsafe))
            if options.only not in case.title():
                continue
            if unsafe:
                report.failures.append("no usable seed of %d; %s" % (SEEDS, skipped[-1]))
            elif case.optimizers:
                recipes.compare(report, case, dump)
            print("%-4s %s: worst %.2f of its tolerance (%s)%s"
                  % ("FAIL" if report.failures else "ok", case.title(), *report.worst,
                     ", %d seeds passed over" % len(skipped) if skipped else ""), flush=True)
            for line in report.failures[:12]:
                print("     " + line)
            failed += bool(report.failures)
    print("oracle: %s" % ("%d cases failed" % failed if failed else "all cases agree"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
