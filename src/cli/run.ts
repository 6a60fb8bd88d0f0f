import { engineChoices } from '../common/engines';
import { oneOf, wholeNumber } from './arguments';
import type { Command } from './command';
import { loadStudy } from './load-study';

export const run: Command = {
  usage: 'run STUDY [--engine E] [--launcher local] [--jobs N] [--json]',
  summary: 'Run a study, or go on with it',
  details: 'Finished trials are kept, failed ones are tried again. Ctrl-C checkpoints and exits with 130; the same command goes on from there.',
  flags: {
    engine: { value: 'E', help: `${engineChoices.join(', ')}, instead of what the study says` },
    launcher: { value: 'L', help: 'where trials run; local for now' },
    jobs: { value: 'N', help: 'trials at a time; 1 when absent' },
  },
  positionals: ['STUDY'],
  async run({ positionals, flags, output }) {
    const loaded = await loadStudy(positionals[0]!);
    const { runStudy } = await import('./run-study');
    if (flags['engine']) loaded.study.engine = oneOf('engine', flags['engine'], engineChoices);
    if (flags['launcher']) loaded.study.launcher = oneOf('launcher', flags['launcher'], ['local']);
    return runStudy({ loaded, output, jobs: flags['jobs'] ? wholeNumber('jobs', flags['jobs']) : 1 });
  },
};
