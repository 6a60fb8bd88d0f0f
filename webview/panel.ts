import './panel.css';
import { registerChartElement } from './charts/chart-element';
import type { PanelContext } from './context';
import { h, patch } from './dom';
import type { Tree } from './dom';
import { registerElements, tabs } from './elements';
import { openHost } from './host';
import type { Shown } from './host';
import { restoreState } from './state';
import type { PanelState } from './state';
import { waiting } from './views/empty';
import { header } from './views/header';
import { mistakesView } from './views/mistakes';
import { parametersView } from './views/parameters';
import { sweepView } from './views/sweep';

registerElements();
registerChartElement();
start();

/** One loop: a snapshot or a choice of the user's comes in, the page is drawn from both. */
function start(): void {
  const host = openHost();
  let state = restoreState(host.savedState);
  let shown: Shown | null = null;
  const page = document.getElementById('panel') ?? document.body.appendChild(document.createElement('main'));

  const draw = () => patch(page, shown ? panel({ ...shown, state, change, send: host.send }) : [waiting()]);
  const change = (changed: Partial<PanelState>) => {
    const opensTab = changed.tab !== undefined && changed.tab !== state.tab;
    state = { ...state, ...changed };
    host.save(state);
    draw();
    if (opensTab || changed.scroll !== undefined) window.scrollTo(0, changed.scroll ?? 0);
  };

  draw();
  host.listen(next => {
    const isFirst = shown === null;
    shown = next;
    draw();
    // Charts and controls get their sizes after the first drawing.
    if (isFirst) requestAnimationFrame(() => window.scrollTo(0, state.scroll));
  });
  saveScroll(scroll => host.save(state = { ...state, scroll }));
  new MutationObserver(draw).observe(document.body, { attributeFilter: ['class', 'data-vscode-theme-id'] });
}

function panel(context: PanelContext): Tree[] {
  return [
    header(context),
    tabs({
      label: 'Views', active: context.state.tab, onChange: tab => context.change({ tab: tab as PanelState['tab'] }),
      tabs: [
        { id: 'sweep', label: 'Sweep', content: () => sweepView(context) },
        { id: 'mistakes', label: 'Mistakes', content: () => mistakesView(context) },
        { id: 'parameters', label: 'Parameters', content: () => parametersView(context) },
      ],
    }),
    h('div', { class: 'page-end' }),
  ];
}

/** Once the scrolling has come to rest; a call for each pixel would be waste. */
function saveScroll(save: (scroll: number) => void): void {
  let timer = 0;
  window.addEventListener('scroll', () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => save(window.scrollY), 200);
  }, { passive: true });
}
