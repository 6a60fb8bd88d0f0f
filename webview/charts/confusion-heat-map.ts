import type { Confusion } from '../../src/common/snapshot';
import { percent } from '../../src/common/format';
import type { Chart } from './chart-element';
import { axisName, tooltip, tooltipContent } from './parts';
import { mix } from './theme';
import type { ChartTheme } from './theme';

export interface Cell {
  label: number;
  predicted: number;
}

export interface HeatMapOptions {
  confusion: Confusion;
  classes: readonly string[];
  chosen: Cell | null;
  onChoose: (cell: Cell) => void;
}

/** Up to so many classes each cell is drawn and numbered; beyond, only cells that hold something. */
const numberedClasses = 16;

/** Rows are true classes, columns predicted ones; a cell's strength is its share of its row. */
export function confusionHeatMap({ confusion: { matrix }, classes, chosen, onChoose }: HeatMapOptions): Chart {
  const sums = matrix.map(row => row.reduce((a, b) => a + b, 0));
  return {
    key: JSON.stringify([matrix, classes, chosen]),
    onClick: data => onChoose(cellOf(data as Datum)),
    build: (theme, { width }) => ({
      grid: { left: leftMargin(classes, width), right: 8, top: 8, bottom: bottomMargin(classes, width) },
      tooltip: { ...tooltip(theme, shown => content((shown as { data: Datum }).data, { classes, sums })), trigger: 'item' },
      xAxis: {
        ...classAxis(theme, classes), ...axisName(theme, 'Predicted', bottomMargin(classes, width) - 18),
        axisLabel: { ...labels(theme, width), rotate: isCrowded(classes, width) ? 55 : 0 },
      },
      yAxis: {
        ...classAxis(theme, classes), ...axisName(theme, 'True', leftMargin(classes, width) - 16),
        inverse: true, axisLabel: labels(theme, width),
      },
      series: [{
        type: 'heatmap', data: data(matrix, sums, theme, chosen), emphasis: { itemStyle: { borderColor: theme.foreground, borderWidth: 1.5 } },
        label: { show: classes.length <= numberedClasses, fontSize: 11, formatter: ({ data: d }: { data: Datum }) => d.value[2] ? String(d.value[2]) : '' },
      }],
    }),
  };
}

/** [column, row, count]. */
type Value = [number, number, number];

interface Datum {
  value: Value;
  itemStyle: object;
  label: { color: string };
}

function data(matrix: number[][], sums: number[], theme: ChartTheme, chosen: Cell | null): Datum[] {
  const everyCell = matrix.length <= numberedClasses;
  return matrix.flatMap((row, label) => row.flatMap((count, predicted): Datum[] => {
    if (!count && !everyCell) return [];
    const share = sums[label] ? count / sums[label] : 0;
    const isChosen = chosen?.label === label && chosen.predicted === predicted;
    const strength = count ? (label === predicted ? 0.15 + 0.75 * share : Math.min(1, 0.25 + 2 * share)) : 0;
    const empty = mix(theme.foreground, theme.background, 0.045);
    const colour = mix(label === predicted ? theme.right : theme.wrong, empty, strength);
    return [{
      value: [predicted, label, count],
      itemStyle: { color: colour, borderColor: isChosen ? theme.foreground : theme.background, borderWidth: isChosen ? 2 : everyCell ? 1 : 0 },
      label: { color: readableOn(colour) },
    }];
  }));
}

function readableOn(colour: string): string {
  const [red, green, blue] = (colour.match(/\d+/g) ?? []).map(Number) as [number, number, number];
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? '#000000' : '#ffffff';
}

function cellOf({ value: [predicted, label] }: Datum): Cell {
  return { label, predicted };
}

function content({ value: [predicted, label, count] }: Datum, { classes, sums }: { classes: readonly string[]; sums: number[] }): HTMLElement {
  return tooltipContent('', [
    { name: 'True', value: classes[label] ?? String(label) },
    { name: 'Predicted', value: classes[predicted] ?? String(predicted) },
    { name: label === predicted ? 'Right' : 'Mistakes', value: `${count} (${percent(sums[label] ? count / sums[label] : 0)} of the class)` },
  ]);
}

function classAxis(theme: ChartTheme, classes: readonly string[]) {
  return {
    type: 'category' as const, data: [...classes], axisLine: { show: false }, axisTick: { show: false },
    splitArea: { show: classes.length > numberedClasses, areaStyle: { color: [mix(theme.foreground, theme.background, 0.045)] } },
  };
}

function labels(theme: ChartTheme, width: number) {
  return { color: theme.muted, fontSize: 11, width: width < 420 ? 60 : 110, overflow: 'truncate' as const };
}

/** Whether names do not fit under their columns. */
function isCrowded(classes: readonly string[], width: number): boolean {
  return 6.2 * longest(classes) + 4 > (width - leftMargin(classes, width)) / Math.max(1, classes.length);
}

function longest(classes: readonly string[]): number {
  return Math.max(1, ...classes.map(name => name.length));
}

function leftMargin(classes: readonly string[], width: number): number {
  return Math.min(width < 420 ? 60 : 110, 6.2 * longest(classes)) + 34;
}

function bottomMargin(classes: readonly string[], width: number): number {
  return (isCrowded(classes, width) ? Math.min(90, 5.4 * longest(classes)) : 12) + 36;
}
