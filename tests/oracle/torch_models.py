"""The two networks in PyTorch, written from their definition. Parameters carry bitprop's names and
layouts (convolutions [k][r][r][c]); gradients therefore come out in bitprop's layout too.

Every place where a function has a kink or a jump (sgn, straight-through masks, PReLU, ReLU, max
pooling) is recorded with the distance of each value from it: a decision there is only comparable
between two programs if the distance is larger than their rounding errors."""
import torch
import torch.nn.functional as F


class Sign(torch.autograd.Function):
    """-1 if v < 0, else +1; the gradient passes where |v| < 1."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return torch.where(v < 0, -torch.ones_like(v), torch.ones_like(v))

    @staticmethod
    def backward(ctx, g):
        (v,) = ctx.saved_tensors
        return torch.where(v.abs() < 1, g, torch.zeros_like(g))


class Net:
    """One pass: params and running are dicts of tensors; running is updated in training mode."""

    def __init__(self, params, running, binary, training):
        self.p, self.running, self.binary, self.training = params, running, binary, training
        self.kinks = []  # (name, values, distances or None: |values|)

    def kink(self, name, values, distance=None):
        values = values.detach()
        self.kinks.append((name, values, values.abs() if distance is None else distance.detach()))

    def conv(self, name, x, stride, pad, bias=False):
        weight = self.p[name + ".weight"]
        weight = weight.permute(0, 3, 1, 2) if weight.dim() == 4 else weight[:, :, None, None]
        return F.conv2d(x, weight, self.p[name + ".bias"] if bias else None, stride, pad)

    def sign(self, name, x):
        if not self.binary:
            return x
        self.kink(name + " sign", x)
        self.kink(name + " mask", x, (x.abs() - 1).abs())
        return Sign.apply(x)

    def bconv(self, name, x, stride=1):
        if not self.binary:
            return self.conv(name, x, stride, 1)
        weight = Sign.apply(self.p[name + ".weight"]).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, None, stride, 1)

    def batch_norm(self, name, x):
        return F.batch_norm(x, self.running[name + ".running_mean"],
                            self.running[name + ".running_var"], self.p[name + ".weight"],
                            self.p[name + ".bias"], self.training, 0.1, 1e-5)

    def alpha(self, name, x):
        return x * self.p[name + ".alpha"].view(1, -1, 1, 1)

    def prelu(self, name, x):
        """Slope where v < 0. Exactly at 0, where integer sums often are, the gradient passes
        unchanged (F.prelu takes the slope there)."""
        self.kink(name + " prelu", x)
        return torch.where(x < 0, x * self.p[name + ".slope"].view(1, -1, 1, 1), x)

    def relu(self, name, x):
        self.kink(name + " relu", x)
        return F.relu(x)

    def max_pool(self, name, x, size, pad):
        """An exact tie goes to the first in both programs; a near tie is a kink."""
        padded = F.pad(x.detach(), (pad, pad, pad, pad), value=float("-inf"))
        windows = padded.unfold(2, size, 2).unfold(3, size, 2).flatten(4)
        top = windows.topk(2, dim=4).values
        gap = top[..., 0] - top[..., 1]
        gap[gap == 0] = float("inf")
        self.kink(name + " max pool", top[..., 0], gap)
        return F.max_pool2d(x, size, 2, pad)


def vgg16(net, x):
    h, index = x, 1
    for count in (2, 2, 3, 3, 3):  # convolutions between two poolings
        for position in range(count):
            conv, norm = "conv%d" % index, "norm%d" % index
            if index == 1:
                h = net.conv(conv, h, 1, 1)
            else:
                h = net.bconv(conv, net.sign(conv, h))
            h = net.prelu(norm, net.batch_norm(norm, h))
            if position == count - 1:
                h = net.max_pool(norm, h, 2, 0)
            index += 1
    h = h.mean((2, 3), keepdim=True)
    return net.conv("head", h, 1, 0, bias=True).flatten(1)


def resnet18(net, x):
    big = x.shape[2] >= 96
    h = net.conv("stem.conv", x, 2 if big else 1, 3 if big else 1)
    h = net.relu("stem.norm", net.batch_norm("stem.norm", h))
    if big:
        h = net.max_pool("stem", h, 3, 1)
    for stage in (1, 2, 3, 4):
        for block in (1, 2):
            name = "stage%d.block%d" % (stage, block)
            stride = 2 if stage > 1 and block == 1 else 1
            shortcut = h
            if stride == 2:
                shortcut = F.avg_pool2d(h, 2, 2, ceil_mode=True)
                shortcut = net.conv(name + ".shortcut.conv", shortcut, 1, 0)
                shortcut = net.batch_norm(name + ".shortcut.norm", shortcut)
            for i in (1, 2):
                part = name + ".%s%d"
                h = net.sign(part % ("norm", i), net.batch_norm(part % ("norm", i), h))
                h = net.bconv(part % ("conv", i), h, stride if i == 1 else 1)
                h = net.prelu(part % ("act", i), net.alpha(part % ("act", i), h))
            h = h + shortcut
    h = net.prelu("head.norm", net.batch_norm("head.norm", h))
    h = h.mean((2, 3), keepdim=True)
    return net.conv("head", h, 1, 0, bias=True).flatten(1)


MODELS = {"vgg16": vgg16, "resnet18": resnet18}
