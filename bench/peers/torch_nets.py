"""The two networks as PyTorch modules, in two forms each.

same    bitprop's fp32 graph, layer for layer: PReLU with a slope per channel; ResNet-18 with
        pre-activation blocks and scales (docs/METHOD.md; check_nets.py compares with tests/oracle)
plain   what people train otherwise: ReLU in place of PReLU, in place; ResNet-18 with basic blocks
        (convolution, batch norm, ReLU) and strided 1x1 shortcuts; the same stem and channels
"""
import torch
from torch import nn

STEM_LARGE_PX = 96  # from this size on ResNet-18 begins with a 7x7/2 convolution and a pooling


def channels(base, width):
    return int(base * width + 0.5)


def conv(c_in, c_out, size, stride=1):
    return nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)


def activation(form, count):
    return nn.PReLU(count) if form == "same" else nn.ReLU(inplace=True)


def head(c_in, classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, classes))


def vgg16(form, width, c_in, classes):
    layers = []
    for base, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            c_out = channels(base, width)
            layers += [conv(c_in, c_out, 3), nn.BatchNorm2d(c_out), activation(form, c_out)]
            c_in = c_out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, head(c_in, classes))


class Scale(nn.Module):
    """A factor per channel."""

    def __init__(self, count):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(count, 1, 1))

    def forward(self, x):
        return x * self.alpha


class SameBlock(nn.Module):
    """h = PReLU(alpha1 conv1(norm1(x))); out = PReLU(alpha2 conv2(norm2(h))) + shortcut(x)."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(c_in), conv(c_in, c_out, 3, stride), Scale(c_out), nn.PReLU(c_out),
            nn.BatchNorm2d(c_out), conv(c_out, c_out, 3), Scale(c_out), nn.PReLU(c_out))
        shortcut = [nn.AvgPool2d(2, 2, ceil_mode=True)] if stride == 2 else []
        if stride == 2 or c_in != c_out:
            shortcut += [conv(c_in, c_out, 1), nn.BatchNorm2d(c_out)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class PlainBlock(nn.Module):
    """relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x))."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.body = nn.Sequential(
            conv(c_in, c_out, 3, stride), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True),
            conv(c_out, c_out, 3), nn.BatchNorm2d(c_out))
        shortcut = []
        if stride == 2 or c_in != c_out:
            shortcut = [conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out)]
        self.shortcut = nn.Sequential(*shortcut)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        h = self.body(x)
        h += self.shortcut(x)
        return self.relu(h)


def resnet18(form, width, c_in, classes, size):
    block = SameBlock if form == "same" else PlainBlock
    large = size >= STEM_LARGE_PX
    c_out = channels(64, width)
    layers = [conv(c_in, c_out, 7, 2) if large else conv(c_in, c_out, 3), nn.BatchNorm2d(c_out),
              nn.ReLU(inplace=True)]
    if large:
        layers.append(nn.MaxPool2d(3, 2, 1))
    for stage, base in enumerate((64, 128, 256, 512)):
        for number in range(2):
            c_in, c_out = c_out, channels(base, width)
            layers.append(block(c_in, c_out, 2 if stage > 0 and number == 0 else 1))
    if form == "same":
        layers += [nn.BatchNorm2d(c_out), nn.PReLU(c_out)]
    return nn.Sequential(*layers, head(c_out, classes))


def build(model, form, size, width=1.0, c_in=3, classes=10):
    if model == "vgg16":
        return vgg16(form, width, c_in, classes)
    return resnet18(form, width, c_in, classes, size)
