"""Adapters that Hugging Face's PEFT writes for a tiny ViT, with the logits that it computes: test/fixtures/peft/.

Run with torch, timm, transformers and peft installed: `python tools/peft-goldens.py`. Every case is one folder that
save_pretrained wrote, random values instead of trained ones, and expected.safetensors with its logits.
"""
import json
import pathlib
import shutil

import numpy
import peft
import timm
import torch
import transformers
from peft import IA3Config, LNTuningConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

root = pathlib.Path(__file__).parent.parent / 'test' / 'fixtures' / 'peft'
width, depth, heads, size, patch, classes = 32, 2, 2, 16, 8, 3


def drawn(name, shape, std):
    generator = numpy.random.default_rng(list(name.encode()))
    return torch.from_numpy(generator.standard_normal(tuple(shape)).astype('float32') * std)


def timm_base():
    model = timm.create_model('vit_tiny_patch16_224', img_size=size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=classes)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(drawn(name, p.shape, 0.25 if p.dim() > 1 else 0.1) + (1 if 'norm' in name and name.endswith('weight') else 0))
    return model.eval()


def transformers_base():
    """The same backbone: equal tensors by other names."""
    config = transformers.ViTConfig(hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * width, image_size=size,
                                    patch_size=patch, num_labels=classes, layer_norm_eps=1e-6)
    model = transformers.ViTForImageClassification(config)
    theirs = timm_base().state_dict()
    state = {}
    for name in model.state_dict():
        own, third = name.removeprefix('vit.'), None
        for old, new in [('embeddings.cls_token', 'cls_token'), ('embeddings.position_embeddings', 'pos_embed'), ('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
                         ('layers.', 'blocks.'), ('layernorm_before', 'norm1'), ('layernorm_after', 'norm2'), ('attention.o_proj', 'attn.proj'), ('layernorm', 'norm'), ('classifier', 'head')]:
            own = own.replace(old, new)
        for index, letter in enumerate('qkv'):
            if f'attention.{letter}_proj' in own:
                own, third = own.replace(f'attention.{letter}_proj', 'attn.qkv'), index
        value = theirs[own]
        state[name] = value if third is None else value[third * width:(third + 1) * width]
    model.load_state_dict(state)
    return model.eval()


LN = r'(blocks\.\d+\.norm[12]|norm)'
cases = {
    'timm-lora': (timm_base, LoraConfig(r=4, lora_alpha=8, target_modules=['qkv'], modules_to_save=['head'])),
    'timm-rslora-everywhere': (timm_base, LoraConfig(r=3, lora_alpha=6, use_rslora=True, target_modules=['qkv', 'proj', 'fc1', 'fc2'], modules_to_save=['head'])),
    'timm-lora-patterns': (timm_base, LoraConfig(r=2, lora_alpha=4, target_modules=['qkv', 'fc2'], rank_pattern={'fc2': 4}, alpha_pattern={'blocks.1.attn.qkv': 3}, modules_to_save=['head'])),
    'timm-lora-one-block': (timm_base, LoraConfig(r=2, lora_alpha=2, target_modules=r'blocks\.1\.(attn\.qkv|mlp\.fc1)', modules_to_save=['head'])),
    'timm-dora': (timm_base, LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=['qkv', 'fc1'], modules_to_save=['head'])),
    'timm-dora-patches': (timm_base, LoraConfig(r=2, lora_alpha=4, use_dora=True, target_modules=['qkv', 'proj'], modules_to_save=['head'])),
    'timm-ia3': (timm_base, IA3Config(target_modules=['qkv', 'fc2'], feedforward_modules=['fc2'], modules_to_save=['head'])),
    'timm-ln': (timm_base, LNTuningConfig(target_modules=LN, modules_to_save=['head'])),
    'timm-ln-blocks': (timm_base, LNTuningConfig(target_modules=['norm1', 'norm2'], modules_to_save=['head'])),
    'hf-lora': (transformers_base, LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj'], modules_to_save=['classifier'])),
    'hf-rslora-everywhere': (transformers_base, LoraConfig(r=3, lora_alpha=6, use_rslora=True, target_modules=['q_proj', 'k_proj', 'v_proj', 'o_proj', 'fc1', 'fc2', 'projection'], modules_to_save=['classifier'])),
    'hf-dora': (transformers_base, LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=['q_proj', 'v_proj', 'fc2'], modules_to_save=['classifier'])),
    'hf-ia3': (transformers_base, IA3Config(target_modules=['k_proj', 'v_proj', 'fc2'], feedforward_modules=['fc2'], modules_to_save=['classifier'])),
    'hf-ln': (transformers_base, LNTuningConfig(target_modules=['layernorm_before', 'layernorm_after', 'layernorm'], modules_to_save=['classifier'])),
}


def randomize(model):
    """Trained parameters only; scales and magnitudes near where they start."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad:
                continue
            noise = drawn(name, p.shape, 1)
            if 'ia3_l' in name:
                p.copy_(1 + 0.2 * noise)
            elif 'magnitude' in name:
                p.mul_(1 + 0.1 * noise)
            elif 'ln_tuning' in name:
                p.add_(0.1 * noise)
            else:
                p.copy_(0.2 * noise)


def logits_of(model, images):
    with torch.no_grad():
        out = model(images)
    return out if torch.is_tensor(out) else out.logits


def write(name, base, config, images):
    model = get_peft_model(base(), config).eval()
    randomize(model)
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / 'README.md').unlink(missing_ok=True)
    file = folder / 'adapter_config.json'
    kept = {key: value for key, value in json.loads(file.read_text()).items() if value not in (None, {}, [])}
    for key in ('target_modules', 'feedforward_modules'):
        if isinstance(kept.get(key), list):
            kept[key] = sorted(kept[key])
    file.write_text(json.dumps(kept, indent=2, sort_keys=True) + '\n')
    save_file({'logits': logits_of(model, images)}, folder / 'expected.safetensors')


def rename_to_four(name):
    """The names that transformers 4 had in memory, and adapters of that time."""
    for new, old in [('vit.layers.', 'vit.encoder.layer.'), ('attention.q_proj', 'attention.attention.query'), ('attention.k_proj', 'attention.attention.key'),
                     ('attention.v_proj', 'attention.attention.value'), ('attention.o_proj', 'attention.output.dense'), ('mlp.fc1', 'intermediate.dense'), ('mlp.fc2', 'output.dense')]:
        name = name.replace(new, old)
    return name


def derive_four(source, name):
    """PEFT of today cannot write these: the same adapter under the older names."""
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / source, folder)
    save_file({rename_to_four(key): value for key, value in load_file(root / source / 'adapter_model.safetensors').items()}, folder / 'adapter_model.safetensors', {'format': 'pt'})
    config = json.loads((folder / 'adapter_config.json').read_text())
    config['target_modules'] = ['query', 'value']
    (folder / 'adapter_config.json').write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')


def main():
    root.mkdir(parents=True, exist_ok=True)
    images = drawn('images', (4, 3, size, size), 1)
    save_file({k: v.contiguous() for k, v in timm_base().state_dict().items()}, root / 'backbone.safetensors', {'heads': str(heads), 'layerNormEpsilon': '1e-6', 'activation': 'gelu', 'normalization': '0.5'})
    save_file({'images': images, 'timm': logits_of(timm_base(), images), 'transformers': logits_of(transformers_base(), images)}, root / 'images.safetensors')
    for name, (base, config) in cases.items():
        write(name, base, config, images)
    derive_four('hf-lora', 'hf4-lora')
    versions = {'peft': peft.__version__, 'transformers': transformers.__version__, 'timm': timm.__version__, 'torch': torch.__version__}
    (root / 'versions.json').write_text(json.dumps(versions, indent=2) + '\n')


main()
