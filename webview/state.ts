/** What the user has set in the panel. Survives a reload through the host's `setState`; see `restoreState`. */
import type { TrialStatus } from '../src/common/snapshot';

export interface PanelState {
  tab: 'sweep' | 'mistakes' | 'parameters';
  sort: { column: string; descending: boolean };
  text: string;
  /** '' is all of them; so for the next two. */
  method: string;
  status: TrialStatus | '';
  dataSet: string;
  /** Ids of the trials whose curves are drawn; null until the user chooses, and the panel chooses meanwhile. */
  selected: string[] | null;
  curve: 'validation' | 'test';
  /** Trials of the Mistakes view; null is the best one, and none. */
  first: string | null;
  second: string | null;
  /** Cell of a confusion matrix whose pictures are shown. */
  cell: { trial: string; label: number; predicted: number } | null;
  kind: 'onlyAWrong' | 'onlyBWrong' | 'bothWrong';
  measure: 'common' | 'same' | 'ensemble';
  /** The galleries that show all of their pictures. */
  unfolded: string[];
  metric: 'top1' | 'balancedAccuracy' | 'macroF1';
  epoch: 'last' | 'best';
  scroll: number;
}

export const initialState: PanelState = {
  tab: 'sweep', sort: { column: 'plan', descending: false }, text: '', method: '', status: '', dataSet: '', selected: null,
  curve: 'validation', first: null, second: null, cell: null, kind: 'bothWrong', measure: 'common', unfolded: [],
  metric: 'top1', epoch: 'last', scroll: 0,
};

/**
 * A saved state, merged over the initial one field by field: a state that another version of the panel saved may lack
 * fields or hold something else in them.
 */
export function restoreState(saved: unknown): PanelState {
  if (typeof saved !== 'object' || saved === null) return initialState;
  const fields = Object.entries(saved).filter(([name, value]) => name in initialState && accepts(name as keyof PanelState, value));
  return { ...initialState, ...Object.fromEntries(fields) };
}

const closed: Partial<Record<keyof PanelState, readonly unknown[]>> = {
  tab: ['sweep', 'mistakes', 'parameters'],
  status: ['', 'queued', 'running', 'finished', 'failed', 'cancelled', 'interrupted'],
  curve: ['validation', 'test'],
  kind: ['onlyAWrong', 'onlyBWrong', 'bothWrong'],
  measure: ['common', 'same', 'ensemble'],
  metric: ['top1', 'balancedAccuracy', 'macroF1'],
  epoch: ['last', 'best'],
};

function accepts(name: keyof PanelState, value: unknown): boolean {
  if (closed[name]) return closed[name].includes(value);
  if (name === 'sort') return hasTypes(value, { column: 'string', descending: 'boolean' });
  if (name === 'cell') return value === null || hasTypes(value, { trial: 'string', label: 'number', predicted: 'number' });
  if (name === 'selected' && value === null) return true;
  if (name === 'selected' || name === 'unfolded') return Array.isArray(value) && value.every(id => typeof id === 'string');
  if (name === 'first' || name === 'second') return value === null || typeof value === 'string';
  return typeof value === typeof initialState[name];
}

function hasTypes(value: unknown, types: Record<string, string>): boolean {
  return typeof value === 'object' && value !== null
    && Object.entries(types).every(([key, type]) => typeof (value as Record<string, unknown>)[key] === type);
}
