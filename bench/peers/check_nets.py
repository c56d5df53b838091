#!/usr/bin/env python3
"""The networks of torch_nets.py in the form "same" against those of tests/oracle, which tests
compare with bitprop: equal parameters give equal logits and gradients in float64."""
import pathlib
import sys

import torch

from torch_nets import Scale, build

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/oracle"))
from torch_models import MODELS, Net  # noqa: E402


def leaves(module):
    return [part for part in module.modules() if not list(part.children())]


def vgg16_names():
    names = []
    for i in range(1, 14):
        names += ["conv%d" % i, "norm%d" % i, "norm%d" % i]
    return names + ["head"]


def block_names(name, has_shortcut):
    names = [name + part for part in (".norm1", ".conv1", ".act1", ".act1", ".norm2", ".conv2",
                                      ".act2", ".act2")]
    return names + [name + ".shortcut.conv", name + ".shortcut.norm"] * has_shortcut


def resnet18_names():
    names = ["stem.conv", "stem.norm"]
    for stage in (1, 2, 3, 4):
        for block in (1, 2):
            names += block_names("stage%d.block%d" % (stage, block), stage > 1 and block == 1)
    return names + ["head.norm", "head.norm", "head"]


def oracle_parameters(net, names):
    """The module's parameters under the oracle's names and in its layouts: (name, tensor, back)."""
    parts = [part for part in leaves(net) if list(part.parameters())]
    assert len(parts) == len(names), "%d parts, %d names" % (len(parts), len(names))
    for part, name in zip(parts, names):
        for kind, value in part.named_parameters():
            if isinstance(part, torch.nn.PReLU):
                kind = "slope"
            if isinstance(part, Scale):
                value = value.flatten()
            if isinstance(part, torch.nn.Conv2d):
                value = value.permute(0, 2, 3, 1)
                if value.shape[1] == 1:
                    value = value[:, 0, 0]
            yield "%s.%s" % (name, kind), value


def running_statistics(names, parameters):
    norms = dict.fromkeys(name for name in names if name + ".bias" in parameters and name != "head")
    state = {}
    for name in norms:
        count = len(parameters[name + ".weight"])
        state[name + ".running_mean"] = torch.zeros(count, dtype=torch.float64)
        state[name + ".running_var"] = torch.ones(count, dtype=torch.float64)
    return state


def check(model, size):
    """-> the largest difference of logits and of gradients, in parts of the largest value."""
    torch.manual_seed(size)
    net = build(model, "same", size, width=0.125).double()
    with torch.no_grad():
        for value in net.parameters():  # scales and slopes that tell channels apart
            value.add_(0.1 * torch.randn_like(value))
    names = vgg16_names() if model == "vgg16" else resnet18_names()
    images = torch.randn(4, 3, size, size, dtype=torch.float64)
    views = dict(oracle_parameters(net, names))
    values = list(net.parameters())
    logits = net(images)
    theirs = MODELS[model](Net(views, running_statistics(names, views), False, True), images)
    assert len(views) == len(values)
    weights = torch.randn_like(logits)
    errors = [(logits - theirs).abs().max().item() / logits.abs().max().item()]
    for a, b in zip(torch.autograd.grad((logits * weights).sum(), values),
                    torch.autograd.grad((theirs * weights).sum(), values)):
        errors.append((a - b).abs().max().item() / max(a.abs().max().item(), 1e-3))
    return max(errors)


def main():
    wrong = 0
    for model, size in (("vgg16", 32), ("vgg16", 64), ("resnet18", 32), ("resnet18", 96)):
        error = check(model, size)
        wrong += not error < 1e-9
        print("%s %d px: largest relative difference %.2g%s" % (
            model, size, error, "" if error < 1e-9 else " WRONG"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
