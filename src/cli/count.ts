import type { z } from 'zod';
import { UserError } from '../common/errors';
import { explainIssues, pathText } from '../common/explain-issues';
import { integer } from '../common/format';
import type { Architecture } from '../common/trial';
import { required, wholeNumber } from './arguments';
import type { Call, Command } from './command';
import { flagBackbone } from './backbone';
import { knownArchitecture } from './known-architecture';
import { textTable } from './text-table';

const usage = 'count --arch NAME|--backbone FILE --method METHOD [--options JSON] [--classes N] [--json]';

export const count: Command = {
  usage,
  summary: 'Count a method\'s trainable parameters; loads no weights',
  details: '"trainable" is without the classification head; without --classes no head is counted.',
  flags: {
    arch: { value: 'NAME', help: 'a known architecture, for instance vit_base_patch16_224' },
    backbone: { value: 'FILE', help: 'a safetensors or npz file, "demo", or hub:owner/name, instead of --arch' },
    method: { value: 'METHOD', help: 'the method\'s id, for instance lora' },
    options: { value: 'JSON', help: 'the method\'s options, for instance \'{"rank":8}\'; defaults for the rest' },
    classes: { value: 'N', help: 'number of classes of the head' },
  },
  positionals: [],
  async run({ flags, output }) {
    const { countParameters } = await import('../peft/count');
    const { findMethod } = await import('../peft/registry');
    const id = required(flags, 'method', usage);
    const options = parseOptions(flags['options'], findMethod(id).options);
    const classes = flags['classes'] ? wholeNumber('classes', flags['classes']) : 0;
    const counted = countParameters({ architecture: await findArchitecture({ flags, output }), method: findMethod(id), options, classes });
    output.print(textTable(['', 'parameters'], Object.entries(counted).map(([name, n]) => [name, integer(n)])));
    output.document(counted);
    return 0;
  },
};

async function findArchitecture({ flags: { arch, backbone }, output }: Pick<Call, 'flags' | 'output'>): Promise<Architecture> {
  if (backbone) return (await (await import('../vit/weights')).readArchitecture((await flagBackbone(backbone, output.say)).file)).architecture;
  if (!arch) throw new UserError({ what: 'neither --arch nor --backbone is given', remedy: `Usage: peft-lab ${usage}` });
  return knownArchitecture(arch);
}

/** The options with the method's defaults. */
function parseOptions(text: string | undefined, schema: z.ZodObject): Record<string, unknown> {
  const value = parseJson(text);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [first] = explainIssues(parsed.error.issues, schema, value);
  throw new UserError({ what: first?.message ?? 'the options are not valid', where: ['--options', pathText(first?.path ?? [])].filter(Boolean).join(' '), remedy: first?.remedy ?? undefined });
}

function parseJson(text: string | undefined): unknown {
  try {
    return text ? JSON.parse(text) as unknown : {};
  } catch (cause) {
    throw new UserError({ what: 'this is not JSON', where: `--options ${text}`, remedy: 'Quote it for your shell: --options \'{"rank":8}\'.', cause });
  }
}
