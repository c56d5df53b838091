#!/usr/bin/env python3
"""Writes the seed inputs of fuzz_config and fuzz_checkpoint: valid texts and kinds of damage."""
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
        "lists": "[]\n[]\n{}\n[]",
        "deep": "[" * 3000 + "\n{}\n[]\n{}",
    },
}

if __name__ == "__main__":
    for folder, files in FILES.items():
        for name, text in files.items():
            (CORPUS / folder / name).write_text(text, encoding="utf-8")
