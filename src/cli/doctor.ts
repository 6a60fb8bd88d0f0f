import os from 'node:os';
import { version } from '../../package.json';
import { cacheFolder } from '../common/paths';
import { wholeNumber } from './arguments';
import type { Command } from './command';
import { textTable } from './text';

export const doctor: Command = {
  usage: 'doctor [--threads N] [--json]',
  summary: 'Measure which engines this machine has, and which one "auto" chooses',
  details: 'Each engine trains a small model in a process of its own and must match the reference\'s gradients; the fastest wins.',
  flags: { threads: { value: 'N', help: 'threads to measure with; those that training uses when absent' } },
  positionals: [],
  async run({ flags, output }) {
    const { defaultThreads, probeEngines } = await import('../engine/choose');
    const threads = flags['threads'] ? wholeNumber('threads', flags['threads']) : defaultThreads();
    output.say('Measuring the engines, which takes a few seconds each ...');
    const engines = await probeEngines({ threads, fresh: true });
    const machine = describeMachine(threads);
    output.print(textTable(['engine', 'available', 'correct', 'ms/step', 'chosen', 'why'], engines.map(e => [
      e.id, yesNo(e.available), yesNo(e.correct), e.msPerStep?.toFixed(1) ?? '-', e.chosen ? 'yes' : '', e.why,
    ])));
    output.print(`\n${Object.entries(machine).map(([name, value]) => `${name}: ${value}`).join('\n')}`);
    output.document({ engines, machine });
    return engines.some(e => e.chosen) ? 0 : 1;
  },
};

function describeMachine(threads: number) {
  return {
    peftLab: version, node: process.version, executable: process.execPath, system: `${process.platform} ${os.release()} ${process.arch}`,
    processor: os.cpus()[0]?.model.trim() ?? 'unknown', cores: os.availableParallelism(), threads,
    memoryGiB: Number((os.totalmem() / 2 ** 30).toFixed(1)), cacheFolder: cacheFolder(),
  };
}

function yesNo(value: boolean): string {
  return value ? 'yes' : 'no';
}
