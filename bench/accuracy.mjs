// The table of accuracies in bench/results, from what was run before:
//   node bin/peft-lab.mjs run bench/studies/methods.peft.json    sixteen methods, one seed
//   node bin/peft-lab.mjs run bench/studies/seeds.peft.json      seven of them, two more seeds
//   python bench/torch_accuracy.py ... --out F.jsonl             these seven in PyTorch, three seeds
// `node bench/accuracy.mjs F.jsonl` prints it in Markdown: test top-1 in %, of the last epoch. Missing trials are an error.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const [torchFile] = process.argv.slice(2);
if (!torchFile) throw new Error('usage: node bench/accuracy.mjs <what bench/torch_accuracy.py wrote>');
const ours = ['methods', 'seeds'].flatMap(trialsOf);
const theirs = fs.readFileSync(torchFile, 'utf8').trim().split('\n').map(line => JSON.parse(line));

console.log('| method | trained parameters | test top-1, seed 42 | mean of 3 seeds | PyTorch, mean of 3 | difference |');
console.log('|---|---|---|---|---|---|');
for (const { method, parameters, seed, test } of ours) {
  if (seed !== 42) continue;
  const [mine, other] = [ours, theirs].map(side => side.filter(one => one.method === method));
  const isCompared = other.length > 0;
  if (isCompared && (mine.length !== 3 || other.length !== 3)) throw new Error(`${method}: ${mine.length} and ${other.length} seeds`);
  const [a, b] = [mean(mine.map(one => one.test.top1)), isCompared ? mean(other.map(one => one.top1)) : NaN];
  const compared = isCompared ? [percent(a), percent(b), percent(a - b)] : ['', '', ''];
  console.log(`| ${[method, parameters.trainable.toLocaleString('en-US'), percent(test.top1), ...compared].join(' | ')} |`);
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

function percent(share) {
  return (100 * share).toFixed(1);
}
