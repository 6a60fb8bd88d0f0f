/**
 * The adapter folder, a trial's product: adapter.safetensors holds every tensor that trained, head included, by name;
 * manifest.json says what it belongs to.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { version as libraryVersion } from '../../package.json';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';
import type { Architecture, ChannelNormalization } from '../common/trial';
import type { HostTensors } from '../engine/program';
import { fingerprintFile } from '../interop/fingerprint-file';
import { readFloatTensors } from '../interop/float-tensors';
import { writeSafetensors } from '../interop/safetensors';
import { type ParityCertificate, certificateSchema } from './certificate';
import { findMethod, parseMethodOptions } from './registry';
import { adapterTensors } from './trainable';

export interface AdapterManifest {
  method: { id: string; version: number; options: Record<string, unknown> };
  backbone: { name: string; fingerprint: string | null; architecture: Architecture };
  /** In the order of the labels. */
  classes: string[];
  /** How images must be prepared for it. */
  normalization: ChannelNormalization;
  resize: 'stretch' | 'crop';
  /** How well it survives saving, merging and unmerging; null where nobody measured it, as when no backbone was at hand. */
  certificate: ParityCertificate | null;
  /** Of PEFT Lab, when it was written. */
  libraryVersion: string;
}

export interface Adapter {
  folder: string;
  manifest: AdapterManifest;
  tensors: HostTensors;
}

export interface AdapterToSave {
  folder: string;
  manifest: Omit<AdapterManifest, 'libraryVersion' | 'certificate'> & Partial<Pick<AdapterManifest, 'certificate'>>;
  tensors: HostTensors;
}

const manifestFile = 'manifest.json', tensorFile = 'adapter.safetensors';

/** Tensors first, then the manifest with their checksum, each by rename: a torn pair is noticed when it is read. */
export async function saveAdapter({ folder, manifest, tensors }: AdapterToSave): Promise<void> {
  await fs.mkdir(folder, { recursive: true });
  const file = path.join(folder, tensorFile);
  await writeSafetensors(file, Object.fromEntries(Object.entries(tensors).map(([name, { shape, data }]) => [name, { shape, data }])), { format: 'pt' });
  const content = { format: 'peft-lab-adapter', formatVersion: 1, libraryVersion, certificate: null, ...manifest, sha256: await fingerprintFile(file) };
  const temporary = path.join(folder, `${manifestFile}.${randomUUID().slice(0, 8)}.tmp`);
  await fs.writeFile(temporary, `${JSON.stringify(content, null, 2)}\n`);
  await replaceFile(temporary, path.join(folder, manifestFile));
}

/** UserErrors for a folder that is no adapter, is torn, or whose tensors are not those of its method. */
export async function loadAdapter(folder: string): Promise<Adapter> {
  const { sha256, ...manifest } = await readManifest(folder);
  const file = path.join(folder, tensorFile);
  const tensors = await readFloatTensors(file);
  if ((await fingerprintFile(file)) !== sha256) {
    throw new UserError({ what: `it does not belong to the ${manifestFile} beside it`, where: file, remedy: 'Train the adapter again, or copy both files together.' });
  }
  const adapter = { folder, manifest, tensors };
  checkTensors(adapter);
  return adapter;
}

/** Throws a UserError when an adapter was trained on another backbone than this one. */
export function checkBackbone({ folder, manifest }: Adapter, backbone: { file: string; fingerprint: string; architecture: Architecture }): void {
  if (manifest.backbone.fingerprint === null) return checkShapes({ folder, manifest }, backbone);
  const ours = backbone.architecture, theirs = manifest.backbone.architecture;
  const different = (Object.keys(theirs) as (keyof Architecture)[]).find(key => ours[key] !== theirs[key]);
  const trainedOn = `it was trained on ${manifest.backbone.name}`;
  if (different) {
    throw new UserError({
      what: `${trainedOn}, whose ${different} is ${String(theirs[different])}; that of ${backbone.file} is ${String(ours[different])}`,
      where: folder, remedy: 'Use the backbone that the adapter was trained on.',
    });
  }
  if (manifest.backbone.fingerprint !== backbone.fingerprint) {
    throw new UserError({ what: `${trainedOn}, and ${backbone.file} has other weights`, where: folder, remedy: 'Use the backbone that the adapter was trained on.' });
  }
}

/** For an adapter that came without its backbone: nothing is known of that one but what its own tensors need. */
function checkShapes({ folder, manifest }: Pick<Adapter, 'folder' | 'manifest'>, { file, architecture }: { file: string; architecture: Architecture }): void {
  const { method: { id, options }, classes } = manifest;
  const shapes = (of: Architecture) => adapterTensors({ architecture: of, method: findMethod(id), options: parseMethodOptions(id, options), classes: classes.length })
    .map(({ name, shape }) => `${name} [${shape.join(', ')}]`);
  const [ours, theirs] = [shapes(architecture), shapes(manifest.backbone.architecture)];
  const different = theirs.find((text, i) => text !== ours[i]) ?? ours[theirs.length];
  if (different === undefined) return;
  throw new UserError({ what: `its tensors (${different}) are not those that ${id} has on ${file}`, where: folder, remedy: 'Import the adapter again and name its backbone with --backbone.' });
}

const triple = z.tuple([z.number(), z.number(), z.number()]);
const manifestSchema = z.object({
  format: z.literal('peft-lab-adapter'),
  formatVersion: z.literal(1),
  libraryVersion: z.string(),
  method: z.object({ id: z.string(), version: z.number(), options: z.record(z.string(), z.unknown()) }),
  backbone: z.object({
    name: z.string(), fingerprint: z.string().nullable(),
    architecture: z.object({
      imageSize: z.int(), patch: z.int(), width: z.int(), depth: z.int(), heads: z.int(), hidden: z.int(), layerNormEpsilon: z.number(),
      activation: z.enum(['gelu', 'quick-gelu']), preNorm: z.boolean(), patchBias: z.boolean(), layerScale: z.boolean(), qkvBias: z.boolean(),
      projection: z.int().optional(),
    }),
  }),
  classes: z.array(z.string()).min(1),
  normalization: z.object({ mean: triple, std: triple }),
  resize: z.enum(['stretch', 'crop']),
  certificate: certificateSchema.nullable().default(null),
  sha256: z.string(),
});

async function readManifest(folder: string): Promise<AdapterManifest & { sha256: string }> {
  const where = path.join(folder, manifestFile);
  let text: string;
  try {
    text = await fs.readFile(where, 'utf8');
  } catch (cause) {
    throw new UserError({ what: 'there is no adapter here', where: folder, remedy: `Give a folder with ${manifestFile} and ${tensorFile}, such as <study>.peft/trials/<id>/adapter.`, cause });
  }
  const parsed = manifestSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UserError({ what: `this is not the manifest of an adapter: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`, where, remedy: 'Train the adapter again with this version.' });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

/** Names and shapes are those that the manifest's method declares. */
function checkTensors({ folder, manifest, tensors }: Adapter): void {
  const { method: { id, version, options }, backbone: { architecture }, classes } = manifest;
  const method = findMethod(id);
  const where = path.join(folder, tensorFile);
  if (version !== method.version) {
    throw new UserError({ what: `it holds version ${version} of ${id}, and this is version ${method.version}`, where, remedy: 'Train the adapter again with this version.' });
  }
  const expected = adapterTensors({ architecture, method, options: parseMethodOptions(id, options), classes: classes.length });
  for (const { name, shape } of expected) {
    const found = tensors[name]?.shape.join(' x ') ?? 'missing';
    if (found !== shape.join(' x ')) {
      throw new UserError({ what: `tensor '${name}' is ${found}; ${id} with these options needs ${shape.join(' x ')}`, where, remedy: 'Train the adapter again.' });
    }
  }
  const names = new Set(expected.map(({ name }) => name));
  const stranger = Object.keys(tensors).find(name => !names.has(name));
  if (stranger !== undefined) throw new UserError({ what: `tensor '${stranger}' is none of ${id}'s`, where, remedy: 'Train the adapter again.' });
}
