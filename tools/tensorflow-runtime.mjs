// Installs TensorFlow for the engine `tensorflow` into .cache/data, where tests look for it. Exits with 1 where it cannot be
// had: the tests that need it are skipped then.
import { installForTests } from './install-for-tests.mjs';
import { setUp } from './setup.mjs';

await setUp();
process.exit(installForTests('tensorflow'));
