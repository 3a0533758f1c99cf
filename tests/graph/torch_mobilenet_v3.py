"""MobileNetV3 as a torch module, as its public implementations write it; imported only where torch is installed."""

from typing import Any

import torch
from torch import nn

# kernel, expansion, out channels, squeeze-excite, h-swish, stride: tables 1 and 2 of arXiv:1905.02244.
Row = tuple[int, int, int, bool, bool, int]
LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int, groups: int, activation: Any) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs, eps=0.001, momentum=0.01)]
    return nn.Sequential(*layers, *([activation()] if activation is not None else []))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        squeezed += 8 if squeezed < 0.9 * (channels // 4) else 0
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale: torch.Tensor = self.layers(x)
        return scale * x


class Block(nn.Module):
    def __init__(self, inputs: int, row: Row) -> None:
        super().__init__()
        kernel, expansion, outputs, squeeze, hswish, stride = row
        activation = nn.Hardswish if hswish else nn.ReLU
        layers: list[nn.Module] = []
        if expansion != inputs:
            layers.append(conv_bn(inputs, expansion, 1, 1, 1, activation))
        layers.append(conv_bn(expansion, expansion, kernel, stride, expansion, activation))
        if squeeze:
            layers.append(SqueezeExcite(expansion))
        layers.append(conv_bn(expansion, outputs, 1, 1, 1, None))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """The classifier of 1000 classes, in inference mode, with weights and statistics drawn from a seed."""

    def __init__(self, variant: str, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        rows, hidden = (LARGE, 1280) if variant == "large" else (SMALL, 1024)
        channels = (16, *(row[2] for row in rows))
        blocks = [Block(before, row) for before, row in zip(channels[:-1], rows, strict=True)]
        last = 6 * channels[-1]
        self.features = nn.Sequential(
            conv_bn(3, 16, 3, 2, 1, nn.Hardswish), *blocks, conv_bn(channels[-1], last, 1, 1, 1, nn.Hardswish)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(last, hidden), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(hidden, 1000)
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.1, 0.4)
                nn.init.uniform_(module.weight, 0.8, 1.2)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits
