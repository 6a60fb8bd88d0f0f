import os from 'node:os';
import { version } from '../../package.json';
import { cacheFolder } from '../common/paths';
import { wholeNumber } from './arguments';
import type { Command } from './command';
import { knownArchitecture } from './known-architecture';
import { textTable } from './text-table';

export const doctor: Command = {
  usage: 'doctor [--arch NAME] [--threads N] [--json]',
  summary: 'Measure which engines this machine has, and which one "auto" chooses',
  details: 'Each engine trains in a process of its own, in the shape of a backbone, and must match the reference\'s gradients; the fastest wins.',
  flags: {
    arch: { value: 'NAME', help: 'shape to measure with, by timm\'s name; deit_tiny_patch16_224 when absent' },
    threads: { value: 'N', help: 'threads to measure with; those that training uses when absent' },
  },
  positionals: [],
  async run({ flags, output }) {
    const { defaultThreads, probeEngines } = await import('../engine/choose');
    const threads = flags['threads'] ? wholeNumber('threads', flags['threads']) : defaultThreads();
    const arch = flags['arch'] ?? 'deit_tiny_patch16_224';
    const architecture = await knownArchitecture(arch);
    output.say(`Measuring the engines with the shape of ${arch}, which takes some seconds each ...`);
    const engines = await probeEngines({ threads, architecture, fresh: true, onEngine: id => output.say(`  ${id} ...`) });
    const machine = { ...describeMachine(threads), measuredWith: arch };
    output.print(textTable(['engine', 'available', 'correct', 'ms/step', 'chosen', 'why'], engines.map(e => [
      e.id, yesNo(e.available), yesNo(e.correct), e.msPerStep?.toFixed(1) ?? '-', e.chosen ? 'yes' : '', e.why,
    ])));
    output.print(`\n${Object.entries(machine).map(([name, value]) => `${name}: ${value}`).join('\n')}`);
    const runtimes = await (await import('../runtime/overview')).runtimeOverview();
    for (const { title, says, folder } of runtimes.installed) output.print(`runtime: ${title}, ${folder}: ${says}`);
    for (const text of runtimes.possible) output.print(`can be installed: ${text}`);
    output.document({ engines, machine, runtimes });
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
