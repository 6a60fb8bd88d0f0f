import fs from 'node:fs';
import path from 'node:path';
import type { Snapshot } from '../common/snapshot';
import { UserError } from '../common/errors';
import { writeAtomic } from '../store/files';
import type { Command } from './command';
import { findStore } from './load-study';
import { resultCsv, resultLatex } from './result-files';
import { resultTable } from './result-table';

export const report: Command = {
  usage: 'report STUDY [--html FILE] [--csv FILE] [--latex FILE] [--json]',
  summary: 'Show a study\'s results so far',
  details: 'STUDY is the study file or its store (<study>.peft). --json prints everything that the panel shows.',
  flags: {
    html: { value: 'FILE', help: 'write a self-contained page with charts and pictures' },
    csv: { value: 'FILE', help: 'write one row a trial' },
    latex: { value: 'FILE', help: 'write a booktabs table, methods against data sets' },
  },
  positionals: ['STUDY'],
  async run({ positionals, flags, output }) {
    const { buildSnapshot } = await import('../analysis/snapshot');
    const store = findStore(positionals[0]!);
    if (!fs.existsSync(store)) throw new UserError({ what: 'this study was not run yet', where: positionals[0], remedy: `Run it: peft-lab run ${positionals[0]}` });
    const snapshot = await buildSnapshot(store);
    const written = await writeFiles(snapshot, flags);
    output.print(resultTable(snapshot));
    written.forEach(file => output.say(`Wrote ${file}`));
    output.document(snapshot);
    return 0;
  },
};

async function writeFiles(snapshot: Snapshot, { html, csv, latex }: Readonly<Record<string, string>>): Promise<string[]> {
  if (html) await (await import('./report-page')).writeReportPage(snapshot, html);
  if (csv) writeAtomic(path.resolve(csv), resultCsv(snapshot));
  if (latex) writeAtomic(path.resolve(latex), resultLatex(snapshot));
  return [html, csv, latex].filter(file => file !== undefined);
}
