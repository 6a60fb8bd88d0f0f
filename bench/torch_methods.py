"""The methods of the bench in PyTorch: timm's Vision Transformer, HF PEFT's LoRA, the others from their formulas."""
import copy

import timm
import torch
from torch import nn


class AdaptMlp(nn.Module):
    """DP(MLP(LayerNorm(h))) + DP'(s (W_up Dropout(ReLU(W_down h + b_down)) + b_up)), standing where timm has norm2, mlp and drop_path2."""

    def __init__(self, block: nn.Module, width: int, dropout: float, bottleneck: int = 64, scale: float = 0.1):
        super().__init__()
        self.norm, self.mlp, self.drop_path, self.own_drop_path = block.norm2, block.mlp, block.drop_path2, copy.deepcopy(block.drop_path2)
        self.scale, self.dropout = scale, nn.Dropout(dropout)
        self.down_proj, self.up_proj = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)

    def forward(self, h):
        own = self.scale * self.up_proj(self.dropout(torch.relu(self.down_proj(h))))
        return self.drop_path(self.mlp(self.norm(h))) + self.own_drop_path(own)


class PromptedBlock(nn.Module):
    """A block with its own prompts behind the tokens, taken off again after it."""

    def __init__(self, block: nn.Module, prompts: int, width: int, dropout: float):
        super().__init__()
        self.block = block
        self.prompts, self.dropout = nn.Parameter(torch.zeros(prompts, width)), nn.Dropout(dropout)

    def forward(self, x):
        prompts = self.dropout(self.prompts).expand(x.shape[0], -1, -1)
        return self.block(torch.cat([x, prompts], 1))[:, :x.shape[1]]


def add_method(model: nn.Module, method: str, dropout: float) -> nn.Module:
    """The model with the method's own tensors, and only what the method trains and the head requiring gradients."""
    width = model.embed_dim
    if method == 'lora':
        from peft import LoraConfig, inject_adapter_in_model
        model = inject_adapter_in_model(LoraConfig(r=8, lora_alpha=8, lora_dropout=dropout, target_modules=['qkv']), model)
    if method == 'adaptformer':
        for block in model.blocks:
            block.mlp = AdaptMlp(block, width, dropout)
            block.norm2, block.drop_path2 = nn.Identity(), nn.Identity()
    if method == 'vpt-deep':
        model.blocks = nn.Sequential(*[PromptedBlock(block, 10, width, dropout) for block in model.blocks])
    trains = {
        'linear': lambda n: False, 'full': lambda n: True, 'bitfit': lambda n: n.endswith('bias'), 'ln': lambda n: 'norm' in n,
        'lora': lambda n: 'lora_' in n, 'adaptformer': lambda n: 'down_proj' in n or 'up_proj' in n, 'vpt-deep': lambda n: 'prompts' in n,
    }[method]
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith('head') or trains(name)
    return model


@torch.no_grad()
def start_as_the_study(model: nn.Module, method: str) -> None:
    """First values as the study's constructor leaves them (weights of linear layers N(0, 0.02^2), biases 0); prompts as VPT's."""
    for name, parameter in model.named_parameters():
        if 'lora_' in name or (method == 'adaptformer' and '_proj.weight' in name and '.mlp.' in name):
            nn.init.normal_(parameter, std=0.02)
        elif method == 'adaptformer' and '_proj.bias' in name and '.mlp.' in name:
            nn.init.zeros_(parameter)
        elif 'prompts' in name:
            limit = (6 / (3 * 16 ** 2 + parameter.shape[1])) ** 0.5
            nn.init.uniform_(parameter, -limit, limit)


@torch.no_grad()
def load_adapter(model: nn.Module, method: str, tensors: dict) -> None:
    """Values by PEFT Lab's names: of what the method adds, and of timm's own tensors where they are among them."""
    for name, parameter in model.named_parameters():
        if name in tensors:
            parameter.copy_(tensors[name])
    for i, block in enumerate(model.blocks):
        if method == 'lora':
            block.attn.qkv.lora_A['default'].weight.copy_(tensors[f'blocks.{i}.attn.lora.lora_a.weight'])
            block.attn.qkv.lora_B['default'].weight.copy_(tensors[f'blocks.{i}.attn.lora.lora_b.weight'])
        if method == 'adaptformer':
            for name in ('down_proj', 'up_proj'):
                getattr(block.mlp, name).load_state_dict({k: tensors[f'blocks.{i}.ft_mlp_module.{name}.{k}'] for k in ('weight', 'bias')})
        if method == 'vpt-deep':
            block.prompts.copy_(tensors['vpt.prompt_embeddings'][i])


class GivenMask(nn.Module):
    """Dropout or drop path with a mask from outside, `mask`, that is set before each step: 1 keeps."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate, self.mask = rate, None

    def forward(self, x):
        return x * self.mask / (1 - self.rate) if self.training else x


def take_masks(model: nn.Module, method: str, rates: dict) -> dict:
    """Puts a GivenMask in place of whatever drops something, and returns them by PEFT Lab's names of the masks; `rates` by these."""
    places = {}
    for i, wrapped in enumerate(model.blocks):
        block = wrapped.block if method == 'vpt-deep' else wrapped
        places[f'drop-path/blocks.{i}.attention'] = block, 'drop_path1'
        places[f'drop-path/blocks.{i}.mlp'] = (block.mlp, 'drop_path') if method == 'adaptformer' else (block, 'drop_path2')
        if method == 'adaptformer':
            places[f'drop-path/blocks.{i}.ft_mlp_module'] = block.mlp, 'own_drop_path'
            places[f'dropout/blocks.{i}.ft_mlp_module'] = block.mlp, 'dropout'
        if method == 'lora':
            places[f'dropout/blocks.{i}.attn.lora'] = block.attn.qkv.lora_dropout, 'default'
        if method == 'vpt-deep':
            places[f'dropout/blocks.{i}.vpt'] = wrapped, 'dropout'
    given = {name: GivenMask(rate) for name, rate in rates.items()}
    for name, (module, attribute) in places.items():
        if name in given:
            module.register_module(attribute, given[name])
        elif not isinstance(getattr(module, attribute), nn.Identity):
            raise ValueError(f'{method}: there is no mask for {name}')
    if missing := given.keys() - places.keys():
        raise ValueError(f'{method}: no place for the masks {sorted(missing)}')
    return given
