// `npm start`: set up, then the demo study; further arguments go to `peft-lab demo`.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { root, setUp } from './setup.mjs';

await setUp();
const demo = spawnSync(process.execPath, [path.join(root, 'bin/peft-lab.mjs'), 'demo', ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
process.exit(demo.status ?? 1);
