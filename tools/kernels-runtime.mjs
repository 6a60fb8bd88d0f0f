// Where the build found no C compiler: compiles the kernels of the engine `native` with one that is fetched, into .cache/data,
// where tests look for them. Exits with 1 where they cannot be had: the tests that need them are skipped then.
import fs from 'node:fs';
import path from 'node:path';
import { installForTests } from './install-for-tests.mjs';
import { root, setUp } from './setup.mjs';

await setUp();
const isBuilt = fs.existsSync(path.join(root, 'dist/native/peft-lab-kernels.node'));
process.exit(isBuilt ? 0 : installForTests('kernels'));
