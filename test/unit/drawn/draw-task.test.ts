import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { type DrawnTaskName, drawPretrainingImages, drawTask, drawnTasks } from '../../../src/data/drawn/draw-task';
import { pretrainingClasses, pretrainingQuestions } from '../../../src/data/drawn/pretraining';

const names = Object.keys(drawnTasks) as DrawnTaskName[];
const hashOf = (pixels: Uint8Array) => createHash('sha256').update(pixels).digest('hex').slice(0, 16);

describe('drawn tasks', () => {
  for (const name of names) {
    it(`${name}: classes in turn, images of the right size that differ`, () => {
      const classes = drawnTasks[name].classes.length;
      const images = [...drawTask(name, { count: 2 * classes + 1, seed: 5 })];
      assert.deepEqual(images.map(({ label }) => label), images.map((_, i) => i % classes));
      assert.ok(images.every(({ pixels }) => pixels.length === 64 * 64 * 3));
      assert.equal(new Set(images.map(({ pixels }) => hashOf(pixels))).size, images.length);
    });

    it(`${name}: image i depends on the seed and on i only`, () => {
      const all = [...drawTask(name, { count: 6, seed: 5 })];
      const later = [...drawTask(name, { count: 2, seed: 5, first: 4 })];
      assert.deepEqual(later, all.slice(4));
      const [other] = [...drawTask(name, { count: 1, seed: 6 })];
      assert.notDeepEqual(other!.pixels, all[0]!.pixels);
    });

    it(`${name}: another size is the same scene`, () => {
      const [small] = [...drawTask(name, { count: 1, seed: 7, size: 32 })];
      const [large] = [...drawTask(name, { count: 1, seed: 7, size: 64 })];
      assert.ok(meanDifference(halve(large!.pixels, 64), small!.pixels) < 12, 'of 255; grain and the noise of the ground differ');
    });
  }

  it('has no class name twice', () => {
    for (const { classes } of Object.values(drawnTasks)) assert.equal(new Set(classes).size, classes.length);
    assert.equal(drawnTasks.pretraining.classes.length, 96);
  });

  it('knows the answers to every question about a pre-training image, all of which occur', () => {
    const seen = Object.fromEntries(Object.keys(pretrainingQuestions).map(question => [question, new Set<number>()]));
    for (const { label, answers } of drawPretrainingImages({ count: 192, seed: 3 })) {
      for (const [question, answer] of Object.entries(answers)) seen[question]!.add(answer);
      assert.equal(label, (answers.shape * pretrainingQuestions.texture + answers.texture) * pretrainingQuestions.hue + answers.hue);
    }
    for (const [question, count] of Object.entries(pretrainingQuestions)) assert.deepEqual([...seen[question]!].sort((a, b) => a - b), Array.from({ length: count }, (_, i) => i), question);
    assert.equal(pretrainingClasses[95], 'blue-rings-crescent');
  });

  it('draws the same images with answers and without', () => {
    const withAnswers = [...drawPretrainingImages({ count: 3, seed: 3 })].map(({ pixels, label }) => ({ pixels, label }));
    assert.deepEqual(withAnswers, [...drawTask('pretraining', { count: 3, seed: 3 })]);
  });

  it('puts the arrow\'s head where the label says', () => {
    // Over many arrows, east and west, north and south are mirror images: the mean pictures must differ by label.
    const means = Array.from({ length: 8 }, () => new Float64Array(64 * 64 * 3));
    for (const { pixels, label } of drawTask('orientation', { count: 160, seed: 1 })) pixels.forEach((v, i) => (means[label]![i]! += v));
    assert.equal(new Set(means.map(mean => mean.join())).size, 8);
  });
});

/** Each 2 x 2 pixels to their mean. */
function halve(pixels: Uint8Array, size: number): Uint8Array {
  const half = size / 2;
  return Uint8Array.from({ length: half * half * 3 }, (_, i) => {
    const [row, column, c] = [Math.floor(i / 3 / half), Math.floor(i / 3) % half, i % 3];
    const at = (dy: number, dx: number) => pixels[((2 * row + dy) * size + 2 * column + dx) * 3 + c]!;
    return (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4;
  });
}

function meanDifference(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
}
