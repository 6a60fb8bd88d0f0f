/** What a merged model's configuration files say, as timm and as transformers read them, and transformers' names of its tensors. */
import type { Architecture } from '../common/trial';
import { cannotHold } from '../interop/exchanged';
import { type FloatTensors, rowsOf } from '../interop/float-tensors';
import { placeName, thirds } from '../interop/module-names';
import type { AdapterManifest } from '../peft/adapter';

type Manifest = Pick<AdapterManifest, 'backbone' | 'classes' | 'normalization' | 'resize'>;

/** LayerNorm's epsilon in timm's classes, which a configuration file can choose between but not set. */
const timmEpsilons = { vit_base_patch16_224: 1e-6, vit_base_patch16_clip_224: 1e-5 } as const;

/** What timm's configuration cannot say of a backbone, as Python that follows loading; null when it says everything. */
export function timmAfterwards({ layerNormEpsilon }: Architecture): string | null {
  if (Object.values<number>(timmEpsilons).includes(layerNormEpsilon)) return null;
  return `for m in model.modules():\n    if isinstance(m, torch.nn.LayerNorm): m.eps = ${layerNormEpsilon}`;
}

/** timm ties the bias of the patch embedding to the LayerNorm in front of the blocks: one or the other. */
export function checkTimmHolds({ preNorm, patchBias }: Architecture): void {
  if (preNorm !== patchBias) return;
  throw cannotHold(`the backbone has ${preNorm ? 'both' : 'neither'} a bias in its patch embedding ${preNorm ? 'and' : 'nor'} a LayerNorm in front of its blocks, and timm's have one of them`, 'Export as ONNX.');
}

/** config.json as timm's `create_model('local-dir:...')` takes it: an architecture with everything that differs as arguments. */
export function timmConfig({ backbone: { architecture }, classes, normalization: { mean, std }, resize }: Manifest): Record<string, unknown> {
  const { imageSize, patch, width, depth, heads, hidden, preNorm, layerScale, qkvBias, activation, layerNormEpsilon } = architecture;
  return {
    architecture: layerNormEpsilon === timmEpsilons.vit_base_patch16_clip_224 ? 'vit_base_patch16_clip_224' : 'vit_base_patch16_224',
    num_classes: classes.length,
    num_features: width,
    global_pool: 'token',
    model_args: {
      img_size: imageSize, patch_size: patch, embed_dim: width, depth, num_heads: heads, mlp_ratio: hidden / width, qkv_bias: qkvBias,
      pre_norm: preNorm, ...layerScale ? { init_values: 1e-5 } : {}, ...activation === 'quick-gelu' ? { act_layer: 'quick_gelu' } : {},
    },
    pretrained_cfg: {
      num_classes: classes.length, input_size: [3, imageSize, imageSize], fixed_input_size: true, pool_size: null,
      crop_pct: resize === 'crop' ? 224 / 256 : 1, crop_mode: resize === 'crop' ? 'center' : 'squash', interpolation: 'bicubic', mean, std,
      first_conv: 'patch_embed.proj', classifier: 'head', label_names: classes,
    },
  };
}

export function transformersConfigs({ backbone: { architecture }, classes, normalization: { mean, std } }: Manifest) {
  const { imageSize, patch, width, depth, heads, hidden, qkvBias, activation, layerNormEpsilon } = architecture;
  return {
    config: {
      architectures: ['ViTForImageClassification'], model_type: 'vit', hidden_size: width, num_hidden_layers: depth, num_attention_heads: heads,
      intermediate_size: hidden, hidden_act: activation === 'quick-gelu' ? 'quick_gelu' : 'gelu', hidden_dropout_prob: 0, attention_probs_dropout_prob: 0,
      initializer_range: 0.02, layer_norm_eps: layerNormEpsilon, image_size: imageSize, patch_size: patch, num_channels: 3, qkv_bias: qkvBias,
      id2label: Object.fromEntries(classes.map((name, i) => [String(i), name])), label2id: Object.fromEntries(classes.map((name, i) => [name, i])),
    },
    preprocessor: {
      image_processor_type: 'ViTImageProcessor', do_resize: true, size: { height: imageSize, width: imageSize }, resample: 3,
      do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, image_mean: mean, image_std: std,
    },
  };
}

/** By the names of checkpoints on disk, which every version of transformers reads. */
export function transformersNames(tensors: FloatTensors, { width }: Architecture): FloatTensors {
  const named: FloatTensors = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    const own = { cls_token: 'vit.embeddings.cls_token', pos_embed: 'vit.embeddings.position_embeddings' }[name];
    if (own) {
      named[own] = tensor;
      continue;
    }
    const [, path, part] = /^(.*)\.(weight|bias)$/.exec(name)!;
    if (path!.endsWith('.attn.qkv')) {
      thirds.forEach((third, i) => { named[`${placeName({ path: path!, third }, 'hf4')!}.${part!}`] = rowsOf(tensor, i * width, (i + 1) * width); });
    } else {
      named[`${placeName({ path: path!, third: null }, 'hf4')!}.${part!}`] = tensor;
    }
  }
  return named;
}
