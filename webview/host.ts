/** Where the panel runs: in the editor, or by itself in a report page, which carries its data. */
import { pictureKey, reportElementId } from '../src/common/panel-messages';
import type { PanelIntent, PanelState as SavedPanelState, ReportData, SnapshotMessage } from '../src/common/panel-messages';
import type { Snapshot } from '../src/common/snapshot';
import type { PanelContext } from './context';

export interface Host {
  /** Calls back with every snapshot there is. */
  listen(show: (shown: Shown) => void): void;
  send: ((intent: PanelIntent) => void) | null;
  savedState: unknown;
  save(state: unknown): void;
}

export interface Shown {
  snapshot: Snapshot;
  picture: PanelContext['picture'];
  summary: readonly string[];
}

interface EditorApi {
  postMessage(message: PanelIntent): void;
  getState(): unknown;
  setState(state: unknown): void;
}
declare const acquireVsCodeApi: undefined | (() => EditorApi);

export function openHost(): Host {
  return typeof acquireVsCodeApi === 'function' ? editorHost(acquireVsCodeApi()) : reportHost();
}

function editorHost(api: EditorApi): Host {
  let store: string | undefined; // kept with the state: by it the editor finds the study after a reload
  const save = (state: unknown) => api.setState({ ...state as object, ...(store !== undefined && { store } satisfies SavedPanelState) });
  return {
    listen(show) {
      window.addEventListener('message', (event: MessageEvent<Partial<SnapshotMessage> | undefined>) => {
        const { type, snapshot, thumbnails = {} } = event.data ?? {};
        if (type !== 'snapshot' || !snapshot) return;
        if (store !== snapshot.study.store) {
          store = snapshot.study.store;
          save(api.getState());
        }
        show({ snapshot, picture: pictureUnder(snapshot, thumbnails), summary: [] });
      });
      api.postMessage({ type: 'ready' });
    },
    send: intent => api.postMessage(intent),
    savedState: api.getState(),
    save,
  };
}

/** `<base>/<path>` with every part of the path escaped. */
export function pictureUnder(snapshot: Snapshot, thumbnails: Record<string, string>): PanelContext['picture'] {
  const bases = new Map(snapshot.dataSets.map(({ name, root }) => [name, thumbnails[root]?.replace(/\/$/, '')]));
  return (dataSet, path) => {
    const base = bases.get(dataSet);
    return base === undefined ? null : `${base}/${path.split('/').map(encodeURIComponent).join('/')}`;
  };
}

function reportHost(): Host {
  return {
    listen(show) {
      const text = document.getElementById(reportElementId)?.textContent;
      if (!text) return;
      const { snapshot, pictures, summary } = JSON.parse(text) as ReportData;
      followColourScheme();
      show({ snapshot, summary, picture: (dataSet, path) => pictures[pictureKey(dataSet, path)] ?? null });
    },
    send: null,
    savedState: null,
    save() { /* A page that opens afresh is what one expects of a report. */ },
  };
}

/** The controls look at the classes that the editor would set. */
function followColourScheme(): void {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    document.body.classList.toggle('vscode-dark', dark.matches);
    document.body.classList.toggle('vscode-light', !dark.matches);
  };
  dark.addEventListener('change', apply);
  apply();
}
