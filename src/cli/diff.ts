import path from 'node:path';
import type { AdapterDiff, LayerDiff } from '../exchange/diff';
import type { Command } from './command';
import { openExchangeBackbone } from './exchange';
import { textTable } from './text-table';

const usage = 'diff A B [--backbone FILE] [--json]';

export const diffCommand: Command = {
  usage,
  summary: 'Compare what two adapters change in their backbone, layer by layer',
  details: 'For each layer: the norm of each one\'s change (and its share of the backbone\'s own), its effective rank (how many directions\n' +
    'it has, exp of the entropy of its singular values), and the angle between the two changes (0 the same direction, 90 none in common).\n' +
    'With the backbone, the changes of its weights are compared; without, or where a method cannot be folded, the adapters\' own tensors.',
  flags: { backbone: { value: 'FILE', help: 'the backbone of both, or "demo"' } },
  positionals: ['A', 'B'],
  async run({ flags, positionals, output }) {
    const { loadAdapter } = await import('../peft/adapter');
    const { diffAdapters } = await import('../exchange/diff');
    const [a, b] = await Promise.all(positionals.map(folder => loadAdapter(path.resolve(folder))));
    const backbone = flags['backbone'] ? await openExchangeBackbone(flags['backbone'], { adapter: a!, say: output.say }) : null;
    let shown = Date.now();
    const diff = diffAdapters({
      adapters: [a!, b!], backbone,
      onProgress(done, total) {
        if (Date.now() - shown < 1000) return;
        shown = Date.now();
        output.say(`${done} of ${total} tensors`);
      },
    });
    if (diff.reason !== null) output.say(`The adapters' own tensors are compared: ${diff.reason}.`);
    const named = [a!, b!].map(({ manifest: { method, backbone: { name } } }, i) => ({ folder: positionals[i]!, method, backbone: name }));
    output.print(named.map(({ folder, method }, i) => `${'AB'[i]}: ${method.id} ${JSON.stringify(method.options)}, ${folder}`).join('\n'));
    output.print(tableOf(diff));
    output.document({ a: named[0], b: named[1], ...diff });
    return 0;
  },
};

function tableOf({ layers, compared }: AdapterDiff): string {
  const withBase = compared === 'weights';
  const heading = [compared === 'weights' ? 'weight' : 'tensor', 'norm A', 'norm B', ...withBase ? ['A, % of base', 'B, % of base'] : [], 'rank A', 'rank B', 'angle, °'];
  return textTable(heading, layers.map(layer => [
    layer.name, ...layer.norms.map(number), ...withBase ? layer.norms.map(norm => share(norm, layer)) : [], ...layer.effectiveRanks.map(rank => (rank === null ? '' : rank.toFixed(1))),
    layer.angle === null ? '' : layer.angle.toFixed(1),
  ]));
}

function number(value: number | null): string {
  return value === null ? '' : value === 0 ? '0' : value.toPrecision(3);
}

function share(norm: number | null, { baseNorm }: LayerDiff): string {
  return norm === null || !baseNorm ? '' : (100 * norm / baseNorm).toFixed(2);
}
