import type { EChartsCoreOption } from 'echarts/core';
import type { SnapshotTrial } from '../../src/common/snapshot';
import { percent } from '../../src/common/format';
import type { Chart } from './chart-element';
import { axisLines, axisName, tooltip, tooltipContent } from './parts';
import { methodColour, variantDash } from './theme';
import type { ChartTheme } from './theme';

export type Appearances = ReadonlyMap<string, { colour: number; variant: number }>;

/** Training loss a step, one line a trial. */
export function lossCurves(trials: readonly SnapshotTrial[], appearances: Appearances): Chart {
  const lines = trials.map(trial => ({ trial, points: trial.lossCurve.map(p => [p.step, p.loss] as Point) }));
  return curves({ lines, appearances, x: 'Step', y: 'Training loss', format: value => value.toPrecision(3) });
}

/** Top-1 accuracy an epoch, one line a trial. */
export function accuracyCurves(trials: readonly SnapshotTrial[], split: 'validation' | 'test', appearances: Appearances): Chart {
  const lines = trials.map(trial => ({
    trial, points: trial.accuracyCurve.flatMap((p): Point[] => p[split] === null ? [] : [[p.epoch, p[split]]]),
  }));
  return curves({ lines, appearances, x: 'Epoch', y: `${split === 'test' ? 'Test' : 'Validation'} top-1`, format: percent });
}

type Point = [number, number];

interface CurvesOptions {
  lines: { trial: SnapshotTrial; points: Point[] }[];
  appearances: Appearances;
  x: string;
  y: string;
  format: (value: number) => string;
}

function curves(options: CurvesOptions): Chart {
  return {
    key: JSON.stringify([options.y, options.lines.map(l => [l.trial.id, l.trial.label, l.points.length, l.points.at(-1)])]),
    build: theme => ({
      grid: { left: 58, right: 18, top: 14, bottom: 42 },
      tooltip: { ...tooltip(theme, shown => content(shown as Shown[], options)), trigger: 'axis', axisPointer: { lineStyle: { color: theme.muted } } },
      xAxis: {
        type: 'value', min: 'dataMin', max: 'dataMax', minInterval: 1,
        ...axisLines(theme), ...axisName(theme, options.x, 26), splitLine: { show: false },
      },
      yAxis: {
        type: 'value', scale: true, ...axisLines(theme), ...axisName(theme, options.y, 44),
        axisLabel: { ...axisLines(theme).axisLabel, formatter: axisLabel(options) },
      },
      series: options.lines.map(line => series(line, options.appearances, theme)),
    }),
  };
}

function axisLabel({ format }: CurvesOptions): (value: number) => string {
  return format === percent ? value => `${Math.round(100 * value)}%` : value => String(Number(value.toPrecision(3)));
}

function series({ trial, points }: CurvesOptions['lines'][number], appearances: Appearances, theme: ChartTheme): EChartsCoreOption {
  const { colour, variant } = appearances.get(trial.id) ?? { colour: 0, variant: 0 };
  const line = methodColour(theme, colour);
  return {
    id: trial.id, name: trial.label, type: 'line', data: points,
    // A single point has no line to be seen by.
    showSymbol: points.length < 3, symbol: 'circle', symbolSize: 5,
    lineStyle: { color: line, width: 1.75, type: variantDash(variant) }, itemStyle: { color: line }, emphasis: { disabled: true },
  };
}

interface Shown {
  seriesName: string;
  color: string;
  value: Point;
}

function content(shown: Shown[], { x, format }: CurvesOptions): HTMLElement {
  const at = shown[0]?.value[0];
  return tooltipContent(at === undefined ? '' : `${x} ${at}`, shown.map(s => ({ colour: s.color, name: s.seriesName, value: format(s.value[1]) })));
}
