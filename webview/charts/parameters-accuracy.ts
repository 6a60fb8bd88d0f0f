import type { SnapshotTrial } from '../../src/common/snapshot';
import { integer, magnitude, percent } from '../../src/common/format';
import type { Chart } from './chart-element';
import type { Appearances } from './curves';
import { axisLines, axisName, tooltip, tooltipContent } from './parts';
import { methodColour, mix } from './theme';
import type { ChartTheme } from './theme';

/** One trial as a mark. */
export interface Mark {
  trial: SnapshotTrial;
  /** Trained parameters without the head. */
  parameters: number;
  accuracy: number;
}

export interface ParametersAccuracyOptions {
  marks: readonly Mark[];
  front: readonly Mark[];
  appearances: Appearances;
  title: string;
}

/** Trained parameters (logarithmic) against accuracy; nothing inserted, as with linear probing, stands at the left edge. */
export function parametersAccuracy({ marks, front, appearances, title }: ParametersAccuracyOptions): Chart {
  const { zero, low, high } = range(marks);
  const x = (mark: Mark) => mark.parameters > 0 ? mark.parameters : zero;
  return {
    key: JSON.stringify([title, marks.map(m => [m.trial.id, m.trial.label, m.parameters, m.accuracy]), front.length]),
    build: (theme, { width }) => ({
      grid: { left: 62, right: 24, top: 22, bottom: 46 },
      tooltip: { ...tooltip(theme, shown => content((shown as { data: { mark?: Mark } }).data.mark, title)), trigger: 'item' },
      xAxis: { type: 'log', logBase: 10, min: low, max: high, ...axisLines(theme), splitLine: { show: false }, ...axisName(theme, 'Trained parameters without the head (logarithmic)', 28), axisLabel: { color: theme.muted, hideOverlap: true, formatter: (value: number) => value < 2 * zero ? '0' : magnitude(value) } },
      yAxis: { type: 'value', scale: true, ...axisLines(theme), ...axisName(theme, title, 48), axisLabel: { color: theme.muted, formatter: (value: number) => `${Number((100 * value).toFixed(1))}%` } },
      series: [frontLine(front, x, theme), { ...points(marks, appearances, x, theme), labelLayout: { moveOverlap: 'shiftY', hideOverlap: width < 420 } }],
    }),
  };
}

/** Zero stands a decade below the smallest count, where a logarithm can draw it. */
function range(marks: readonly Mark[]): { zero: number; low: number; high: number } {
  const counts = marks.map(m => m.parameters).filter(n => n > 0);
  const decade = counts.length ? Math.floor(Math.log10(Math.min(...counts))) : 3;
  const zero = 10 ** (decade - 1);
  const hasZero = marks.some(m => m.parameters <= 0);
  return { zero, low: hasZero ? zero : 10 ** decade, high: 10 ** Math.ceil(Math.log10(Math.max(10 ** (decade + 1), ...counts.map(n => 1.5 * n)))) };
}

function frontLine(front: readonly Mark[], x: (mark: Mark) => number, theme: ChartTheme) {
  return {
    id: 'front', type: 'line', data: front.map(m => [x(m), m.accuracy]), symbol: 'none', silent: true, z: 1, tooltip: { show: false },
    lineStyle: { color: mix(theme.foreground, theme.background, 0.45), width: 1.5, type: 'dashed' },
  };
}

function points(marks: readonly Mark[], appearances: Appearances, x: (mark: Mark) => number, theme: ChartTheme) {
  return {
    id: 'trials', type: 'scatter', z: 3, symbolSize: 11,
    data: marks.map(mark => ({
      value: [x(mark), mark.accuracy], mark, name: mark.trial.label,
      itemStyle: { color: methodColour(theme, appearances.get(mark.trial.id)?.colour ?? 0), borderColor: theme.background, borderWidth: 1 },
      // Marks at the right end would push their labels out of the picture.
      label: { position: mark.parameters > 1e7 ? 'left' : 'right' },
    })),
    label: { show: true, formatter: ({ data }: { data: { name: string } }) => data.name, color: theme.foreground, fontSize: 11, distance: 6 },
    emphasis: { itemStyle: { borderColor: theme.foreground, borderWidth: 2 } },
  };
}

function content(mark: Mark | undefined, title: string): HTMLElement {
  if (!mark) return tooltipContent('', []);
  const { parameters: count } = mark.trial;
  return tooltipContent(mark.trial.label, [
    { name: title, value: percent(mark.accuracy) },
    { name: 'Trained, without the head', value: integer(count.trainable) },
    { name: 'Head', value: integer(count.head) },
    { name: 'Of the backbone', value: `${(100 * count.trainable / count.backbone).toPrecision(2)}%` },
  ]);
}
