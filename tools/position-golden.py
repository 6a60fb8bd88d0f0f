"""Writes test/fixtures/positions.json: what PyTorch makes of small position grids. Needs torch.

    python tools/position-golden.py
"""
import json
import pathlib

import torch
import torch.nn.functional as F

cases = []
generator = torch.Generator().manual_seed(0)
for source, target in [(3, 5), (4, 8), (7, 3), (14, 9), (5, 5), (2, 7)]:
    width = 2
    positions = torch.randn(1, 1 + source * source, width, generator=generator)
    grid = positions[:, 1:].reshape(1, source, source, width).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(target, target), mode='bicubic', antialias=True, align_corners=False)
    grid = grid.permute(0, 2, 3, 1).reshape(1, -1, width)
    out = torch.cat([positions[:, :1], grid], 1)
    cases.append({
        'source': source, 'target': target, 'width': width,
        'positions': [round(v, 6) for v in positions.flatten().tolist()],
        'expected': [round(v, 6) for v in out.flatten().tolist()],
    })
path = pathlib.Path(__file__).parent.parent / 'test/fixtures/positions.json'
path.write_text('[\n' + ',\n'.join(json.dumps(case) for case in cases) + '\n]\n')
