import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { UserError } from '../../../src/common/errors';
import type { AttemptExit } from '../../../src/common/trial';
import { startDetached } from '../../../src/launch/detached';
import type { TrialOutcome } from '../../../src/launch/launcher';
import { localLauncher } from '../../../src/launch/local';
import { runTrials } from '../../../src/launch/run-trials';
import { readJson, readTextIfThere, writeJson } from '../../../src/store/files';
import { attemptPaths, trialPaths } from '../../../src/store/paths';
import { cancelRequested, requestCancel } from '../../../src/store/requests';
import { openStudyStore } from '../../../src/store/study-store';
import { fakeTrial, temporaryFolder } from '../store/fixtures';

/** Workers of a few lines: what the launcher sees of the real one. */
const fakeWorkers = {
  finish: `fs.writeFileSync(folder + '/result.json', '{}');`,
  fail: `fs.writeFileSync(attempt + '/exit.json', JSON.stringify({ outcome: 'failed', error: 'no such image: a.png' })); process.exit(1);`,
  crash: `console.error('Segmentation something'); process.kill(process.pid, 'SIGKILL'); setTimeout(() => {}, 60000);`,
  quit: `console.log('half a word'); process.exit(7);`,
  /** Ends on a request or SIGTERM, as the real one does. */
  obedient: `
    const end = () => { fs.writeFileSync(attempt + '/exit.json', JSON.stringify({ outcome: 'cancelled' })); process.exit(130); };
    process.on('SIGTERM', end);
    setInterval(() => { if (fs.existsSync(folder + '/cancel-request')) end(); }, 20);
    fs.writeFileSync(folder + '/ready', '');`,
  deaf: `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); fs.writeFileSync(folder + '/ready', '');`,
};

describe('local launcher', () => {
  it('finds the result of a worker that finishes', async t => {
    const { folder, start } = prepare(t, 'finish');
    fs.mkdirSync(folder, { recursive: true });
    requestCancel(folder); // left over from an earlier run
    assert.deepEqual(await start().ended, { kind: 'finished' });
    assert.equal(cancelRequested(folder), false);
  });

  it('passes on what a failing worker says', async t => {
    assert.deepEqual(await prepare(t, 'fail').start().ended, { kind: 'failed', message: 'no such image: a.png' });
  });

  it('makes words of a killed worker, with its last lines, and leaves them in the store', { skip: process.platform === 'win32' }, async t => {
    const { folder, start } = prepare(t, 'crash');
    const outcome = await start().ended;
    assert.ok(outcome.kind === 'failed');
    assert.match(outcome.message, /killed by the system, most likely for want of memory[^]*batchSize[^]*Segmentation something/);
    const exit = readJson(attemptPaths(trialPaths(folder).attempt(1)).exit) as AttemptExit;
    assert.deepEqual([exit.outcome, exit.error], ['failed', outcome.message]);
  });

  it('names the exit code of one that quits, and an executable that is not there', async t => {
    assert.match(messageOf(await prepare(t, 'quit').start().ended), /exit code 7[^]*half a word/);
    const { folder } = prepare(t, 'quit');
    const missing = localLauncher({ worker: 'x.cjs', executable: path.join(folder, 'no-node') });
    assert.match(messageOf(await missing.start(folder).ended), /could not be started/);
  });

  it('cancels, and numbers the next attempt after it', async t => {
    const { folder, start } = prepare(t, 'obedient');
    const trial = start();
    await until(() => fs.existsSync(path.join(folder, 'ready')));
    trial.cancel();
    assert.deepEqual(await trial.ended, { kind: 'cancelled' });
    const again = start();
    await until(() => fs.existsSync(trialPaths(folder).attempt(2)));
    again.kill();
    assert.deepEqual(await again.ended, { kind: 'cancelled' });
  });

  it('kills one that does not listen', async t => {
    const { folder, start } = prepare(t, 'deaf');
    const trial = start();
    await until(() => fs.existsSync(path.join(folder, 'ready')));
    trial.kill();
    assert.deepEqual(await trial.ended, { kind: 'cancelled' });
  });

  it('kills one that a request to end did not move', async t => {
    const { folder, start } = prepare(t, 'deaf', { cancelMilliseconds: 100 });
    const trial = start();
    await until(() => fs.existsSync(path.join(folder, 'ready')));
    trial.cancel();
    assert.deepEqual(await trial.ended, { kind: 'cancelled' });
  });

  it('ends one that is stuck', async t => {
    const outcome = await prepare(t, 'deaf', { stuckMilliseconds: 2000 }).start().ended;
    assert.match(messageOf(outcome), /no sign of life/);
  });

  for (const file of ['attempt', 'started'] as const) {
    it(`joins a worker that outlived its launcher and wrote ${file}.json, rather than start a second one`, async t => {
      const { folder, start } = prepare(t, 'quit');
      const orphan = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
      t.after(() => orphan.kill('SIGKILL'));
      const files = attemptPaths(trialPaths(folder).attempt(1));
      writeJson(files[file], { pid: orphan.pid, host: os.hostname() });
      if (file === 'attempt') fs.writeFileSync(files.heartbeat, '');
      const trial = start();
      writeJson(trialPaths(folder).result, {});
      orphan.kill('SIGKILL');
      assert.deepEqual(await trial.ended, { kind: 'finished' });
      assert.equal(fs.existsSync(trialPaths(folder).attempt(2)), false);
    });
  }
});

describe('runTrials', () => {
  const trials = ['a', 'b', 'c'].map(id => fakeTrial({ id }));

  it('runs in order, as many at a time as asked for, and goes on after a failure', async () => {
    for (const jobs of [1, 2]) {
      const log: string[] = [];
      let running = 0, most = 0;
      const outcomes = await runTrials({
        jobs, trials, folderOf: t => t.id, cancel: never, kill: never,
        launcher: { start: folder => ({
          ended: (async () => {
            log.push(folder);
            most = Math.max(most, ++running);
            await new Promise(resolve => setTimeout(resolve, 5));
            running--;
            return folder === 'a' ? { kind: 'failed', message: 'x' } : { kind: 'finished' };
          })(),
          cancel() { /* not asked */ }, kill() { /* not asked */ },
        }) },
      });
      assert.deepEqual([log, most], [['a', 'b', 'c'], jobs]);
      assert.deepEqual([...outcomes.values()].map(o => o.kind), ['failed', 'finished', 'finished']);
    }
  });

  it('starts nothing more once cancelled, and passes the request on', async () => {
    const [cancel, kill] = [new AbortController(), new AbortController()];
    const asked: string[] = [];
    const outcomes = await runTrials({
      jobs: 1, trials, folderOf: t => t.id, cancel: cancel.signal, kill: kill.signal,
      launcher: { start: () => {
        let end: (outcome: TrialOutcome) => void;
        const ended = new Promise<TrialOutcome>(resolve => { end = resolve; });
        setTimeout(() => cancel.abort(), 1);
        return { ended, cancel() { asked.push('cancel'); kill.abort(); }, kill() { asked.push('kill'); end({ kind: 'cancelled' }); } };
      } },
    });
    assert.deepEqual([asked, [...outcomes.keys()]], [['cancel', 'kill'], ['a']]);
  });

  it('goes on with the others where one does not start, or its end cannot be read', async () => {
    const outcomes = await runTrials({
      jobs: 2, trials, folderOf: t => t.id, cancel: never, kill: never,
      launcher: { start: folder => {
        if (folder === 'a') throw new UserError({ what: 'the disk is full', where: 'a' });
        const ended: Promise<TrialOutcome> = folder === 'b' ? Promise.reject(new Error('exit.json is damaged')) : Promise.resolve({ kind: 'finished' });
        return { ended, cancel() { /* not asked */ }, kill() { /* not asked */ } };
      } },
    });
    assert.deepEqual(outcomes.get('a'), { kind: 'failed', message: 'a: the disk is full' });
    assert.match(messageOf(outcomes.get('b')!), /exit\.json is damaged/);
    assert.deepEqual(outcomes.get('c'), { kind: 'finished' });
  });

  const never = new AbortController().signal;
});

describe('startDetached', () => {
  it('runs in the folder given, with its output in the log', async t => {
    const folder = temporaryFolder(t);
    const cli = path.join(folder, 'cli.cjs');
    fs.writeFileSync(cli, 'console.log(process.argv[2], process.env.MARK, process.cwd()); console.error("done");');
    const logFile = path.join(folder, 'deep/run.log');
    await startDetached({ executable: process.execPath, cli, args: ['run'], logFile, cwd: folder, env: { ...process.env, MARK: 'x' } });
    await until(() => readTextIfThere(logFile)?.includes('done') ?? false);
    assert.equal(readTextIfThere(logFile)!.split('\n')[0], `run x ${fs.realpathSync(folder)}`);
  });

  it('rejects when there is no such executable', async t => {
    const folder = temporaryFolder(t);
    await assert.rejects(startDetached({ executable: path.join(folder, 'none'), cli: 'x', args: [], logFile: path.join(folder, 'log'), cwd: folder, env: {} }));
  });
});

function prepare(t: TestContext, worker: keyof typeof fakeWorkers, options = {}) {
  const store = temporaryFolder(t);
  const script = path.join(store, 'worker.cjs');
  fs.writeFileSync(script, `const fs = require('fs'); const folder = process.argv[2];
    const attempts = fs.readdirSync(folder + '/attempts'); const attempt = folder + '/attempts/' + attempts.sort().at(-1);\n${fakeWorkers[worker]}`);
  const folder = openStudyStore(store).writeTrial(fakeTrial());
  return { folder, start: () => localLauncher({ worker: script, ...options }).start(folder) };
}

function messageOf(outcome: TrialOutcome): string {
  return outcome.kind === 'failed' ? outcome.message : `not failed but ${outcome.kind}`;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('waited ten seconds');
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}
