#!/usr/bin/env node
import fs from 'node:fs';
import { createRequire } from 'node:module';

const built = new URL('../dist/cli.cjs', import.meta.url);
if (!fs.existsSync(built)) {
  console.error('PEFT Lab is not built yet. Run `npm ci && npm run build` in its folder.');
  process.exit(2);
}
createRequire(import.meta.url)('../dist/cli.cjs');
