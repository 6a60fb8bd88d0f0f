// The table of accuracies in bench/results, from what was run before:
//   node bin/peft-lab.mjs run bench/studies/methods.peft.json       sixteen methods, one seed
//   node bin/peft-lab.mjs run bench/studies/seeds.peft.json         seven of them, two more seeds
//   node bin/peft-lab.mjs run bench/studies/more-seeds.peft.json    some of these, two more still
//   python bench/torch_accuracy.py ... --out F.jsonl                the seven in PyTorch, with the same seeds
//   the same with --draws .bench/methods.peft,.bench/seeds.peft     with the trials' first values, order of images and masks too
// `node bench/accuracy.mjs F.jsonl` prints it in Markdown: test top-1 in %, of the last epoch; differences with their standard
// error. Missing trials are an error.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const [torchFile] = process.argv.slice(2);
if (!torchFile) throw new Error('usage: node bench/accuracy.mjs <what bench/torch_accuracy.py wrote>');
const ours = ['methods', 'seeds', 'more-seeds'].flatMap(trialsOf);
const theirs = fs.readFileSync(torchFile, 'utf8').trim().split('\n').map(line => JSON.parse(line));

console.log('| method | trained parameters | seed 42 | seeds | mean | PyTorch | difference | seeds | PyTorch, same draws | difference |');
console.log(`|${'---|'.repeat(10)}`);
for (const { method, parameters, seed, test } of ours) {
  if (seed !== 42) continue;
  const mine = ours.filter(one => one.method === method).map(one => ({ seed: one.seed, top1: one.test.top1 }));
  const [own, same] = ['own', 'trial'].map(draws => theirs.filter(one => one.method === method && (one.draws ?? 'own') === draws));
  const cells = own.length ? [...compare(method, mine, own, apart), ...compareSame(method, mine, same)] : Array(7).fill('');
  console.log(`| ${[method, parameters.trainable.toLocaleString('en-US'), percent(test.top1), ...cells].join(' | ')} |`);
}

/** Seeds, means of both sides, and their difference. */
function compare(method, mine, other, standardError) {
  const [a, b] = [mine, other].map(side => side.map(one => one.seed).sort().join());
  if (a !== b || mine.length < 3) throw new Error(`${method}: seeds ${a} here, ${b} in PyTorch`);
  const [x, y] = [mine, other].map(side => [...side].sort((one, two) => one.seed - two.seed).map(one => one.top1));
  return [x.length, percent(mean(x)), percent(mean(y)), `${percent(mean(x) - mean(y))} ± ${percent(standardError(x, y))}`];
}

/** With the seeds that PyTorch had. */
function compareSame(method, mine, other) {
  const [seeds, , theirMean, difference] = compare(method, mine.filter(one => other.some(({ seed }) => seed === one.seed)), other, paired);
  return [seeds, theirMean, difference];
}

/** Of a difference of means of independent values. */
function apart(x, y) {
  return Math.sqrt((variance(x) + variance(y)) / x.length);
}

/** Of the mean of differences. */
function paired(x, y) {
  return Math.sqrt(variance(x.map((value, i) => value - y[i])) / x.length);
}

function trialsOf(study) {
  const command = [path.join(root, 'bin/peft-lab.mjs'), 'report', path.join(root, `bench/studies/${study}.peft.json`), '--json'];
  const { trials } = JSON.parse(execFileSync(process.execPath, command, { encoding: 'utf8', maxBuffer: 2 ** 28 }));
  const unfinished = trials.filter(({ status }) => status !== 'finished');
  if (unfinished.length) throw new Error(`${study}.peft.json: ${unfinished.map(({ label, status }) => `${label} ${status}`).join(', ')}`);
  return trials;
}

function mean(list) {
  return list.reduce((a, b) => a + b, 0) / list.length;
}

function variance(list) {
  return list.reduce((sum, value) => sum + (value - mean(list)) ** 2, 0) / (list.length - 1);
}

function percent(share) {
  return (100 * share).toFixed(1);
}
