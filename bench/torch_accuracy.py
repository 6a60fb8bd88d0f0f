"""Trains a method on signdigits in PyTorch as bench/studies/methods.peft.json does here, and prints its test accuracy.

  python bench/torch_accuracy.py --weights W.safetensors --data signdigits --methods linear,lora --seeds 42,43,44 --out F.jsonl

Recipe: DeiT-Tiny at 112 px (positions resampled, bicubic), batch 64, 15 epochs with one of warm-up, then cosine to 1e-5, every
step; AdamW, learning rate 1e-3, weight decay 1e-4 on all that trains, drop path 0.1, the methods' own dropout 0.1; training on
the 1,000 images of train and validation; ImageNet's normalisation. Lines that are in the output already are not trained again.
"""
import argparse
import json
import math
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from torch_methods import add_method, start_as_the_study

SIZE, BATCH, EPOCHS, WARM_UP, CLASSES = 112, 64, 15, 1, 10
RATE, FIRST_RATE, LAST_RATE, DECAY = 1e-3, 1e-6, 1e-5, 1e-4


def load_images(root: Path, listing: str) -> tuple[torch.Tensor, torch.Tensor]:
    """[images, 3, SIZE, SIZE] normalised, and labels."""
    lines = [line.rsplit(' ', 1) for line in (root / listing).read_text().splitlines() if line]
    pixels = np.stack([np.asarray(Image.open(root / name).convert('RGB').resize((SIZE, SIZE), Image.BICUBIC)) for name, _ in lines])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = (torch.from_numpy(pixels).float() / 255 - mean) / std
    return images.permute(0, 3, 1, 2).contiguous(), torch.tensor([int(label) for _, label in lines])


def backbone(weights: dict) -> nn.Module:
    model = timm.create_model('deit_tiny_patch16_224', pretrained=False, num_classes=CLASSES, img_size=SIZE, drop_path_rate=0.1)
    positions = weights['pos_embed']
    grid = positions[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(SIZE // 16, SIZE // 16), mode='bicubic', antialias=True)
    own = {**weights, 'pos_embed': torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)}
    model.load_state_dict({name: tensor for name, tensor in own.items() if not name.startswith('head')}, strict=False)
    model.head = nn.Linear(model.num_features, CLASSES)  # as the study's: PyTorch's first values, not timm's
    return model


def learning_rate(step: int, steps_per_epoch: int) -> float:
    warm, total = WARM_UP * steps_per_epoch, EPOCHS * steps_per_epoch
    if step < warm:
        return FIRST_RATE + (RATE - FIRST_RATE) * step / warm
    return LAST_RATE + (RATE - LAST_RATE) * (1 + math.cos(math.pi * step / total)) / 2


def train(method: str, seed: int, weights: dict, data) -> float:
    torch.manual_seed(seed)
    model = add_method(backbone(weights), method, dropout=0.1)
    start_as_the_study(model, method)
    (images, labels), (test_images, test_labels) = data
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=DECAY)
    steps_per_epoch = math.ceil(len(images) / BATCH)
    step = 0
    for _ in range(EPOCHS):
        model.train()
        for indices in torch.randperm(len(images)).split(BATCH):
            for group in optimizer.param_groups:
                group['lr'] = learning_rate(step, steps_per_epoch)
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(images[indices]), labels[indices]).backward()
            optimizer.step()
            step += 1
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(part).argmax(1) for part in test_images.split(BATCH)])
    return (guesses == test_labels).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--weights', required=True)
    parser.add_argument('--data', required=True, type=Path)
    parser.add_argument('--methods', default='linear,full,bitfit,ln,lora,adaptformer,vpt-deep')
    parser.add_argument('--seeds', default='42,43,44')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--out', required=True, type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights = load_file(options.weights)
    data = load_images(options.data, 'train800val200.txt'), load_images(options.data, 'test.txt')
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for seed in map(int, options.seeds.split(',')):
        for method in options.methods.split(','):
            if any(line['method'] == method and line['seed'] == seed for line in done):
                continue
            accuracy = train(method, seed, weights, data)
            with options.out.open('a') as out:
                out.write(json.dumps({'method': method, 'seed': seed, 'top1': round(accuracy, 4)}) + '\n')


if __name__ == '__main__':
    main()
