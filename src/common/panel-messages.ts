/**
 * What the panel and its host say to each other. The host sends whole snapshots and the panel sends intents; neither
 * waits for an answer, so nothing can hang.
 */
import type { Snapshot } from './snapshot';

/** Host to panel. */
export interface SnapshotMessage {
  type: 'snapshot';
  snapshot: Snapshot;
  /** The address that a data set's pictures lie under, by `SnapshotDataSet.root`: `<base>/<path in the data set>`. */
  thumbnails: Record<string, string>;
}

/** Panel to host. */
export type PanelIntent =
  | { type: 'ready' }
  /** Open a picture; `path` is relative to the root of the data set called `dataSet`. */
  | { type: 'openFile'; path: string; dataSet: string }
  | { type: 'cancel' }
  | { type: 'run' }
  | { type: 'openStudy' }
  | { type: 'openReport' };

/** What the panel keeps with acquireVsCodeApi().setState, beside its own: by it the host finds the study after a reload. */
export interface PanelState {
  /** `snapshot.study.store` of the last snapshot. */
  store: string;
}

/** A report page carries its snapshot in itself, as JSON in the element with this id. */
export const reportElementId = 'peft-lab-report';

export interface ReportData {
  snapshot: Snapshot;
  /** Small pictures as data URIs, by `pictureKey`. */
  pictures: Record<string, string>;
  /** Plain sentences about what the study found. */
  summary: string[];
}

export function pictureKey(dataSet: string, path: string): string {
  return `${dataSet}\n${path}`;
}

/** Whether a message that came out of a webview is an intent; what comes from a page is not trusted. */
export function isPanelIntent(message: unknown): message is PanelIntent {
  if (typeof message !== 'object' || message === null) return false;
  const { type, path, dataSet } = message as Record<string, unknown>;
  if (type === 'openFile') return typeof path === 'string' && typeof dataSet === 'string';
  return type === 'ready' || type === 'cancel' || type === 'run' || type === 'openStudy' || type === 'openReport';
}
