"""Loads exported adapters and models in PEFT, timm and transformers and compares their logits with those that PEFT Lab computed.

`python tools/peft-check.py jobs.json`, as test/unit/exchange/peft.test.ts writes it; prints {"name": largest difference}.
"""
import json
import sys
import warnings

warnings.filterwarnings('ignore')
import timm
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

transformers.logging.set_verbosity_error()
width, depth, heads, size, patch, classes = 32, 2, 2, 16, 8, 3


def timm_base(state):
    model = timm.create_model('vit_tiny_patch16_224', img_size=size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=classes)
    model.load_state_dict(state)
    return model


def transformers_base(state):
    config = transformers.ViTConfig(hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * width, image_size=size,
                                    patch_size=patch, num_labels=classes, layer_norm_eps=1e-6)
    model = transformers.ViTForImageClassification(config)
    names = [('vit.', ''), ('embeddings.cls_token', 'cls_token'), ('embeddings.position_embeddings', 'pos_embed'), ('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
             ('layers.', 'blocks.'), ('layernorm_before', 'norm1'), ('layernorm_after', 'norm2'), ('attention.o_proj', 'attn.proj'), ('layernorm', 'norm'), ('classifier', 'head')]
    own = {}
    for name in model.state_dict():
        theirs = name
        for old, new in names:
            theirs = theirs.replace(old, new)
        for index, letter in enumerate('qkv'):
            if f'attention.{letter}_proj' in theirs:
                own[name] = state[theirs.replace(f'attention.{letter}_proj', 'attn.qkv')][index * width:(index + 1) * width]
        if name not in own:
            own[name] = state[theirs]
    model.load_state_dict(own)
    return model


def load(job, state):
    if job['kind'] == 'merged':
        if job['dialect'] == 'timm':
            return timm.create_model('local-dir:' + job['folder'], pretrained=True)
        return transformers.ViTForImageClassification.from_pretrained(job['folder'])
    base = timm_base(state) if job['dialect'] == 'timm' else transformers_base(state)
    return PeftModel.from_pretrained(base, job['folder'])


def main(file):
    given = json.load(open(file))
    state, images = load_file(given['base']), load_file(given['images'])['images']
    differences = {}
    for job in given['jobs']:
        with torch.no_grad():
            out = load(job, state).eval()(images)
        logits = out if torch.is_tensor(out) else out.logits
        differences[job['name']] = (logits - load_file(job['logits'])['logits']).abs().max().item()
    print(json.dumps(differences))


main(sys.argv[1])
