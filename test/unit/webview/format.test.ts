import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { counted, duration, fileSize, integer, magnitude, percent, percentDigits, points, rate, roughDuration, setting } from '../../../src/common/format';

const cases: [string, string, string][] = [
  ['a share', percent(0.97163), '97.2%'], ['no share', percent(null), '–'], ['a share without the sign', percentDigits(0.97163), '97.2'], ['a gain', points(0.0123), '+1.2'], ['a loss', points(-0.003), '−0.3'],
  ['a count', integer(85_798_656), '85,798,656'], ['thousands', magnitude(294_912), '295 K'], ['millions', magnitude(1_190_400), '1.19 M'],
  ['nearly a million', magnitude(999_900), '1 M'], ['a few', magnitude(12), '12'], ['a slow rate', rate(63.94), '63.9'], ['a fast rate', rate(1234.5), '1,235'],
  ['a small setting', setting(3e-5), '3e-5'], ['a setting', setting(0.001), '0.001'], ['seconds', duration(47.4), '47 s'], ['minutes', duration(270), '4 min 30 s'],
  ['whole minutes', duration(120), '2 min'], ['nearly a minute', duration(59.7), '1 min'], ['hours', duration(7500), '2 h 5 min'],
  ['a guess', roughDuration(754), '13 min'], ['a short guess', roughDuration(10), 'less than a minute'], ['one', counted(1, 'trial'), '1 trial'], ['several', counted(1200, 'image'), '1,200 images'],
  ['nothing', fileSize(0), '0 B'], ['bytes', fileSize(512), '512 B'], ['kilobytes', fileSize(8400), '8.4 kB'], ['megabytes', fileSize(70e6), '70 MB'],
  ['nearly a gigabyte', fileSize(999_700_000), '1.0 GB'], ['ten gigabytes', fileSize(9.96e9), '10 GB'], ['many terabytes', fileSize(2.5e15), '2500 TB'],
];

describe('format', () => {
  for (const [name, actual, expected] of cases) it(`writes ${name} as ${expected}`, () => assert.equal(actual, expected));
});
