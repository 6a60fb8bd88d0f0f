import type { Trial } from '../common/trial';

/** What a label is made from. */
export type Labelled = Pick<Trial, 'id' | 'method' | 'assignment' | 'recipe'> & { data: { name: string } };

/**
 * What to call each trial, by id: the method's name and what the search chose, `lora rank=8`. Where that leaves trials of
 * one data set with the same name, the options and settings in which they differ are added, `lora rank=8 seed=43`.
 */
export function labelTrials(trials: readonly Labelled[]): Map<string, string> {
  const labels = new Map<string, string>();
  for (const group of groupBy(trials, t => `${t.data.name}\n${chosenLabel(t)}`)) {
    const distinct = group.length > 1 ? differingSettings(group) : [];
    for (const trial of group) labels.set(trial.id, [chosenLabel(trial), ...distinct.map(key => setting(key, settingsOf(trial)[key]))].join(' '));
  }
  return labels;
}

function chosenLabel({ method, assignment }: Labelled): string {
  return [method.name, ...Object.keys(assignment).sort().map(key => setting(key, assignment[key]))].join(' ');
}

/** Settings whose values differ within the group and that no label names yet, by dotted key. */
function differingSettings(group: readonly Labelled[]): string[] {
  const all = group.map(settingsOf);
  const keys = [...new Set(all.flatMap(Object.keys))].filter(key => !(key in group[0]!.assignment));
  return keys.filter(key => new Set(all.map(settings => JSON.stringify(settings[key]))).size > 1).sort();
}

function settingsOf({ method, recipe }: Labelled): Record<string, unknown> {
  return { ...prefixed('options', method.options), ...prefixed('recipe', recipe) };
}

function prefixed(prefix: string, values: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).flatMap(([key, value]): [string, unknown][] => {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? Object.entries(prefixed(`${prefix}.${key}`, value as object)) : [[`${prefix}.${key}`, value]];
  }));
}

/** What a label calls a dotted key: `rank` for `options.rank`, `lora.rank` for a combination's `options.lora.rank`. */
export function settingName(key: string): string {
  return key.slice(key.indexOf('.') + 1);
}

function setting(key: string, value: unknown): string {
  return `${settingName(key)}=${typeof value === 'number' ? compactNumber(value) : typeof value === 'string' ? value : JSON.stringify(value)}`;
}

/** `0.001`, `3e-5`, `12`: four digits are enough to tell a search's choices apart. */
function compactNumber(value: number): string {
  const rounded = Number(value.toPrecision(4));
  const magnitude = Math.abs(rounded);
  return magnitude !== 0 && (magnitude < 1e-3 || magnitude >= 1e6) ? rounded.toExponential().replace('e+', 'e') : String(rounded);
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    groups.set(key, [...groups.get(key) ?? [], item]);
  }
  return [...groups.values()];
}
