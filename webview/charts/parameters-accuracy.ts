import type { SnapshotTrial } from '../../src/common/snapshot';
import { integer, magnitude, percent } from '../../src/common/format';
import type { Chart, ChartSize } from './chart-element';
import type { Appearances } from './curves';
import { axisLines, axisName, tooltip, tooltipContent } from './parts';
import { placeLabels } from './place-labels';
import type { Side } from './place-labels';
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

const margins = { left: 62, right: 24, top: 16, bottom: 46 };

/** Trained parameters (logarithmic) against accuracy; nothing inserted, as with linear probing, stands at the left edge. */
export function parametersAccuracy({ marks, front, appearances, title }: ParametersAccuracyOptions): Chart {
  const { zero, ...x } = parameterRange(marks);
  const y = accuracyRange(marks);
  const position = (mark: Mark) => [mark.parameters > 0 ? mark.parameters : zero, mark.accuracy] as const;
  return {
    key: JSON.stringify([title, marks.map(m => [m.trial.id, m.trial.label, m.parameters, m.accuracy]), front.length]),
    build: (theme, size) => ({
      grid: margins,
      tooltip: { ...tooltip(theme, shown => content((shown as { data: { mark?: Mark } }).data.mark, title)), trigger: 'item' },
      xAxis: {
        type: 'log', logBase: 10, ...x, ...axisLines(theme), splitLine: { show: false },
        ...axisName(theme, 'Trained parameters without the head (logarithmic)', 28),
        axisLabel: { color: theme.muted, hideOverlap: true, formatter: (value: number) => value < 2 * zero ? '0' : magnitude(value) },
      },
      yAxis: {
        type: 'value', ...y, ...axisLines(theme), ...axisName(theme, title, 48),
        axisLabel: { color: theme.muted, formatter: (value: number) => `${Number((100 * value).toFixed(1))}%` },
      },
      series: [
        frontLine(front.map(position), theme),
        points(marks.map(mark => ({ mark, position: position(mark) })), { appearances, theme, sides: labelSides({ marks, front, position, x, y, size }) }),
      ],
    }),
  };
}

interface Range {
  min: number;
  max: number;
}

/** Zero stands a decade below the smallest count, where a logarithm can draw it. */
function parameterRange(marks: readonly Mark[]): Range & { zero: number } {
  const counts = marks.map(m => m.parameters).filter(n => n > 0);
  const decade = counts.length ? Math.floor(Math.log10(Math.min(...counts))) : 3;
  const zero = 10 ** (decade - 1);
  const hasZero = marks.some(m => m.parameters <= 0);
  return { zero, min: hasZero ? zero : 10 ** decade, max: 10 ** Math.ceil(Math.log10(Math.max(10 ** (decade + 1), ...counts.map(n => 1.5 * n)))) };
}

/** Round limits around all accuracies, with some air and about five lines between. */
export function accuracyRange(marks: readonly Pick<Mark, 'accuracy'>[]): Range & { interval: number } {
  const low = Math.min(...marks.map(m => m.accuracy)), high = Math.max(...marks.map(m => m.accuracy));
  const interval = high - low < 0.005 ? 0.01 : [0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find(step => (high - low) / step <= 6) ?? 0.2;
  const air = interval / 3;
  const min = Math.max(0, Math.floor((low - air) / interval) * interval);
  return { min, max: Math.max(min + 2 * interval, Math.min(Math.ceil(1 / interval) * interval, Math.ceil((high + air) / interval) * interval)), interval };
}

function frontLine(positions: readonly (readonly [number, number])[], theme: ChartTheme) {
  return {
    id: 'front', type: 'line', data: positions, symbol: 'none', silent: true, z: 1, tooltip: { show: false },
    lineStyle: { color: mix(theme.foreground, theme.background, 0.45), width: 1.5, type: 'dashed' },
  };
}

/** Where each mark's name goes; the best marks choose first. */
function labelSides({ marks, front, position, x, y, size }: {
  marks: readonly Mark[]; front: readonly Mark[]; position: (mark: Mark) => readonly [number, number]; x: Range; y: Range; size: ChartSize;
}): Map<Mark, Side | null> {
  const area = { left: margins.left, right: size.width, top: 0, bottom: size.height - margins.bottom };
  const pixel = (mark: Mark) => {
    const [parameters, accuracy] = position(mark);
    const across = Math.log(parameters / x.min) / Math.log(x.max / x.min), up = (accuracy - y.min) / (y.max - y.min);
    return { x: area.left + across * (size.width - margins.left - margins.right), y: area.bottom - up * (area.bottom - margins.top) };
  };
  const ordered = [...marks].sort((a, b) => Number(front.includes(b)) - Number(front.includes(a)) || b.accuracy - a.accuracy);
  const sides = placeLabels({ spots: ordered.map(mark => ({ ...pixel(mark), text: mark.trial.label })), area, avoid: alongLine(front.map(pixel)) });
  return new Map(ordered.map((mark, i) => [mark, sides[i]!]));
}

/** Points every few pixels along a line. */
function alongLine(corners: readonly { x: number; y: number }[]): { x: number; y: number }[] {
  return corners.slice(1).flatMap((to, i) => {
    const from = corners[i]!;
    const steps = Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / 6);
    return Array.from({ length: steps }, (_, k) => ({ x: from.x + (to.x - from.x) * k / steps, y: from.y + (to.y - from.y) * k / steps }));
  });
}

function points(marks: readonly { mark: Mark; position: readonly [number, number] }[], { appearances, theme, sides }: {
  appearances: Appearances; theme: ChartTheme; sides: Map<Mark, Side | null>;
}) {
  return {
    id: 'trials', type: 'scatter', z: 3, symbolSize: 11, clip: false,
    data: marks.map(({ mark, position }) => ({
      value: position, mark, name: mark.trial.label,
      itemStyle: { color: methodColour(theme, appearances.get(mark.trial.id)?.colour ?? 0), borderColor: theme.background, borderWidth: 1 },
      label: { show: Boolean(sides.get(mark)), position: sides.get(mark) ?? 'top' },
    })),
    label: {
      formatter: ({ data }: { data: { name: string } }) => data.name, color: theme.foreground, fontSize: 11, distance: 6,
      textBorderColor: theme.background, textBorderWidth: 3,
    },
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
    { name: 'Of the backbone', value: `${Number((100 * count.trainable / count.backbone).toPrecision(2))}%` },
  ]);
}
