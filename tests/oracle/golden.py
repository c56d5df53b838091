"""Writes the golden files of tests/unit/test_golden.c: small cases whose results come from PyTorch
in float64. bitprop only supplies the starting parameters and images, which are exact random
numbers.

A file holds, in its metadata, the case and the names of parameters and statistics, as tensors
    eval.logits, train.logits, eval.loss, train.loss, grad, after (the running statistics after the
    training pass), and O.param and O.loss of a recipe O
where grad, after and O.param have SAMPLES elements of each tensor: element i * count / SAMPLES.
Beside every tensor X stands X.limit, the largest allowed error: 8 times what float32 does in
PyTorch, plus 1e-5 of the largest value (per parameter where X is sampled). Every decision (sign,
mask, PReLU, pooling) of every pass that is stored is farther from its threshold than float rounding
reaches."""
import os

import numpy as np
import torch

import recipes
import tensor_file
from torch_run import Case, ROUNDED_RUNS, perturbed, rounding, run, run_with, tensors

SAMPLES = 16
SEEDS = 400
VGG = (0.05, 32, 3, 10, 2, 0.1)  # width, size, channels, classes, batch, smoothing
RESNET = (0.03, 32, 1, 5, 2, 0.0)
RESNET_96 = (0.03, 96, 3, 5, 1, 0.1)
CASES = [
    # file, model, precision, shape, recipe
    ("vgg16_fp32_sgd", "vgg16", "fp32", VGG, "sgd"),
    ("vgg16_fp32_nesterov", "vgg16", "fp32", VGG, "nesterov"),
    ("vgg16_fp32_adam", "vgg16", "fp32", VGG, "adam"),
    ("vgg16_fp32_adamw", "vgg16", "fp32", VGG, "adamw"),
    ("vgg16_qat_sgd", "vgg16", "qat", VGG, "sgd"),
    ("vgg16_qat_nesterov", "vgg16", "qat", VGG, "nesterov"),
    ("vgg16_qat_adam", "vgg16", "qat", VGG, "adam"),
    ("vgg16_qat_adamw", "vgg16", "qat", VGG, "adamw"),
    ("resnet18_fp32", "resnet18", "fp32", RESNET, None),
    ("resnet18_qat_nesterov", "resnet18", "qat", RESNET, "nesterov"),
    ("resnet18_qat_adamw", "resnet18", "qat", RESNET, "adamw"),
    ("resnet18_qat_96px", "resnet18", "qat", RESNET_96, None),
]


def limit(truth, rounded):
    return np.float32(8 * rounding(truth, rounded) + 1e-5 * np.abs(truth).max())


def sample(array):
    flat = array.reshape(-1)
    return flat[[i * flat.size // SAMPLES for i in range(SAMPLES)]]


class Stored:
    def __init__(self):
        self.tensors = {}

    def put(self, name, truth, rounded):
        self.tensors[name] = np.atleast_1d(truth).astype(np.float32)
        self.tensors[name + ".limit"] = np.array([limit(truth, rounded)])

    def put_samples(self, name, truth, rounded):
        self.tensors[name] = np.array([sample(truth[key]) for key in truth], np.float32)
        self.tensors[name + ".limit"] = np.array(
            [limit(truth[key], [r[key] for r in rounded]) for key in truth])


class FreeRun:
    """Ten steps from the start, without looking at bitprop."""

    def __init__(self, case, dump, name, dtype, number):
        params = perturbed(tensors(dump, "param.", dtype), number)
        running, self.passes = tensors(dump, "running.", dtype), []
        recipe = recipes.Recipe(name, params)
        for step in range(recipes.STEPS):
            self.passes.append(run_with(case, dump, params, running, True, dtype))
            recipe.step(step)
        self.params = {key: value.detach().double().numpy() for key, value in params.items()}
        self.losses = np.array([p.loss for p in self.passes])


def make(case, dump, name):
    """-> tensors, or None if some decision is too close to its threshold."""
    stored = Stored()
    for training, prefix in ((False, "eval."), (True, "train.")):
        truth, rounded = run(case, dump, training)
        if truth.unsafe_decisions(rounded):
            return None
        stored.put(prefix + "logits", truth.logits, [r.logits for r in rounded])
        stored.put(prefix + "loss", truth.loss, [r.loss for r in rounded])
        if training:
            stored.put_samples("grad", truth.grads, [r.grads for r in rounded])
            stored.put_samples("after", truth.running, [r.running for r in rounded])
    if name:
        truth = FreeRun(case, dump, name, torch.float64, 0)
        rounded = [FreeRun(case, dump, name, torch.float32, number)
                   for number in range(ROUNDED_RUNS)]
        for step in range(recipes.STEPS):
            if truth.passes[step].unsafe_decisions([r.passes[step] for r in rounded]):
                return None
        stored.put_samples(name + ".param", truth.params, [r.params for r in rounded])
        stored.put(name + ".loss", truth.losses, [r.losses for r in rounded])
    return stored.tensors


def write_all(program, folder, target, run_case):
    for file, model, precision, shape, name in CASES:
        for seed in range(1, SEEDS + 1):
            case = Case(model, precision, *shape, 0, seed)
            dump = run_case(program, case, folder)
            stored = make(case, dump, name)
            if stored:
                break
        else:
            print("%s: no usable seed of %d" % (file, SEEDS))
            return 1
        metadata = dict(argument.split("=") for argument in case.arguments())
        metadata["params"] = ",".join(case.names(dump, "param."))
        metadata["running"] = ",".join(case.names(dump, "running."))
        path = os.path.join(target, file + ".safetensors")
        tensor_file.write(path, stored, metadata)
        print("%s: seed %d, %d bytes" % (path, seed, os.path.getsize(path)), flush=True)
    return 0
