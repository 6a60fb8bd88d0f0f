"""The other side of bench/bench.mjs: the same training step in PyTorch, with timm's Vision Transformer.

LoRA is HF PEFT's; the other methods are written here from their formulas. Attention is PyTorch's fused one (SDPA).
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


class AdaptMlp(nn.Module):
    """MLP(LayerNorm(h)) + s (W_up ReLU(W_down h + b_down) + b_up), standing where timm has norm2 and mlp."""

    def __init__(self, norm: nn.Module, mlp: nn.Module, width: int, bottleneck: int = 64, scale: float = 0.1):
        super().__init__()
        self.norm, self.mlp, self.scale = norm, mlp, scale
        self.down_proj, self.up_proj = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)

    def forward(self, h):
        return self.mlp(self.norm(h)) + self.scale * self.up_proj(torch.relu(self.down_proj(h)))


class PromptedBlock(nn.Module):
    """A block with its own prompts behind the tokens, taken off again after it."""

    def __init__(self, block: nn.Module, prompts: int, width: int):
        super().__init__()
        self.block = block
        self.prompts = nn.Parameter(torch.zeros(prompts, width))

    def forward(self, x):
        prompts = self.prompts.expand(x.shape[0], -1, -1)
        return self.block(torch.cat([x, prompts], 1))[:, :x.shape[1]]


def build(arch: str, method: str, classes: int, drop_path: float, tensors: dict) -> nn.Module:
    model = timm.create_model(arch, pretrained=False, num_classes=classes, drop_path_rate=drop_path)
    own = model.state_dict()
    model.load_state_dict({name: tensors[name] for name in own})
    width = model.embed_dim
    trains = {
        'linear': lambda n: False, 'full': lambda n: True, 'bitfit': lambda n: n.endswith('bias'), 'ln': lambda n: 'norm' in n,
        'lora': lambda n: 'lora_' in n, 'adaptformer': lambda n: 'down_proj' in n or 'up_proj' in n, 'vpt-deep': lambda n: 'prompts' in n,
    }[method]
    if method == 'lora':
        from peft import LoraConfig, inject_adapter_in_model
        model = inject_adapter_in_model(LoraConfig(r=8, lora_alpha=8, lora_dropout=0.0, target_modules=['qkv']), model)
        for i, block in enumerate(model.blocks):
            with torch.no_grad():
                block.attn.qkv.lora_A['default'].weight.copy_(tensors[f'blocks.{i}.attn.lora.lora_a.weight'])
                block.attn.qkv.lora_B['default'].weight.copy_(tensors[f'blocks.{i}.attn.lora.lora_b.weight'])
    if method == 'adaptformer':
        for i, block in enumerate(model.blocks):
            block.mlp = AdaptMlp(block.norm2, block.mlp, width)
            block.norm2 = nn.Identity()
            for name in ('down_proj', 'up_proj'):
                getattr(block.mlp, name).load_state_dict({k: tensors[f'blocks.{i}.ft_mlp_module.{name}.{k}'] for k in ('weight', 'bias')})
    if method == 'vpt-deep':
        prompts = tensors['vpt.prompt_embeddings']
        model.blocks = nn.Sequential(*[PromptedBlock(block, prompts.shape[1], width) for block in model.blocks])
        for block, values in zip(model.blocks, prompts):
            block.prompts.data.copy_(values)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith('head') or trains(name)
    return model.train()


def images_of(patches: torch.Tensor, batch: int, patch: int = 16) -> torch.Tensor:
    """Rows are patch * batch + image, columns those of a flattened patch embedding."""
    grid = int((patches.shape[0] // batch) ** 0.5)
    return patches.reshape(grid, grid, batch, 3, patch, patch).permute(2, 3, 0, 4, 1, 5).reshape(batch, 3, grid * patch, grid * patch).contiguous()


def product_rates(rows: int, width: int, hidden: int) -> dict:
    """GFLOP/s of the MLP's products, forward and for the weights' gradient: the best of 10."""
    x, w, dy = torch.randn(rows, width), torch.randn(hidden, width), torch.randn(rows, hidden)
    rates = {}
    for name, product in (('forward', lambda: x @ w.T), ('weights', lambda: dy.T @ x)):
        least = float('inf')
        for _ in range(12):
            started = time.perf_counter()
            product()
            least = min(least, time.perf_counter() - started)
        rates[f'{name} {rows} rows'] = 2 * rows * width * hidden / least / 1e9
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
    model = build(options.arch, options.method, options.classes, options.drop_path, tensors)
    images = images_of(tensors.pop('patches'), options.batch)
    width, hidden = tensors['blocks.0.mlp.fc1.weight'].shape[1], tensors['blocks.0.mlp.fc1.weight'].shape[0]
    tensors.clear()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-4)
    labels = torch.arange(options.batch) % options.classes
    run = torch.compile(model) if options.compile else model
    for line in sys.stdin:
        if line.strip() == 'rates':
            print(json.dumps({'rates': product_rates(197 * options.batch, width, hidden)}), flush=True)
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


main()
