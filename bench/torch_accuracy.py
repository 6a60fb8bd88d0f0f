"""Trains a method on signdigits in PyTorch as bench/studies/methods.peft.json does here, and prints its test accuracy.

  python bench/torch_accuracy.py --weights W.safetensors --data signdigits --methods linear,lora --seeds 42,43,44 --out F.jsonl

Recipe: DeiT-Tiny at 112 px (positions resampled, bicubic), batch 64, 15 epochs with one of warm-up, then cosine to 1e-5, every
step; AdamW, learning rate 1e-3, weight decay 1e-4 on all that trains, drop path 0.1, the methods' own dropout 0.1; training on
the 1,000 images of train and validation; ImageNet's normalisation. Lines that are in the output already are not trained again.

With --draws STORE,... nothing is left to PyTorch's own chance: first values, order of the images, dropout and drop path are
those of the trial of this method and seed in the store of a study (.bench/methods.peft), which dist/bench/draws.cjs tells
(`node bench/bundle.mjs` builds it).
"""
import argparse
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from torch_methods import add_method, load_adapter, start_as_the_study, take_masks

ROOT = Path(__file__).parent.parent
SIZE, BATCH, EPOCHS, WARM_UP, CLASSES = 112, 64, 15, 1, 10
RATE, FIRST_RATE, LAST_RATE, DECAY = 1e-3, 1e-6, 1e-5, 1e-4


def load_images(root: Path, listing: str) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Names, [images, 3, SIZE, SIZE] normalised, and labels."""
    lines = [line.rsplit(' ', 1) for line in (root / listing).read_text().splitlines() if line]
    pixels = np.stack([np.asarray(Image.open(root / name).convert('RGB').resize((SIZE, SIZE), Image.BICUBIC)) for name, _ in lines])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = (torch.from_numpy(pixels).float() / 255 - mean) / std
    return [name for name, _ in lines], images.permute(0, 3, 1, 2).contiguous(), torch.tensor([int(label) for _, label in lines])


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


class OwnDraws:
    """First values as the study's, the rest by PyTorch's random numbers."""

    def __init__(self, model: nn.Module, method: str):
        start_as_the_study(model, method)

    def batches(self, names: list[str]):
        """Indices of the images of each step."""
        for _ in range(EPOCHS):
            yield from torch.randperm(len(names)).split(BATCH)


class TrialDraws:
    """Those of a trial: what bench/draws.ts writes."""

    def __init__(self, model: nn.Module, method: str, trial: Path):
        self.process = subprocess.Popen(['node', ROOT / 'dist/bench/draws.cjs', trial], stdout=subprocess.PIPE)
        self.trial = json.loads(self.process.stdout.readline())
        tensors = {one['name']: self.read(np.float32, one['shape']) for one in self.trial['tensors']}
        load_adapter(model, method, tensors)
        self.masks = take_masks(model, method, {one['name']: one['rate'] for one in self.trial['masks']})

    def read(self, dtype: type, shape: list[int]) -> torch.Tensor:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        data = self.process.stdout.read(size)
        if len(data) < size:
            raise EOFError('the trial has no more draws')
        return torch.from_numpy(np.frombuffer(data, dtype).reshape(shape).copy())

    def batches(self, names: list[str]):
        rows = torch.tensor([names.index(name) for name in self.trial['images']])
        for _ in range(self.trial['steps']):
            count = self.read(np.int32, [1]).item()
            indices = self.read(np.int32, [count])
            for one in self.trial['masks']:
                self.masks[one['name']].mask = self.by_image(self.read(np.uint8, one['shape']))[:count].float()
            yield rows[indices.long()]
        if self.process.stdout.read(1) or self.process.wait(60):
            raise ValueError('the trial has more draws than steps, or failed')

    def by_image(self, mask: torch.Tensor) -> torch.Tensor:
        """Rows are token * batch + image; a mask that all images share stays as it is, under one more axis."""
        rows, columns = mask.shape[-2:]
        if rows % self.trial['batch']:
            return mask[None]
        return mask.reshape(-1, self.trial['batch'], columns).transpose(0, 1)


def train(method: str, seed: int, weights: dict, data, trial: Path | None) -> float:
    torch.manual_seed(seed)
    model = add_method(backbone(weights), method, dropout=0.1)
    draws = TrialDraws(model, method, trial) if trial else OwnDraws(model, method)
    (names, images, labels), (_, test_images, test_labels) = data
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=DECAY)
    steps_per_epoch = math.ceil(len(images) / BATCH)
    model.train()
    for step, indices in enumerate(draws.batches(names)):
        for group in optimizer.param_groups:
            group['lr'] = learning_rate(step, steps_per_epoch)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(images[indices]), labels[indices]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(part).argmax(1) for part in test_images.split(BATCH)])
    return (guesses == test_labels).float().mean().item()


def find_trial(stores: list[str], method: str, seed: int) -> Path:
    for store in stores:
        for file in Path(store).glob('trials/*/trial.json'):
            trial = json.loads(file.read_text())
            if trial['method']['id'] == method and trial['recipe']['seed'] == seed:
                return file.parent
    raise FileNotFoundError(f'no trial of {method} with seed {seed} in {", ".join(stores)}')


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--weights', required=True)
    parser.add_argument('--data', required=True, type=Path)
    parser.add_argument('--methods', default='linear,full,bitfit,ln,lora,adaptformer,vpt-deep')
    parser.add_argument('--seeds', default='42,43,44')
    parser.add_argument('--draws', default='', help='stores of studies, separated by commas')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--out', required=True, type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights = load_file(options.weights)
    data = load_images(options.data, 'train800val200.txt'), load_images(options.data, 'test.txt')
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for seed in map(int, options.seeds.split(',')):
        for method in options.methods.split(','):
            what = {'method': method, 'seed': seed, 'draws': 'trial' if options.draws else 'own'}
            if any({'draws': 'own', **line}.items() >= what.items() for line in done):
                continue
            accuracy = train(method, seed, weights, data, find_trial(options.draws.split(','), method, seed) if options.draws else None)
            with options.out.open('a') as out:
                out.write(json.dumps({**what, 'top1': round(accuracy, 4)}) + '\n')


if __name__ == '__main__':
    main()
