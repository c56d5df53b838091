"""The optimizer recipes of oracle_case.c in PyTorch, and their comparison over ten steps."""
import math

import torch

from torch_run import run, tensors

STEPS = 10
HEAD = ("head.weight", "head.bias")  # the group with its own learning rate
OPTIMIZERS = {
    # name: make(groups), lr, head lr, weight decay, gradient norm limit, warm-up steps
    "sgd": (lambda g: torch.optim.SGD(g, lr=1, momentum=0.9), 0.003, 0.01, 2e-2, 0.5, 0),
    "nesterov": (lambda g: torch.optim.SGD(g, lr=1, momentum=0.9, nesterov=True),
                 0.003, 0.01, 2e-2, 0.5, 3),
    "adam": (lambda g: torch.optim.Adam(g, eps=1e-3), 1e-3, 5e-3, 1e-3, 0.5, 0),
    "adamw": (lambda g: torch.optim.AdamW(g, eps=1e-3), 1e-3, 5e-3, 0.2, 0, 3),
}


def factor(step, warmup, floor=0.1):
    if step < warmup:
        return (step + 1) / warmup
    return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup))) / 2


class Recipe:
    def __init__(self, name, params):
        make, self.lr, self.head_lr, decay, self.clip, self.warmup = OPTIMIZERS[name]
        self.params, groups = params, []
        for key, value in params.items():
            head, decays = key in HEAD, value.dim() > 1
            groups.append({"params": [value], "weight_decay": decay if decays else 0,
                           "base": self.head_lr if head else self.lr})
        self.optimizer = make(groups)

    def step(self, number):
        """-> norm of the gradients before clipping"""
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor(number, self.warmup)
        norm = torch.nn.utils.clip_grad_norm_(self.params.values(), self.clip or float("inf"))
        self.optimizer.step()
        return float(norm)


def compare(report, case, dump):
    """Each step by itself: PyTorch's optimizer, fed with bitprop's gradients of the step, must give
    bitprop's parameters after it; and bitprop's gradients there must be PyTorch's."""
    usable = 0
    for name in OPTIMIZERS:
        params = tensors(dump, "param.", torch.float32)
        recipe = Recipe(name, params)
        for step in range(STEPS):
            here = "%s.%d." % (name, step)
            for key, value in params.items():
                value.grad = torch.tensor(dump[here + "grad." + key].copy())
            norm = recipe.step(step)
            report.check_limit(here + "norm", dump[name + ".norm"][step], norm, 1e-5 * norm, norm)
            last = step == STEPS - 1
            after = "%s.end.param." % name if last else "%s.%d.param." % (name, step + 1)
            for key, value in params.items():
                # A few roundings of values below 4 in each step.
                report.check_limit(after + key, dump[after + key], value.detach().numpy(),
                                   2e-7 * (step + 1), 1)
            usable += compare_step(report, case, dump, name, step)
    if usable < STEPS * len(OPTIMIZERS) // 8:
        report.failures.append("only %d of %d steps had safe decisions"
                               % (usable, STEPS * len(OPTIMIZERS)))


def compare_step(report, case, dump, name, step):
    here = "%s.%d." % (name, step)
    truth, rounded = run(case, dump, True, here + "param.")
    if truth.unsafe_decisions(rounded):
        return 0
    report.check(here + "loss", dump[name + ".loss"][step], truth.loss, [r.loss for r in rounded])
    for key in truth.grads:
        report.check(here + "grad." + key, dump[here + "grad." + key], truth.grads[key],
                     [r.grads[key] for r in rounded])
    return 1
