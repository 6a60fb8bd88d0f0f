/** `<peft-chart>`: one ECharts chart that keeps the size of its box and the colours of the theme. */
import { HeatmapChart, LineChart, ScatterChart } from 'echarts/charts';
import { GridComponent, TooltipComponent } from 'echarts/components';
import type { EChartsCoreOption, EChartsType } from 'echarts/core';
import { init, use } from 'echarts/core';
import { LabelLayout } from 'echarts/features';
import { SVGRenderer } from 'echarts/renderers';
import { h } from '../dom';
import type { Tree } from '../dom';
import { readTheme } from './theme';
import type { ChartTheme } from './theme';

/** What is drawn: a pure function of theme and size, so that either may change. */
export interface Chart {
  /** Draws again only when this differs. */
  key: string;
  build: (theme: ChartTheme, size: ChartSize) => EChartsCoreOption;
  /** `value` is that of the clicked mark. */
  onClick?: (value: unknown) => void;
}

export interface ChartSize {
  width: number;
  height: number;
}

/** `description` is what a screen reader says instead of the picture. */
export function chart({ name, description, ...drawn }: Chart & { name: string; description: string }): Tree {
  return h('peft-chart', { 'key': name, 'class': `chart ${name}`, 'role': 'img', 'aria-label': description, '.chart': drawn });
}

export function registerChartElement(): void {
  use([LineChart, ScatterChart, HeatmapChart, GridComponent, TooltipComponent, LabelLayout, SVGRenderer]);
  if (!customElements.get('peft-chart')) customElements.define('peft-chart', ChartElement);
}

class ChartElement extends HTMLElement {
  #chart: Chart | null = null;
  #drawn = '';
  #instance: EChartsType | null = null;
  readonly #box = document.createElement('div');
  readonly #resized = new ResizeObserver(() => this.#draw());
  readonly #recoloured = new MutationObserver(() => this.#draw());

  constructor() {
    super();
    this.#box.style.cssText = 'position: absolute; inset: 0';
    this.attachShadow({ mode: 'open' }).append(this.#box);
  }

  get chart(): Chart | null {
    return this.#chart;
  }

  set chart(chart: Chart | null) {
    this.#chart = chart;
    this.#draw();
  }

  connectedCallback(): void {
    this.#resized.observe(this);
    this.#recoloured.observe(document.documentElement, { attributeFilter: ['style', 'class'] });
    this.#recoloured.observe(document.body, { attributeFilter: ['class', 'data-vscode-theme-kind', 'data-vscode-theme-id'] });
    this.#draw();
  }

  disconnectedCallback(): void {
    this.#resized.disconnect();
    this.#recoloured.disconnect();
    this.#instance?.dispose();
    this.#instance = null;
    this.#drawn = '';
  }

  #draw(): void {
    const size = { width: this.clientWidth, height: this.clientHeight };
    if (!this.#chart || !this.isConnected || !size.width || !size.height) return;
    const theme = readTheme();
    const state = JSON.stringify([this.#chart.key, theme, size]);
    if (state === this.#drawn) return;
    this.#drawn = state;
    const instance = this.#open();
    instance.resize(size);
    // Merging keeps an open tooltip open while a snapshot a second comes in.
    instance.setOption({ ...baseOption(theme), ...this.#chart.build(theme, size) }, { replaceMerge: ['series', 'xAxis', 'yAxis'] });
  }

  #open(): EChartsType {
    if (this.#instance) return this.#instance;
    this.#instance = init(this.#box, null, { renderer: 'svg' });
    this.#instance.on('click', event => this.#chart?.onClick?.(event.data));
    return this.#instance;
  }
}

function baseOption(theme: ChartTheme): EChartsCoreOption {
  return {
    animation: false,
    textStyle: { fontFamily: theme.font, fontSize: theme.fontSize, color: theme.foreground },
  };
}
