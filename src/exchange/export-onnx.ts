/** An adapter and its backbone as one ONNX model that needs neither PEFT Lab nor this adapter's folder. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';
import { optimize } from '../engine/graph/passes';
import { trace } from '../engine/graph/trace';
import { portableDialect } from '../engine/onnx/portable';
import { standaloneModel, type ImageInput } from '../engine/onnx/standalone';
import { writeOnnx } from '../engine/onnx/write';
import type { HostTensors, Program } from '../engine/program';
import type { Adapter } from '../peft/adapter';
import { findMethod } from '../peft/registry';
import { backboneProgram, evaluationProgram } from '../train/program';
import type { Backbone } from '../vit/weights';
import { mergedTensors, onBackbone, requireBackbone, type Exported, type ExportOptions } from './export';

export interface OnnxOptions {
  /** Fold the adapter into the backbone; otherwise its own operations are part of the model. */
  merge: boolean;
  input: ImageInput;
}

/** protobuf messages end at 2 GiB, and ONNX models are one. */
const largestModel = 2 ** 31 - 2 ** 20;

/** model.onnx: input `images` (any number), output `logits` [batch, classes]; how to prepare images stands in its metadata. */
export async function exportOnnx({ adapter: given, out, backbone }: ExportOptions, { merge, input }: OnnxOptions): Promise<Exported> {
  const adapter = onBackbone(given, backbone), { manifest } = adapter;
  const { tensors, programOf } = (merge ? mergedModel : unmergedModel)(adapter, backbone);
  const bytes = Object.values(tensors).reduce((sum, { data }) => sum + data.byteLength, 0);
  if (bytes > largestModel) throw new UserError({ what: `the model takes ${(bytes / 2 ** 30).toFixed(1)} GiB, and an ONNX file holds at most 2`, remedy: 'Export it with --format merged.' });
  const graphs: Uint8Array[] = [];
  for (const batch of [2, 3, 4]) graphs.push(await graphFor(programOf(batch), tensors));
  const { architecture, name } = manifest.backbone;
  const model = standaloneModel({
    graphs: graphs as [Uint8Array, Uint8Array, Uint8Array], tensors, architecture, normalization: manifest.normalization, input,
    metadata: {
      method: manifest.method.id, method_options: JSON.stringify(manifest.method.options), merged: String(merge), backbone: name,
      classes: JSON.stringify(manifest.classes), resize: manifest.resize, peft_lab: manifest.libraryVersion,
    },
  });
  await fs.mkdir(out, { recursive: true });
  const file = path.join(out, 'model.onnx'), temporary = `${file}.${randomUUID().slice(0, 8)}.tmp`;
  await fs.writeFile(temporary, model);
  await replaceFile(temporary, file);
  return { files: ['model.onnx'], remarks: [] };
}

interface OnnxModel {
  tensors: HostTensors;
  programOf(batch: number): Program;
}

function mergedModel(adapter: Adapter, backbone: Backbone | null): OnnxModel {
  const tensors = mergedOrAdvice(adapter, backbone), { architecture } = adapter.manifest.backbone;
  return { tensors, programOf: batch => backboneProgram({ architecture, batch }) };
}

function mergedOrAdvice(adapter: Adapter, backbone: Backbone | null): HostTensors {
  requireBackbone(adapter, backbone);
  try {
    return mergedTensors(adapter, backbone);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError({ what: error.what, where: adapter.folder, remedy: 'Export it with --unmerged: the adapter\'s own operations then stay in the model.', cause: error });
  }
}

function unmergedModel(adapter: Adapter, backbone: Backbone | null): OnnxModel {
  const { architecture, tensors: base } = requireBackbone(adapter, backbone);
  const { method: { id, options }, classes } = adapter.manifest;
  const model = { architecture, method: findMethod(id), options, classes: classes.length };
  return { tensors: { ...base, ...adapter.tensors }, programOf: batch => evaluationProgram({ ...model, batch }) };
}

/** Without the passes that only arrange work for one machine. */
async function graphFor(program: Program, constants: HostTensors): Promise<Uint8Array> {
  const traced = optimize(await trace({ program, state: {}, constants }), { without: ['free-early'] });
  return writeOnnx(traced, { dialect: portableDialect, where: 'export to ONNX', constants, constantsAs: 'feeds' });
}
