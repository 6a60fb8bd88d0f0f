import type { TrialStatus } from '../../src/common/snapshot';
import { h } from '../dom';
import type { Tree } from '../dom';

/** Outlines on a 16 x 16 grid, drawn for this panel. */
const outlines: Record<TrialStatus | 'warning', string> = {
  queued: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11',
  running: 'M8 2.5a5.5 5.5 0 1 1-5.5 5.5',
  finished: 'M3 8.5l3.5 3.5L13 4.5',
  failed: 'M4 4l8 8M12 4l-8 8',
  cancelled: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M4.2 11.8l7.6-7.6',
  interrupted: 'M6 4v8M10 4v8',
  warning: 'M8 2.5L14 13.5H2ZM8 6.5v3.5M8 11.3v1',
};

/** Decoration: the text beside it says the same. */
export function icon(name: TrialStatus | 'warning'): Tree {
  return h('svg', { 'class': `icon icon-${name}`, 'viewBox': '0 0 16 16', 'aria-hidden': 'true' }, h('path', { d: outlines[name] }));
}
