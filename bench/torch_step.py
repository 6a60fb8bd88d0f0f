"""The other side of bench/compare.mjs: the same training step in PyTorch, with timm's Vision Transformer.

The methods are written here from their formulas. Protocol and output as in step.ts.
"""
import argparse
import json
import resource
import sys
import time

import timm
import torch
from torch import nn


class FusedLora(nn.Module):
    """qkv(x) + B A dropout(x), one shared A and one B for q, k and v (the study's form)."""

    def __init__(self, qkv: nn.Linear, rank: int = 8, dropout: float = 0.1):
        super().__init__()
        self.qkv, self.dropout = qkv, nn.Dropout(dropout)
        self.a = nn.Linear(qkv.in_features, rank, bias=False)
        self.b = nn.Linear(rank, qkv.out_features, bias=False)

    def forward(self, x):
        return self.qkv(x) + self.b(self.a(self.dropout(x)))


def build(arch: str, method: str, classes: int, drop_path: float) -> nn.Module:
    model = timm.create_model(arch, pretrained=False, num_classes=classes, drop_path_rate=drop_path)
    if method == 'lora':
        for block in model.blocks:
            block.attn.qkv = FusedLora(block.attn.qkv)
    trains = {
        'linear': lambda n: False, 'full': lambda n: True, 'bitfit': lambda n: n.endswith('bias'),
        'ln': lambda n: 'norm' in n, 'lora': lambda n: '.qkv.a.' in n or '.qkv.b.' in n,
    }[method]
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith('head') or trains(name)
    return model


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--arch', default='deit_tiny_patch16_224')
    parser.add_argument('--method', default='lora')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--classes', type=int, default=10)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--drop-path', type=float, default=0.1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = build(options.arch, options.method, options.classes, options.drop_path).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-4)
    images = torch.randn(options.batch, 3, 224, 224)
    labels = torch.arange(options.batch) % options.classes
    for line in sys.stdin:
        milliseconds, processor = [], []
        for _ in range(int(line)):
            started, used = time.perf_counter(), time.process_time()
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            milliseconds.append((time.perf_counter() - started) * 1000)
            processor.append((time.process_time() - used) * 1000)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({'ms': milliseconds, 'cpuMs': processor, 'loss': loss.item(), 'peakMiB': peak}), flush=True)


main()
