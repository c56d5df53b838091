"""Runs one case in PyTorch: forward, loss, gradients, and how close the decisions were."""
import numpy as np
import torch
import torch.nn.functional as F

from torch_models import MODELS, Net


class Case:
    def __init__(self, model, precision, width, size, channels, classes, batch, smoothing,
                 optimizers, seed, extra=()):
        self.model, self.precision, self.width, self.size = model, precision, width, size
        self.channels, self.classes, self.batch = channels, classes, batch
        self.smoothing, self.optimizers, self.seed = smoothing, optimizers, seed
        self.extra = list(extra)

    def arguments(self):
        keys = ("model", "precision", "width", "size", "channels", "classes", "batch", "smoothing",
                "optimizers", "seed")
        return ["%s=%s" % (key, getattr(self, key)) for key in keys] + self.extra

    def title(self):
        return "%s %s width %g, %d px, %d channel(s), batch %d, smoothing %g, seed %d" % (
            self.model, self.precision, self.width, self.size, self.channels, self.batch,
            self.smoothing, self.seed)

    @staticmethod
    def names(dump, prefix):
        return [name[len(prefix):] for name in dump if name.startswith(prefix)]


class Result:
    def __init__(self, net, logits, loss, labels):
        self.logits, self.loss = logits.detach().double().numpy(), loss.detach().double().item()
        self.correct = int((logits.argmax(1) == labels).sum())
        self.kinks = net.kinks
        self.running = {name: value.double().numpy() for name, value in net.running.items()}
        self.grads = {name: value.grad.detach().double().numpy()
                      for name, value in net.p.items() if value.grad is not None}

    def unsafe_decisions(self, rounded):
        """The first place where float32 rounding could turn a decision, or None. Errors are taken
        per channel. A value that is exactly 0 in all (an integer sum times a scale) is safe."""
        for (name, values, distance), *kinks32 in zip(self.kinks, *(r.kinks for r in rounded)):
            error, exact = 0 * values.amax((0, 2, 3), keepdim=True), values == 0
            for _, values32, _ in kinks32:
                difference = (values - values32.double()).abs()
                error = error.maximum(difference.amax((0, 2, 3), keepdim=True))
                exact = exact & (values32 == 0)
            near = (distance <= 4 * error) & ~exact
            if near.any():
                return "%s: a value %.2g from its threshold, float error up to %.2g" % (
                    name, distance[near].min(), error.max())
        return None


def tensors(dump, prefix, dtype):
    """The tensors of a dump whose names begin with prefix, as torch tensors."""
    return {name: torch.tensor(np.array(dump[prefix + name]), dtype=dtype)
            for name in Case.names(dump, prefix)}


def run_with(case, dump, params, running, training, dtype):
    """params: leaf tensors (their .grad is set in training mode); running is updated then."""
    net = Net(params, running, case.precision == "qat", training)
    images = torch.tensor(np.array(dump["input"])).to(dtype).permute(0, 3, 1, 2)
    labels = torch.tensor(np.array(dump["labels"])).long()
    for value in params.values():
        value.grad = None
        value.requires_grad_(training)
    logits = MODELS[case.model](net, images)
    loss = F.cross_entropy(logits, labels, label_smoothing=case.smoothing)
    if training:
        loss.backward()
    return Result(net, logits, loss, labels)


ROUNDED_RUNS = 3


def perturbed(values, number):
    """The same tensors, from the second run on each element one float32 rounding away."""
    if number == 0:
        return values
    torch.manual_seed(number)
    signs = {name: torch.randint(0, 2, value.shape) * 2 - 1 for name, value in values.items()}
    return {name: value * (1 + signs[name] * 2.0 ** -23) for name, value in values.items()}


def run(case, dump, training, params="param.", running="running."):
    """-> the result in float64, and a list of results in float32."""
    truth = run_with(case, dump, tensors(dump, params, torch.float64),
                     tensors(dump, running, torch.float64), training, torch.float64)
    rounded = [run_with(case, dump, perturbed(tensors(dump, params, torch.float32), number),
                        tensors(dump, running, torch.float32), training, torch.float32)
               for number in range(ROUNDED_RUNS)]
    return truth, rounded


def rounding(truth, rounded):
    """How far float32 rounding moves a tensor: the largest difference over the runs."""
    return max(np.abs(np.asarray(value) - np.asarray(truth)).max() for value in rounded)
