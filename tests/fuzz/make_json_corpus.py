#!/usr/bin/env python3
"""Writes the seed inputs of fuzz_config, fuzz_checkpoint and fuzz_begin: valid texts and kinds of damage."""
import json
import pathlib

CORPUS = pathlib.Path(__file__).parent / "corpus"

CONFIG = {"model": "resnet18", "width": 0.25, "precision": "fqt", "preset": "balanced", "lr": 1e-3,
          "epochs": 60, "batch": 128, "nesterov": False, "schedule": "cosine", "data": "pictures"}
NETWORK = {"model": "vgg16", "precision": "fqt", "width": 0.125, "height": 32, "width_px": 32,
           "channels": 1, "classes": 2, "parameters": 1000, "binary_weights": 900,
           "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "resize": 0}
PROGRESS = {"step": 9, "epoch": 3, "eval_step": 9, "accuracy": 0.5, "loss": 1.5,
            "best_accuracy": 0.75, "best_epoch": 2, "epoch_loss_sum": 0.0, "epoch_correct": 0,
            "epoch_seen": 0}
DATA = {"kind": "folder", "train": 191, "val": 48, "classes": 3, "fingerprint": "0123456789abcdef"}
INIT = {"file": "runs/a/best.ckpt", "content": "fedcba9876543210", "epoch": 3, "accuracy": 0.75,
        "tensors": [{"name": "conv1.weight", "what": "taken"},
                    {"name": "head.weight", "what": "new", "why": "other classes"}]}


def checkpoint(network=NETWORK, progress=PROGRESS, classes=("cat", "dog"), config=CONFIG):
    return "\n".join(json.dumps(part) for part in (network, progress, classes, config))


FILES = {
    "config": {
        "valid": json.dumps(CONFIG),
        "empty": "",
        "empty-object": "{}",
        "list": "[1, 2]",
        "twice": '{"lr": 1, "lr": 2}',
        "unknown": '{"learning-rate": 1}',
        "nested": '{"lr": {"value": 1}}',
        "out-of-range": '{"batch": -1}',
        "huge-number": '{"lr": 1e999}',
        "many-digits": '{"lr": 0.1234567890123456789, "epochs": 18446744073709551616}',
        "escapes": '{"data": "\\ud83d\\ude00 \\u00e4\\n", "model": "vgg16\\u0000"}',
        "zero-character": '{"data": "a\\u0000b"}',
        "half-surrogate": '{"data": "\\ud83d"}',
        "no-end": '{"data": "a',
        "deep": '{"lr": ' + "[" * 3000,
        "words": '{"batch": "auto", "time": "1h30m"}',
        "bad-time": '{"time": "1.5.5h9999999999999999999999999999999s"}',
        "null": '{"run": null, "lr": null}',
    },
    "checkpoint": {
        "valid": checkpoint(),
        "cut": checkpoint()[:200],
        "empty": "",
        "other-model": checkpoint(network=dict(NETWORK, model="vgg17")),
        "no-classes": checkpoint(network=dict(NETWORK, classes=0), classes=()),
        "classes-differ": checkpoint(classes=("cat",)),
        "class-no-text": checkpoint(classes=("cat", 7)),
        "huge-classes": checkpoint(network=dict(NETWORK, classes=1 << 62)),
        "negative": checkpoint(network=dict(NETWORK, height=-1)),
        "std-zero": checkpoint(network=dict(NETWORK, std=[0, 1, 1])),
        "mean-short": checkpoint(network=dict(NETWORK, mean=[0.5])),
        "width-text": checkpoint(network=dict(NETWORK, width="1")),
        "eval-behind": checkpoint(progress=dict(PROGRESS, eval_step=10)),
        "run-cut": checkpoint(progress=dict(PROGRESS, cut_step=4, cut_position=4.5, cut_steps=12)),
        "cut-behind": checkpoint(progress=dict(PROGRESS, cut_step=9, cut_position=9, cut_steps=9)),
        "cut-alone": checkpoint(progress=dict(PROGRESS, cut_steps=10)),
        "cut-nowhere": checkpoint(progress=dict(PROGRESS, cut_step=1, cut_position=-1e300,
                                                cut_steps=1 << 40)),
        "lists": "[]\n[]\n{}\n[]",
        "deep": "[" * 3000 + "\n{}\n[]\n{}",
    },
    "begin": {
        "data": "d" + json.dumps(DATA),
        "data-cut": "d" + json.dumps(DATA)[:60],
        "data-types": 'd{"train": "many", "val": [], "classes": 1e300, "fingerprint": 7}',
        "data-hash": 'd{"train": 1, "fingerprint": "0123456789abcdeg"}',
        "data-long-hash": 'd{"fingerprint": "' + "0" * 300 + '"}',
        "data-list": "d[]",
        "data-twice": 'd{"train": 1, "train": 1}',
        "init": "i" + json.dumps(INIT),
        "init-nothing": "i{}",
        "init-lines": 'i{"content": "one\\ntwo"}',
        "init-zero": 'i{"content": "0123456789abcdef\\u0000"}',
        "init-deep": "i" + "[" * 3000,
        "init-text": "i\"0123456789abcdef\"",
    },
}

if __name__ == "__main__":
    for folder, files in FILES.items():
        (CORPUS / folder).mkdir(exist_ok=True)
        for name, text in files.items():
            (CORPUS / folder / name).write_text(text, encoding="utf-8")
