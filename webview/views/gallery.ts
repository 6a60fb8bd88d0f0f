import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child } from '../dom';
import { button } from '../elements';

export interface Picture {
  /** Tells it apart within the gallery. */
  key: string;
  path: string;
  lines: string[];
}

const foldedByDefault = 36;

export interface GalleryOptions {
  /** Tells galleries apart: each remembers whether it shows everything. */
  name: string;
  dataSet: string;
  pictures: readonly Picture[];
  /** How many it shows before one asks for all. */
  folded?: number;
}

/** Thumbnails that open their file. */
export function gallery(context: PanelContext, { name, dataSet, pictures, folded = foldedByDefault }: GalleryOptions): Child {
  const { state, change } = context;
  const isUnfolded = state.unfolded.includes(name) || pictures.length <= folded;
  return [
    h('ul', { 'key': name, 'class': 'gallery', 'aria-label': 'Pictures' },
      (isUnfolded ? pictures : pictures.slice(0, folded)).map(p => h('li', { key: p.key }, thumbnail(context, dataSet, p)))),
    !isUnfolded && button({ label: `Show All ${pictures.length}`, onClick: () => change({ unfolded: [...state.unfolded, name] }) }),
  ];
}

function thumbnail({ picture, send }: PanelContext, dataSet: string, { path, lines }: Picture): Child {
  const address = picture(dataSet, path);
  const content = [
    address
      ? h('img', { src: address, alt: '', loading: 'lazy', decoding: 'async', onerror: hideBroken })
      : h('span', { class: 'no-picture' }, path.slice(path.lastIndexOf('/') + 1)),
    h('span', { class: 'caption' }, lines.map(line => h('span', {}, line))),
  ];
  if (!send) return h('figure', { class: 'thumbnail', title: path }, content);
  const label = `Open ${path}: ${lines.join(', ')}`;
  return h('button', { 'class': 'thumbnail', 'title': path, 'aria-label': label, 'onclick': () => send({ type: 'openFile', path, dataSet }) }, content);
}

/** A file that the editor cannot draw (TIFF) still opens; a frame with a torn picture in it helps nobody. */
function hideBroken(event: Event): void {
  (event.target as HTMLElement).classList.add('broken');
}
