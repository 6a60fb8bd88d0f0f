/** An adapter that another library wrote, as an adapter folder of PEFT Lab. */
import fs from 'node:fs/promises';
import { UserError } from '../common/errors';
import { channelNormalization } from '../common/normalization';
import type { Architecture, ChannelNormalization } from '../common/trial';
import type { BackboneAtHand, ExchangedAdapter } from '../interop/exchanged';
import type { FloatTensor, FloatTensors } from '../interop/float-tensors';
import { isPeftFolder, readPeftFolder, type PeftFolder } from '../interop/peft-folder';
import { methodFromPeft } from '../interop/peft-methods';
import { methodOfStudy, readStudyFolder, studyConfigFile, type StudyFolder } from '../interop/study-folder';
import { loadAdapter, saveAdapter, type Adapter, type AdapterManifest } from '../peft/adapter';
import { findMethod, parseMethodOptions } from '../peft/registry';
import { adapterTensors, headTensors } from '../peft/trainable';
import { baseParameters } from '../vit/architecture';
import type { Backbone } from '../vit/weights';
import { certifySaved, type CertifyWith } from './certify-saved';
import { guessArchitecture } from './guess-architecture';

export interface ImportOptions {
  folder: string;
  out: string;
  /** The backbone that it was trained on; without it there is neither fingerprint nor certificate, and shapes are guessed. */
  backbone: (Backbone & { name: string }) | null;
  /** In the order of the labels; absent: '0', '1', ... */
  classes?: readonly string[] | undefined;
  /** Absent: what the source says, else the backbone's own, else 0.5. */
  normalization?: ChannelNormalization | undefined;
  /** Measures the certificate, where there is a backbone. */
  certify: CertifyWith;
}

export interface Imported {
  adapter: Adapter;
  source: 'Hugging Face PEFT' | 'the study';
  /** What was assumed, in words. */
  remarks: string[];
}

/** UserErrors for what cannot be read and for what PEFT Lab has no equal for, with the reason. */
export async function importAdapter(options: ImportOptions): Promise<Imported> {
  const names = await listFolder(options.folder);
  if (names.includes('manifest.json')) {
    throw new UserError({ what: 'this is an adapter of PEFT Lab already', where: options.folder, remedy: 'Use it as it is: predict and export take it.' });
  }
  const read = isPeftFolder(names) ? await readFromPeft(options) : names.includes(studyConfigFile) ? await readFromStudy(options) : null;
  if (!read) {
    throw new UserError({
      what: 'there is neither an adapter_config.json (Hugging Face PEFT) nor a config.json (the study)', where: options.folder,
      remedy: 'Name the folder that save_pretrained wrote, or one with the study\'s config.json and its tensors.',
    });
  }
  const { manifest, tensors } = complete(read, options);
  await saveAdapter({ folder: options.out, manifest, tensors });
  if (options.backbone) await certifySaved({ folder: options.out, tensors, backbone: options.backbone }, options.certify);
  return { adapter: await loadAdapter(options.out), source: read.source, remarks: read.remarks };
}

interface Read extends ExchangedAdapter {
  source: Imported['source'];
  architecture: Architecture;
  /** What the source itself says of how images are prepared. */
  normalization: ChannelNormalization | null;
  resize: AdapterManifest['resize'] | null;
  remarks: string[];
}

async function readFromPeft(options: ImportOptions): Promise<Read> {
  const peft = await readPeftFolder(options.folder);
  if (!peft.head) {
    throw new UserError({
      what: `there is no classifier in it${peft.baseModel ? ` (backbone: ${peft.baseModel})` : ''}`, where: options.folder,
      remedy: 'Save it with modules_to_save=["head"] (timm) or ["classifier"] (transformers), so that the trained classifier travels with it.',
    });
  }
  const remarks: string[] = [];
  const backbone = atHand(options, () => guessArchitecture(shapesOfPeft(peft), remarks));
  const { method, tensors } = methodFromPeft(peft, backbone);
  return {
    source: 'Hugging Face PEFT', method, architecture: backbone.architecture, normalization: null, resize: null, remarks,
    tensors: { ...tensors, 'head.weight': peft.head.weight, 'head.bias': peft.head.bias },
  };
}

async function readFromStudy(options: ImportOptions): Promise<Read> {
  const study = await readStudyFolder(options.folder);
  const remarks: string[] = [];
  const { architecture } = atHand(options, () => guessArchitecture(shapesOfStudy(study), remarks));
  return {
    source: 'the study', method: methodOfStudy(study), architecture, tensors: study.tensors, remarks, resize: study.images?.resize ?? null,
    normalization: study.images?.normalization ?? (typeof study.params.normalized === 'boolean' ? channelNormalization(study.params.normalized ? '0.5' : 'none') : null),
  };
}

function atHand({ backbone }: ImportOptions, guess: () => Architecture): BackboneAtHand {
  return {
    architecture: backbone?.architecture ?? guess(),
    base: name => (backbone?.tensors[name] as FloatTensor | undefined) ?? null,
  };
}

/** The options with their defaults, the tensors that the method has, and everything else that a manifest says. */
function complete(read: Read, { folder, backbone, classes, normalization }: ImportOptions): { manifest: Omit<AdapterManifest, 'libraryVersion'>; tensors: FloatTensors } {
  const { architecture } = read;
  const method = findMethod(read.method.id), parsed = parseMethodOptions(read.method.id, read.method.options);
  const count = read.tensors['head.weight']?.shape[0] ?? 0;
  if (!count) throw new UserError({ what: 'there is no tensor \'head.weight\', the classifier\'s', where: folder, remedy: 'Save the classifier with the adapter.' });
  if (classes && classes.length !== count) {
    throw new UserError({ what: `${classes.length} class names are given, and the classifier has ${count} outputs`, where: '--classes', remedy: 'Give one name for each output, in the order of the labels.' });
  }
  const declared = adapterTensors({ architecture, method, options: parsed, classes: count });
  return {
    tensors: takeDeclared(read.tensors, { declared, architecture, folder, width: architecture.width, classes: count }),
    manifest: {
      method: { id: read.method.id, version: method.version, options: parsed },
      backbone: { name: backbone?.name ?? 'unknown', fingerprint: backbone?.fingerprint ?? null, architecture },
      classes: classes ? [...classes] : Array.from({ length: count }, (_, i) => String(i)),
      normalization: normalization ?? read.normalization ?? backbone?.normalization ?? channelNormalization('0.5'),
      resize: read.resize ?? 'stretch', certificate: null,
    },
  };
}

interface Declared {
  declared: readonly { name: string; shape: readonly number[] }[];
  architecture: Architecture;
  folder: string;
  width: number;
  classes: number;
}

/** Exactly the declared tensors. A whole state dict holds frozen base tensors too, which are left out; others are refused. */
function takeDeclared(tensors: FloatTensors, { declared, architecture, folder, width, classes }: Declared): FloatTensors {
  const taken = Object.fromEntries(declared.map(({ name, shape }) => {
    const found = tensors[name];
    if (found?.shape.join() === shape.join()) return [name, found] as const;
    throw new UserError({
      what: `tensor '${name}' is ${found ? `[${found.shape.join(', ')}]` : 'missing'}; [${shape.join(', ')}] is needed`, where: folder,
      remedy: 'Name the backbone that the adapter was trained on with --backbone, and save every trained tensor.',
    });
  }));
  const known = new Set([...Object.keys(taken), ...baseParameters(architecture).map(({ name }) => name), ...headTensors(width, classes).map(({ name }) => name)]);
  const stranger = Object.keys(tensors).find(name => !known.has(name));
  if (stranger === undefined) return taken;
  throw new UserError({ what: `tensor '${stranger}' belongs to no method that its configuration names`, where: folder, remedy: 'Correct the configuration, or leave the tensor out.' });
}

function shapesOfPeft({ modules, head }: PeftFolder): { shapes: Record<string, readonly number[]>; imageSize: null; patch: null } {
  const shapes: Record<string, readonly number[]> = head ? { 'head.weight': head.weight.shape } : {};
  for (const { path, tensors } of modules) for (const [part, { shape }] of Object.entries(tensors)) shapes[`${path}.${part}`] = shape;
  return { shapes, imageSize: null, patch: null };
}

function shapesOfStudy({ tensors, params }: StudyFolder) {
  const whole = (value: unknown) => (Number.isInteger(Number(value)) && Number(value) > 0 ? Number(value) : null);
  return {
    // Prompts in the last blocks only say nothing of how many blocks there are.
    shapes: Object.fromEntries(Object.entries(tensors).filter(([name]) => !name.startsWith('vpt.') || params.vpt_layer === null || params.vpt_layer === undefined).map(([name, { shape }]) => [name, shape])),
    imageSize: whole(params.crop_size), patch: whole(params.patch_size),
  };
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return await fs.readdir(folder);
  } catch (cause) {
    throw new UserError({ what: 'there is no such folder', where: folder, remedy: 'Name the folder of the adapter.', cause });
  }
}

