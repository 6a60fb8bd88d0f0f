/** An adapter of PEFT Lab in the form of another library: PEFT's, the study's, or merged into a whole model. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import { channelNormalization } from '../common/normalization';
import type { ChannelNormalization } from '../common/trial';
import { cannotHold, type BackboneAtHand, type ExchangedAdapter } from '../interop/exchanged';
import type { FloatTensor, FloatTensors } from '../interop/float-tensors';
import type { Dialect } from '../interop/module-names';
import { writePeftFolder } from '../interop/peft-folder';
import { checkTransformersHolds, methodToPeft } from '../interop/peft-methods';
import { writeSafetensors } from '../interop/safetensors';
import { studyParamsOf, writeStudyFolder } from '../interop/study-folder';
import { checkBackbone, type Adapter } from '../peft/adapter';
import { countParameters } from '../peft/count';
import { foldAdapter } from '../peft/fold';
import { findMethod } from '../peft/registry';
import type { Backbone } from '../vit/weights';
import { checkTimmHolds, timmAfterwards, timmConfig, transformersConfigs, transformersNames } from './model-config';
import { loadingText } from './loading-text';

export interface ExportOptions {
  adapter: Adapter;
  out: string;
  /** Needed for merged models, and for a few PEFT forms. */
  backbone: Backbone | null;
}

/** What was written, for people. */
export interface Exported {
  files: string[];
  remarks: string[];
}

/** adapter_config.json, adapter_model.safetensors and a README that says how to load them. */
export async function exportPeft({ adapter: given, out, backbone }: ExportOptions, dialect: Dialect): Promise<Exported> {
  refuseProjection(given);
  const adapter = onBackbone(given, backbone);
  const content = methodToPeft(exchanged(adapter), dialect, atHand(adapter, backbone));
  await writePeftFolder(out, content);
  await fs.writeFile(path.join(out, 'README.md'), loadingText({ form: 'peft', dialect, manifest: adapter.manifest }));
  return { files: ['adapter_config.json', 'adapter_model.safetensors', 'README.md'], remarks: [] };
}

/** config.json with the study's flags, and init.safetensors. */
export async function exportStudy({ adapter: given, out, backbone }: ExportOptions): Promise<Exported> {
  refuseProjection(given);
  const adapter = onBackbone(given, backbone);
  const { manifest } = adapter, { method, backbone: { architecture, name }, classes, normalization, resize } = manifest;
  const { preNorm, layerScale, qkvBias, hidden, width } = architecture;
  if (preNorm || layerScale || !qkvBias || hidden !== 4 * width) {
    throw cannotHold('the backbone is no plain ViT, and the study\'s code has other classes for those', 'Export for PEFT, or merged.');
  }
  const params = studyParamsOf(method, architecture);
  const { trainable, head } = countParameters({ architecture, method: findMethod(method.id), options: method.options, classes: classes.length });
  await writeStudyFolder(out, {
    tensors: exchanged(adapter).tensors,
    config: {
      method: method.id, num_classes: classes.length, class_names: classes, base: name,
      inserted_parameters_no_head: trainable, trainable_with_head: trainable + head,
      images: { normalization, resize }, // the flag says less
      study_params: { ...params, normalized: !isNormalization(normalization, 'none') },
    },
  });
  return { files: ['config.json', 'init.safetensors'], remarks: studyRemarks(manifest) };
}

/** Where the study's code would prepare images otherwise than in training. */
function studyRemarks({ normalization, resize }: Adapter['manifest']): string[] {
  const isKnown = (['none', '0.5'] as const).some(name => isNormalization(normalization, name));
  return [
    ...isKnown ? [] : [`the study's "normalized" means mean and deviation 0.5; these images need mean [${normalization.mean.join(', ')}] and deviation [${normalization.std.join(', ')}].`],
    ...resize === 'crop' ? ['the study\'s code stretches images; crop them to the centre before, as they were in training.'] : [],
  ];
}

function isNormalization({ mean, std }: ChannelNormalization, name: 'none' | '0.5'): boolean {
  const known = channelNormalization(name);
  return [...mean, ...std].join() === [...known.mean, ...known.std].join();
}

/** A whole model with the adapter folded in, by timm's or transformers' names, with the configuration files of that library. */
export async function exportMerged({ adapter: given, out, backbone }: ExportOptions, dialect: 'timm' | 'hf'): Promise<Exported> {
  refuseProjection(given);
  const adapter = onBackbone(given, backbone);
  const merged = mergedTensors(adapter, backbone);
  const { architecture } = adapter.manifest.backbone;
  if (dialect === 'timm') checkTimmHolds(architecture);
  else checkTransformersHolds({ architecture });
  await fs.mkdir(out, { recursive: true });
  const model = 'model.safetensors';
  if (dialect === 'timm') {
    await writeSafetensors(path.join(out, model), merged, { format: 'pt' });
    await writeJson(path.join(out, 'config.json'), timmConfig(adapter.manifest));
    await fs.writeFile(path.join(out, 'README.md'), loadingText({ form: 'merged', dialect, manifest: adapter.manifest }));
    const remarks = timmAfterwards(architecture) === null ? [] : [`timm's configuration cannot set LayerNorm's epsilon ${architecture.layerNormEpsilon}; the README says how to set it after loading.`];
    return { files: [model, 'config.json', 'README.md'], remarks };
  }
  await writeSafetensors(path.join(out, model), transformersNames(merged, architecture), { format: 'pt' });
  const { config, preprocessor } = transformersConfigs(adapter.manifest);
  await writeJson(path.join(out, 'config.json'), config);
  await writeJson(path.join(out, 'preprocessor_config.json'), preprocessor);
  await fs.writeFile(path.join(out, 'README.md'), loadingText({ form: 'merged', dialect, manifest: adapter.manifest }));
  const remarks = adapter.manifest.resize === 'crop' ? ['transformers\' image processor stretches images; crop them to the centre before, as they were in training.'] : [];
  return { files: [model, 'config.json', 'preprocessor_config.json', 'README.md'], remarks };
}

/** The backbone with the adapter folded in and its head, by timm's names. UserErrors: no backbone, another one, cannot be folded. */
export function mergedTensors(adapter: Adapter, backbone: Backbone | null): FloatTensors {
  const base = requireBackbone(adapter, backbone);
  const { method: { id, options } } = adapter.manifest;
  return foldAdapter({ method: findMethod(id), options, architecture: base.architecture, base: base.tensors, trained: adapter.tensors }) as FloatTensors;
}

export function requireBackbone(adapter: Adapter, backbone: Backbone | null): Backbone {
  if (!backbone) throw new UserError({ what: `this needs the backbone, ${adapter.manifest.backbone.name}`, where: adapter.folder, remedy: 'Name it with --backbone.' });
  checkBackbone(adapter, backbone);
  return backbone;
}

/** The adapter on the backbone at hand, whose shape is then known where the manifest only guessed. UserError for another backbone. */
export function onBackbone(adapter: Adapter, backbone: Backbone | null): Adapter {
  if (!backbone) return adapter;
  checkBackbone(adapter, backbone);
  const { manifest } = adapter;
  return { ...adapter, manifest: { ...manifest, backbone: { ...manifest.backbone, architecture: backbone.architecture } } };
}

/** A head on CLIP's projection divides by a length, which no linear classifier does. */
function refuseProjection({ manifest }: Adapter): void {
  if (manifest.backbone.architecture.projection === undefined) return;
  throw cannotHold('its head stands on CLIP\'s projection, brought to unit length, and a linear classifier cannot do that', 'Export as ONNX.');
}

function exchanged({ manifest: { method: { id, options } }, tensors }: Adapter): ExchangedAdapter {
  return { method: { id, options }, tensors: tensors as FloatTensors };
}

function atHand({ manifest }: Adapter, backbone: Backbone | null): BackboneAtHand {
  return { architecture: manifest.backbone.architecture, base: name => (backbone?.tensors[name] as FloatTensor | undefined) ?? null };
}

async function writeJson(file: string, content: unknown): Promise<void> {
  await fs.writeFile(file, `${JSON.stringify(content, null, 2)}\n`);
}
