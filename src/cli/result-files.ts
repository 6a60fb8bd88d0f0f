/** Results as CSV (one row a trial) and as a LaTeX table (methods against data sets). Pure. */
import { settingName } from '../analysis/labels';
import { percentDigits } from '../common/format';
import type { Snapshot, SnapshotTrial } from '../common/snapshot';
import type { Metrics } from '../common/trial';
import { resultRows, type ResultRow } from './results';

export function resultCsv({ trials }: Snapshot): string {
  const rows = trials.map(csvRow);
  const names = Object.keys(rows[0] ?? csvRow(emptyTrial));
  return `${[names, ...rows.map(row => names.map(name => row[name] ?? ''))].map(cells => cells.map(csvCell).join(',')).join('\n')}\n`;
}

/** One field, quoted where it must be. */
export function csvCell(value: string | number): string {
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * A booktabs table as papers print it: a row a method, a column a data set, test accuracy of the last epoch. Where a
 * search tried several configurations, validation chose one for each data set (among equals the last, as the study did).
 */
export function resultLatex(snapshot: Snapshot): string {
  const chosen = chooseRows(resultRows(snapshot));
  const dataSets = snapshot.dataSets.map(d => d.name).filter(name => chosen.some(row => row.dataSet === name));
  const names = [...new Set(chosen.map(methodOf))];
  const best = new Map(dataSets.map(d => [d, Math.max(...chosen.filter(r => r.dataSet === d).map(r => r.test?.mean ?? -1))]));
  const body = names.map(name => {
    const rows = dataSets.map(d => chosen.find(r => methodOf(r) === name && r.dataSet === d));
    const cells = rows.map((row, i) => latexAccuracy(row, best.get(dataSets[i]!)!));
    return `  ${[latexText(name), millions(rows), ...cells, ...dataSets.length > 1 ? [meanOf(rows)] : []].join(' & ')} \\\\`;
  });
  const heading = ['Method', 'Params (M)', ...dataSets.map(latexText), ...dataSets.length > 1 ? ['Mean'] : []];
  return [
    '% \\usepackage{booktabs}; top-1 test accuracy in %, trained parameters without the head in millions',
    ...chosen.some(row => !row.validation) && chosen.length < resultRows(snapshot).length ? ['% no validation split everywhere: there the test split itself chose the configurations'] : [],
    `\\begin{tabular}{l${'r'.repeat(heading.length - 1)}}`, '  \\toprule', `  ${heading.join(' & ')} \\\\`, '  \\midrule',
    ...body, '  \\bottomrule', '\\end{tabular}', '',
  ].join('\n');
}

function csvRow(trial: SnapshotTrial): Record<string, string | number> {
  return {
    id: trial.id, data_set: trial.dataSet, backbone: trial.backbone, method: trial.method, label: trial.label,
    options: JSON.stringify(trial.options), learning_rate: trial.learningRate, weight_decay: trial.weightDecay, seed: trial.seed,
    status: trial.status, trainable: trial.parameters.trainable, head: trial.parameters.head, total: trial.parameters.total,
    ...metricCells('validation', trial.validation), ...metricCells('test', trial.test),
    best_epoch: trial.bestEpoch ?? '', ...metricCells('best_validation', trial.bestValidation), ...metricCells('best_test', trial.bestTest),
    train_seconds: trial.trainSeconds, images_per_second: trial.imagesPerSecond ?? '', peak_memory_mib: trial.peakMemoryMiB ?? '',
    engine: trial.engine ?? '', error: trial.error ?? '',
  };
}

function metricCells(prefix: string, metrics: Metrics | null): Record<string, string | number> {
  return {
    [`${prefix}_top1`]: metrics?.top1 ?? '', [`${prefix}_balanced_accuracy`]: metrics?.balancedAccuracy ?? '',
    [`${prefix}_macro_f1`]: metrics?.macroF1 ?? '', [`${prefix}_loss`]: metrics?.loss ?? '',
  };
}

const noParameters = { trainable: 0, head: 0, total: 0, backbone: 0 };
/** Names the columns of a study without trials. */
const emptyTrial = { parameters: noParameters, validation: null, test: null, bestValidation: null, bestTest: null } as unknown as SnapshotTrial;

/** A label without what a search chose: rows of one name compete. */
function methodOf({ label, assignment }: ResultRow): string {
  const chosen = Object.keys(assignment).map(key => `${settingName(key)}=`);
  return label.split(' ').filter(word => !chosen.some(start => word.startsWith(start))).join(' ');
}

function chooseRows(rows: readonly ResultRow[]): ResultRow[] {
  const chosen = new Map<string, ResultRow>();
  for (const row of rows) {
    const key = `${row.dataSet}\n${methodOf(row)}`;
    const known = chosen.get(key);
    if (!known || selectionValue(row) >= selectionValue(known)) chosen.set(key, row);
  }
  return [...chosen.values()];
}

function selectionValue({ validation, test }: ResultRow): number {
  return validation?.mean ?? test?.mean ?? -1;
}

function latexAccuracy(row: ResultRow | undefined, best: number): string {
  if (!row?.test) return '--';
  const deviation = row.test.deviation === null ? '' : ` {\\scriptsize $\\pm$ ${percentDigits(row.test.deviation)}}`;
  const value = percentDigits(row.test.mean);
  return (row.test.mean === best ? `\\textbf{${value}}` : value) + deviation;
}

function millions(rows: readonly (ResultRow | undefined)[]): string {
  const known = rows.filter(row => row !== undefined);
  return (known.reduce((sum, row) => sum + row.trainable, 0) / known.length / 1e6).toFixed(3);
}

function meanOf(rows: readonly (ResultRow | undefined)[]): string {
  const values = rows.map(row => row?.test?.mean);
  return values.every(v => v !== undefined) ? percentDigits(values.reduce((a, b) => a + b, 0) / values.length) : '--';
}

function latexText(text: string): string {
  return text.replace(/[&%$#_{}]/g, '\\$&').replaceAll('~', '\\textasciitilde{}').replaceAll('^', '\\textasciicircum{}');
}
