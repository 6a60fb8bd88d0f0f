import fs from 'node:fs';
import path from 'node:path';
import { engineChoices, engineIds } from '../common/engines';
import { oneOf } from './arguments';
import type { Command } from './command';
import { loadStudy } from './load-study';

export const demo: Command = {
  usage: 'demo [--out DIR] [--engine E] [--json]',
  summary: 'Run the demo study: several methods and a small sweep on images that PEFT Lab draws',
  details: 'Puts study, images and results into DIR, a few minutes of work on two cores. Called again, it goes on, or shows the results.',
  flags: {
    out: { value: 'DIR', help: 'folder for everything; peft-lab-demo when absent' },
    engine: { value: 'E', help: `auto (when absent), ${engineIds.join(', ')}` },
  },
  positionals: [],
  async run({ flags, output }) {
    const { writeDemoData } = await import('../data/drawn/demo-data');
    const folder = path.resolve(flags['out'] ?? 'peft-lab-demo');
    output.say(`Drawing images in ${path.join(folder, 'data')} ...`);
    fs.mkdirSync(path.join(folder, 'data'), { recursive: true });
    await writeDemoData(folder);
    const loaded = await loadStudy(await writeStudy(folder));
    if (flags['engine']) loaded.study.engine = oneOf('engine', flags['engine'], engineChoices);
    const { runStudy } = await import('./run-study');
    return runStudy({ loaded, output, jobs: 1 });
  },
};

/** Copies the study unless there is one, which may have been edited. Its "$schema" points to where it came from. */
async function writeStudy(folder: string): Promise<string> {
  const { demoStudy } = await import('../vit/embedded');
  const file = path.join(folder, 'demo.peft.json');
  if (!fs.existsSync(file)) fs.writeFileSync(file, fs.readFileSync(demoStudy(), 'utf8').replace(/^\s*"\$schema".*\n/m, ''));
  return file;
}
