import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { confusionHeatMap } from '../../../webview/charts/confusion-heat-map';
import { accuracyCurves, lossCurves } from '../../../webview/charts/curves';
import { accuracyRange, parametersAccuracy } from '../../../webview/charts/parameters-accuracy';
import type { Mark } from '../../../webview/charts/parameters-accuracy';
import { placeLabels } from '../../../webview/charts/place-labels';
import { mix } from '../../../webview/charts/theme';
import type { ChartTheme } from '../../../webview/charts/theme';
import { paretoFront } from '../../../webview/pareto';
import { appearances } from '../../../webview/trials';
import { fakeSnapshot } from '../../fixtures/snapshot';

const theme: ChartTheme = {
  font: 'sans-serif', fontSize: 12, foreground: '#000000', muted: '#666666', grid: '#dddddd', background: '#ffffff',
  tooltipBackground: '#ffffff', tooltipBorder: '#000000', right: '#0000ff', wrong: '#ff8800', palette: ['#0000ff', '#ff8800'],
};
const size = { width: 800, height: 400 };
const { trials, dataSets } = fakeSnapshot();
const looks = appearances(trials);
const marks = trials.filter(t => t.status === 'finished').map((trial): Mark => ({ trial, parameters: trial.parameters.trainable, accuracy: trial.test!.top1 }));

interface Option { series: { data: unknown[]; lineStyle?: { color: string; type: string } }[]; xAxis: { min: number; max: number } }
const optionOf = (chart: { build: (theme: ChartTheme, size: { width: number; height: number }) => unknown }) => chart.build(theme, size) as Option;

describe('curves', () => {
  it('draw one line a trial: the colour says the method, the dash which of its trials', () => {
    const { series } = optionOf(lossCurves(trials.filter(t => t.method === 'lora'), looks));
    assert.equal(new Set(series.map(s => s.lineStyle!.color)).size, 1);
    assert.deepEqual(series.map(s => s.lineStyle!.type), ['solid', 'dashed', 'dotted']);
  });

  it('leave out epochs that were not evaluated', () => {
    const trial = { ...trials[0]!, accuracyCurve: [{ epoch: 1, validation: null, test: null }, { epoch: 2, validation: 0.5, test: null }] };
    assert.deepEqual(optionOf(accuracyCurves([trial], 'validation', looks)).series[0]!.data, [[2, 0.5]]);
  });
});

describe('confusionHeatMap', () => {
  const options = (classes: number) => ({
    confusion: { split: 'test', matrix: Array.from({ length: classes }, (_, i) => Array.from({ length: classes }, (_, j) => i === j ? 9 : i === 0 && j === 1 ? 1 : 0)), mistakes: [] },
    classes: Array.from({ length: classes }, (_, i) => `c${i}`), chosen: null, onChoose: () => undefined,
  });

  it('puts predicted classes across and true ones down', () => {
    const { data } = optionOf(confusionHeatMap(options(3))).series[0]!;
    assert.ok(data.some(d => JSON.stringify((d as { value: number[] }).value) === '[1,0,1]'));
    assert.equal(data.length, 9);
  });

  it('draws only cells that hold something where there are many classes', () => {
    assert.equal(optionOf(confusionHeatMap(options(100))).series[0]!.data.length, 101);
  });

  it('says which cell was chosen', () => {
    let chosen: unknown;
    confusionHeatMap({ ...options(3), onChoose: cell => { chosen = cell; } }).onClick!({ value: [1, 0, 1] });
    assert.deepEqual(chosen, { label: 0, predicted: 1 });
  });

  it('stays readable with the fixture\'s classes', () => {
    const { confusion } = trials[0]!;
    assert.doesNotThrow(() => optionOf(confusionHeatMap({ confusion: confusion!, classes: dataSets[0]!.classes, chosen: { label: 0, predicted: 1 }, onChoose: () => undefined })));
  });
});

describe('parametersAccuracy', () => {
  it('puts nothing inserted at the left edge of a logarithmic axis', () => {
    const { xAxis, series } = optionOf(parametersAccuracy({ marks, front: [], appearances: looks, title: 'Test top-1' }));
    const linear = series[1]!.data[0] as { name: string; value: number[] };
    assert.deepEqual([linear.name, linear.value[0]], ['linear', xAxis.min]);
    assert.ok(xAxis.min > 0);
    assert.ok(series[1]!.data.slice(1).every(d => (d as { value: number[] }).value[0]! > xAxis.min && (d as { value: number[] }).value[0]! < xAxis.max));
  });

  it('copes with one trial alone', () => {
    const { xAxis } = optionOf(parametersAccuracy({ marks: marks.slice(0, 1), front: marks.slice(0, 1), appearances: looks, title: 'Test top-1' }));
    assert.ok(Number.isFinite(xAxis.min) && xAxis.max > xAxis.min);
  });
});

describe('accuracyRange', () => {
  for (const accuracies of [[0.717, 0.982], [0.5], [0, 1], [0.97, 0.971], [0.412], [1, 1]]) {
    it(`holds ${accuracies.join(' and ')}`, () => {
      const { min, max, interval } = accuracyRange(accuracies.map(accuracy => ({ accuracy })));
      assert.ok(min >= 0 && min <= Math.min(...accuracies) && max >= Math.max(...accuracies) - 1e-9 && max > min, JSON.stringify({ min, max }));
      assert.ok((max - min) / interval < 9);
    });
  }
});

describe('paretoFront', () => {
  it('keeps what nothing smaller or equal beats', () => {
    const points = [[0, 0.7], [10, 0.6], [20, 0.9], [20, 0.8], [30, 0.9], [40, 0.95]].map(([parameters, accuracy]) => ({ trial: trials[0]!, parameters: parameters!, accuracy: accuracy! }));
    assert.deepEqual(paretoFront(points).map(p => p.parameters), [0, 20, 40]);
  });
});

describe('placeLabels', () => {
  const area = { left: 0, top: 0, right: 300, bottom: 200 };
  const text = 'lora rank=8';

  it('writes to the right where there is room', () => assert.deepEqual(placeLabels({ spots: [{ x: 50, y: 50, text }], area }), ['right']));
  it('writes to the left at the right end', () => assert.deepEqual(placeLabels({ spots: [{ x: 290, y: 50, text }], area }), ['left']));
  it('does not write over another mark', () => assert.notEqual(placeLabels({ spots: [{ x: 50, y: 50, text }, { x: 90, y: 50, text: '' }], area })[0], 'right'));
  it('goes round a line', () => assert.equal(placeLabels({ spots: [{ x: 150, y: 50, text }], area, avoid: [{ x: 190, y: 50 }] })[0], 'left'));
  it('writes nothing where all sides are taken', () => {
    const spots = Array.from({ length: 9 }, () => ({ x: 150, y: 100, text }));
    assert.ok(placeLabels({ spots, area }).includes(null));
  });
});

describe('mix', () => {
  it('reads short, long and rgb() colours', () => {
    assert.equal(mix('#fff', '#000000', 0.5), 'rgb(128, 128, 128)');
    assert.equal(mix('rgba(255, 0, 0, 1)', 'rgb(0, 0, 0)', 1), 'rgb(255, 0, 0)');
  });
});
