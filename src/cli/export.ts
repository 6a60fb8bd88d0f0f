import path from 'node:path';
import { UserError } from '../common/errors';
import type { ExportOptions } from '../exchange/export';
import { oneOf, required } from './arguments';
import type { Command } from './command';
import { openExchangeBackbone } from './exchange';

const usage = 'export ADAPTER --format peft|merged|onnx|study --out DIR [--backbone FILE] [--dialect timm|hf|hf4] [--unmerged] [--input float-nchw|uint8-nhwc] [--json]';

const formats = ['peft', 'merged', 'onnx', 'study'] as const;

export const exportCommand: Command = {
  usage,
  summary: 'Write an adapter in the form of another library, or as a whole model',
  details: 'peft: a folder for Hugging Face PEFT, with the classifier. merged: the backbone with the adapter folded in, as safetensors with\n' +
    'configuration, for timm or transformers. onnx: one model.onnx with any batch size, its pre-processing in the metadata.\n' +
    'study: the study\'s flags and tensors. What a form cannot hold is refused with the reason.',
  flags: {
    format: { value: 'F', help: 'peft, merged, onnx or study' },
    out: { value: 'DIR', help: 'folder to write to' },
    backbone: { value: 'FILE', help: 'the backbone that the adapter was trained on, or "demo"; needed for merged and onnx' },
    dialect: { value: 'D', help: 'whose names: timm (when absent), hf (transformers 5) or hf4 (transformers 4)' },
    unmerged: { help: 'onnx: keep the adapter beside the backbone, as methods need that cannot be folded' },
    input: { value: 'I', help: 'onnx: float-nchw (when absent; normalised, as timm feeds models) or uint8-nhwc (pixels; normalises itself)' },
  },
  positionals: ['ADAPTER'],
  async run({ flags, positionals, output }) {
    const format = oneOf('format', required(flags, 'format', usage), formats);
    const out = path.resolve(required(flags, 'out', usage)), folder = path.resolve(positionals[0]!);
    if (out === folder) throw new UserError({ what: 'the export would be written over the adapter', where: `--out ${out}`, remedy: 'Name another folder.' });
    refuseIdleFlags(flags, format);
    const { loadAdapter } = await import('../peft/adapter');
    const adapter = await loadAdapter(folder);
    const backbone = flags['backbone'] ? await openExchangeBackbone(flags['backbone'], { adapter, say: output.say }) : null;
    const { files, remarks } = await write({ format, flags, options: { adapter, out, backbone } });
    for (const remark of remarks) output.say(remark);
    output.print(`${adapter.manifest.method.id} as ${format} -> ${out} (${files.join(', ')})`);
    output.document({ out, format, method: adapter.manifest.method, files, remarks });
    return 0;
  },
};

interface WriteOptions { format: typeof formats[number]; flags: Readonly<Record<string, string>>; options: ExportOptions }

async function write({ format, flags, options }: WriteOptions) {
  const { exportMerged, exportPeft, exportStudy } = await import('../exchange/export');
  const dialect = flags['dialect'] ?? 'timm';
  switch (format) {
    case 'peft': return exportPeft(options, oneOf('dialect', dialect, ['timm', 'hf', 'hf4']));
    case 'merged': return exportMerged(options, oneOf('dialect', dialect, ['timm', 'hf']));
    case 'study': return exportStudy(options);
    case 'onnx': {
      const { exportOnnx } = await import('../exchange/export-onnx');
      return exportOnnx(options, { merge: !('unmerged' in flags), input: oneOf('input', flags['input'] ?? 'float-nchw', ['float-nchw', 'uint8-nhwc']) });
    }
    default: return format satisfies never;
  }
}

/** A flag that the format does not know would be a silent mistake. */
function refuseIdleFlags(flags: Readonly<Record<string, string>>, format: typeof formats[number]): void {
  const meant = { dialect: ['peft', 'merged'], unmerged: ['onnx'], input: ['onnx'] } as const;
  for (const [flag, known] of Object.entries(meant)) {
    if (flag in flags && !(known as readonly string[]).includes(format)) {
      throw new UserError({ what: `it has no meaning for the format ${format}`, where: `--${flag}`, remedy: `It belongs to ${known.join(' and ')}.` });
    }
  }
}
