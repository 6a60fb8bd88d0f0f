import { integer, percentDigits } from '../common/format';
import type { Snapshot } from '../common/snapshot';
import { resultRows, withoutSeed, type ResultRow, type Spread } from './results';
import { textTable } from './text-table';

/** What the terminal shows of a study: a table for each data set, then what did not finish. */
export function resultTable(snapshot: Snapshot): string {
  const rows = resultRows(snapshot);
  const tables = snapshot.dataSets.map(({ name, classes }) => {
    const own = rows.filter(row => row.dataSet === name);
    return own.length ? `${name}, ${classes.length} classes (top-1 accuracy in %)\n${table(own)}` : null;
  });
  const parts = [...tables, unfinished(snapshot)].filter(part => part !== null);
  return parts.length ? parts.join('\n\n') : 'There are no results yet.';
}

function table(rows: readonly ResultRow[]): string {
  const heading = ['method', 'trainable', 'validation', 'test, last', 'test, best', 'seconds', 'images/s'];
  const hasSeeds = rows.some(row => row.seeds > 1);
  return textTable([...heading, ...hasSeeds ? ['seeds'] : []], rows.map(row => [
    row.label, integer(row.trainable), showSpread(row.validation), showSpread(row.test), showSpread(row.testBest),
    row.seconds.toFixed(row.seconds < 10 ? 1 : 0), row.imagesPerSecond?.toFixed(0) ?? '-',
    ...hasSeeds ? [String(row.seeds)] : [],
  ]));
}

function showSpread(spread: Spread | null): string {
  if (!spread) return '-';
  return percentDigits(spread.mean) + (spread.deviation === null ? '' : ` ±${percentDigits(spread.deviation)}`);
}

function unfinished({ trials }: Snapshot): string | null {
  const failed = trials.filter(t => t.status === 'failed').map(t => `failed: ${withoutSeed(t)} on ${t.dataSet}: ${t.error?.split('\n')[0] ?? ''}`);
  const open = trials.filter(t => t.status !== 'failed' && t.status !== 'finished').length;
  const lines = [...failed, ...open ? [`${open} of ${trials.length} trials have no result yet.`] : []];
  return lines.length ? lines.join('\n') : null;
}
