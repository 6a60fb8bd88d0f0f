"""The other side of bench/cached.mjs: linear probing of DeiT-Tiny in PyTorch, plain and on features computed once.

Prints one JSON line: seconds of one plain epoch; seconds to compute the features; seconds of each of ten epochs on them.
"""
import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

import torch_accuracy
from torch_methods import add_method


def epoch(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, batch: int, optimizer) -> float:
    started = time.perf_counter()
    for indices in torch.randperm(len(inputs)).split(batch):
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(inputs[indices]), labels[indices]).backward()
        optimizer.step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--weights', required=True)
    parser.add_argument('--data', required=True, type=Path)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch_accuracy.SIZE = 224
    images, labels = torch_accuracy.load_images(options.data, 'train800val200.txt')
    model = add_method(torch_accuracy.backbone(load_file(options.weights)), 'linear', dropout=0.0).train()
    for block in model.blocks:
        block.drop_path1 = block.drop_path2 = nn.Identity()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-4)
    plain = epoch(model, images, labels, options.batch, optimizer)
    started = time.perf_counter()
    with torch.no_grad():
        features = torch.cat([model.forward_head(model.forward_features(part), pre_logits=True) for part in images.split(options.batch)])
    computing = time.perf_counter() - started
    cached = [epoch(model.head, features, labels, options.batch, optimizer) for _ in range(10)]
    print(json.dumps({'images': len(images), 'plainEpochSeconds': plain, 'featureSeconds': computing, 'cachedEpochSeconds': cached}))


if __name__ == '__main__':
    main()
