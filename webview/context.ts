import type { PanelIntent } from '../src/common/panel-messages';
import type { Snapshot } from '../src/common/snapshot';
import type { PanelState } from './state';

/** What every view is drawn from; views hold nothing themselves. */
export interface PanelContext {
  snapshot: Snapshot;
  state: PanelState;
  /** Sets what the user chose and draws again. */
  change(change: Partial<PanelState>): void;
  /** Asks the editor for something; null in a report page, where nobody would answer. */
  send: ((intent: PanelIntent) => void) | null;
  /** Address of a picture; null where there is none to show. */
  picture(dataSet: string, path: string): string | null;
  /** Sentences of a report page. */
  summary: readonly string[];
}
