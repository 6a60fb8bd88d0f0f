"""Tiny randomly initialised backbones as timm, transformers, OpenCLIP and Google's npz save them, with the features
that these libraries compute: test/fixtures/backbones, read by test/parity/backbones.test.ts.

    python tools/backbone-goldens.py        (needs torch, timm, transformers, open_clip_torch, safetensors)
"""
import json
import pathlib
import shutil

import numpy as np
import open_clip
import timm
import torch
import transformers as tr
from safetensors.torch import save_file

folder = pathlib.Path(__file__).parent.parent / "test/fixtures/backbones"
size = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4)
plain = dict(**size, intermediate_size=32)
tiny = dict(embed_dim=16, depth=2, num_heads=2, mlp_ratio=2, img_size=8, patch_size=4)


def randomize(model):
    """Values large enough that a wrong layout, a swapped norm or a wrong activation shows."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in sorted(model.named_parameters()):
        scale = 0.3 if parameter.dim() > 1 else 0.1
        mean = 1 if "norm" in name.lower() and name.endswith("weight") or "ln_" in name and name.endswith("weight") or "gamma" in name or "lambda" in name else 0
        with torch.no_grad():
            parameter.copy_(mean + scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def save(name, tensors, **expected):
    own = folder / name
    if tensors is not None:
        own.mkdir(parents=True)
        save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, own / "model.safetensors")
    save_file({"images": images(), **{k: v.detach().clone().contiguous() for k, v in expected.items()}}, own / "expected.safetensors")


def save_transformers(name, model, **expected):
    model.save_pretrained(folder / name)
    save(name, None, **expected)


@torch.no_grad()
def transformers_models():
    vit = randomize(tr.ViTModel(tr.ViTConfig(**plain)))
    save_transformers("hf-vit", vit, features=vit(images()).last_hidden_state[:, 0])
    mae = randomize(tr.ViTMAEForPreTraining(tr.ViTMAEConfig(**plain, mask_ratio=0.0, decoder_hidden_size=8, decoder_num_hidden_layers=1,
                                                            decoder_num_attention_heads=2, decoder_intermediate_size=8)))
    # Patches are shuffled, which the class token does not see.
    save_transformers("hf-mae", mae, features=mae.vit(images()).last_hidden_state[:, 0])
    dino = randomize(tr.Dinov2Model(tr.Dinov2Config(**size, mlp_ratio=2)))
    save_transformers("hf-dinov2", dino, features=dino(images()).last_hidden_state[:, 0])
    vision = tr.CLIPVisionConfig(**plain, projection_dim=12, hidden_act="quick_gelu")
    clip = randomize(tr.CLIPVisionModelWithProjection(vision))
    out = clip(images())
    save_transformers("hf-clip", clip, features=clip.vision_model.post_layernorm(out.last_hidden_state[:, 0]), embeddings=out.image_embeds)


@torch.no_grad()
def timm_models():
    def make(**options):
        return randomize(timm.models.vision_transformer.VisionTransformer(**{**tiny, "num_classes": 0, **options}))

    dino = make(init_values=1e-5)
    save("timm-dinov2", dino.state_dict(), features=dino.forward_features(images())[:, 0])
    mae = make()
    save("timm-mae", {**mae.state_dict(), "mask_token": torch.zeros(1, 1, 8), "decoder_embed.weight": torch.zeros(8, 16)},
         features=mae.forward_features(images())[:, 0])
    clip = make(pre_norm=True, norm_layer=torch.nn.LayerNorm, act_layer="quick_gelu", num_classes=12)
    with torch.no_grad():
        clip.head.bias.zero_()
    save("timm-clip", clip.state_dict(), features=clip.forward_features(images())[:, 0], embeddings=clip(images()))


@torch.no_grad()
def open_clip_model():
    model = randomize(open_clip.CLIP(
        embed_dim=12, quick_gelu=False,
        vision_cfg=dict(layers=2, width=16, head_width=8, patch_size=4, image_size=8, mlp_ratio=2),
        text_cfg=dict(context_length=4, vocab_size=8, width=8, heads=1, layers=1)))
    tower = model.visual
    features = []
    hook = tower.ln_post.register_forward_hook(lambda _module, _inputs, out: features.append(out))
    embeddings = model.encode_image(images())
    hook.remove()
    feature = features[0][:, 0] if features[0].dim() == 3 else features[0]
    save("open-clip", model.state_dict(), features=feature, embeddings=embeddings)
    (folder / "open-clip/open_clip_config.json").write_text(json.dumps(dict(
        model_cfg=dict(embed_dim=12, quick_gelu=False, vision_cfg=dict(layers=2, width=16, head_width=8, patch_size=4, image_size=8)),
        preprocess_cfg=dict(mean=[0.48145466, 0.4578275, 0.40821073], std=[0.26862954, 0.26130258, 0.27577711])), indent=1))


@torch.no_grad()
def google_npz():
    """Random arrays by Google's names; timm reads them with a loader of its own."""
    random = np.random.default_rng(3)
    arrays = {}

    def put(name, *shape, mean=0.0):
        arrays[name] = (mean + random.normal(size=shape) * (0.3 if len(shape) > 1 else 0.1)).astype(np.float32)

    put("cls", 1, 1, 16)
    put("embedding/kernel", 4, 4, 3, 16)
    put("embedding/bias", 16)
    put("Transformer/posembed_input/pos_embedding", 1, 5, 16)
    put("Transformer/encoder_norm/scale", 16, mean=1)
    put("Transformer/encoder_norm/bias", 16)
    for i in range(2):
        block = f"Transformer/encoderblock_{i}/"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            put(block + norm + "/scale", 16, mean=1)
            put(block + norm + "/bias", 16)
        for part in ("query", "key", "value"):
            put(f"{block}MultiHeadDotProductAttention_1/{part}/kernel", 16, 2, 8)
            put(f"{block}MultiHeadDotProductAttention_1/{part}/bias", 2, 8)
        put(block + "MultiHeadDotProductAttention_1/out/kernel", 2, 8, 16)
        put(block + "MultiHeadDotProductAttention_1/out/bias", 16)
        put(block + "MlpBlock_3/Dense_0/kernel", 16, 32)
        put(block + "MlpBlock_3/Dense_0/bias", 32)
        put(block + "MlpBlock_3/Dense_1/kernel", 32, 16)
        put(block + "MlpBlock_3/Dense_1/bias", 16)
    put("head/kernel", 16, 3)
    put("head/bias", 3)
    own = folder / "google-npz"
    own.mkdir(parents=True)
    np.savez(own / "model.npz", **arrays)
    model = timm.models.vision_transformer.VisionTransformer(**tiny, num_classes=0).eval()
    model.load_pretrained(str(own / "model.npz"))
    save("google-npz", None, features=model.forward_features(images())[:, 0])


if __name__ == "__main__":
    shutil.rmtree(folder, ignore_errors=True)
    transformers_models()
    timm_models()
    open_clip_model()
    google_npz()
