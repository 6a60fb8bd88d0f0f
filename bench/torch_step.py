"""The other side of bench/bench.mjs: the same training step in PyTorch, with timm's Vision Transformer.

Attention is PyTorch's fused one (SDPA).
Answers as step.ts does; weights and images come from the file that it exported.
"""
import argparse
import json
import resource
import sys
import time

import timm
import torch
from safetensors.torch import load_file
from torch import nn

from torch_methods import add_method, load_adapter


def images_of(patches: torch.Tensor, batch: int, patch: int = 16) -> torch.Tensor:
    """Rows are patch * batch + image, columns those of a flattened patch embedding."""
    grid = int((patches.shape[0] // batch) ** 0.5)
    return patches.reshape(grid, grid, batch, 3, patch, patch).permute(2, 3, 0, 4, 1, 5).reshape(batch, 3, grid * patch, grid * patch).contiguous()


def product_rates(rows: int, width: int, hidden: int, count: int) -> dict:
    """GFLOP/s of the MLP's products, forward and for the weights' gradient, `count` times each."""
    x, w, dy = torch.randn(rows, width), torch.randn(hidden, width), torch.randn(rows, hidden)
    rates = {}
    for name, product in (('forward', lambda: x @ w.T), ('weights', lambda: dy.T @ x)):
        rates[f'{name} {rows} rows'] = []
        for _ in range(count):
            started = time.perf_counter()
            product()
            rates[f'{name} {rows} rows'].append(2 * rows * width * hidden / (time.perf_counter() - started) / 1e9)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--arch', default='deit_tiny_patch16_224')
    parser.add_argument('--method', default='lora')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--classes', type=int, default=10)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--drop-path', type=float, default=0.0)
    parser.add_argument('--tensors', required=True)
    parser.add_argument('--compile', action='store_true')
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    tensors = load_file(options.tensors)
    model = timm.create_model(options.arch, pretrained=False, num_classes=options.classes, drop_path_rate=options.drop_path)
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    model = add_method(model, options.method, dropout=0.0).train()
    load_adapter(model, options.method, tensors)
    images = images_of(tensors.pop('patches'), options.batch)
    width, hidden = tensors['blocks.0.mlp.fc1.weight'].shape[1], tensors['blocks.0.mlp.fc1.weight'].shape[0]
    tensors.clear()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-4)
    labels = torch.arange(options.batch) % options.classes
    run = torch.compile(model) if options.compile else model
    for line in sys.stdin:
        if line.startswith('rates'):
            print(json.dumps({'rates': product_rates(197 * options.batch, width, hidden, int(line.split()[1]))}), flush=True)
            continue
        milliseconds, processor, losses = [], [], []
        for _ in range(int(line)):
            started, used = time.perf_counter(), time.process_time()
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(run(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            milliseconds.append((time.perf_counter() - started) * 1000)
            processor.append((time.process_time() - used) * 1000)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({'ms': milliseconds, 'cpuMs': processor, 'losses': losses, 'peakMiB': peak}), flush=True)


if __name__ == '__main__':
    main()
