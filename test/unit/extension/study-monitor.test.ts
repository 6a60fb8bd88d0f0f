/** When a study's run begins and ends, as the editor sees it. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import type { LogOutputChannel } from 'vscode';
import type { StudyMonitor } from '../../../src/extension/study-monitor';
import { openStudyStore, type StoredStudy } from '../../../src/store/study-store';

let folder: string;
let Monitor: typeof StudyMonitor;
before(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-monitor-'));
  const outfile = path.join(folder, 'study-monitor.cjs');
  await build({
    entryPoints: ['src/extension/study-monitor.ts'], bundle: true, platform: 'node', format: 'cjs', mainFields: ['module', 'main'],
    alias: { vscode: path.resolve('test/fixtures/vscode.ts') }, outfile, logLevel: 'error',
  });
  ({ StudyMonitor: Monitor } = await import(pathToFileURL(outfile).href) as { StudyMonitor: typeof StudyMonitor });
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Of a store that holds a plan; `turns` gets what the monitor says of runs. */
function monitorStore(t: TestContext): { monitor: StudyMonitor; turns: boolean[] } {
  const { folder: store, writeStudy } = openStudyStore(fs.mkdtempSync(path.join(folder, 'store-')));
  writeStudy({ name: 'study', trials: [], dataSets: [], updated: 0 } as unknown as StoredStudy);
  const log = { error: (text: string, error: Error) => assert.fail(`${text}: ${error.stack}`) } as unknown as LogOutputChannel;
  const monitor = new Monitor(store, `${store}.json`, log);
  t.after(() => monitor.dispose());
  const turns: boolean[] = [];
  monitor.onDidTurn(running => turns.push(running));
  return { monitor, turns };
}

describe('StudyMonitor', () => {
  it('does not take a run for ended that began while the idle store was read', async t => {
    const { monitor, turns } = monitorStore(t);
    const reading = monitor.refresh();
    monitor.expect(process.pid);
    await reading;
    assert.deepEqual([turns, monitor.running], [[true], true]);
    await monitor.refresh();
    assert.deepEqual(turns, [true]);
  });

  it('says when a run begins, and when its launcher is gone', async t => {
    const { monitor, turns } = monitorStore(t);
    const launcher = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)']);
    t.after(() => launcher.kill());
    monitor.expect(launcher.pid!);
    await monitor.refresh();
    assert.deepEqual([turns, monitor.snapshot?.study.name], [[true], 'study']);
    launcher.kill();
    await once(launcher, 'exit');
    await monitor.refresh();
    assert.deepEqual([turns, monitor.running], [[true, false], false]);
  });

  it('sees the end of a run that was over at once', async t => {
    const { monitor, turns } = monitorStore(t);
    monitor.expect(spawnSync(process.execPath, ['-e', '']).pid);
    await monitor.refresh();
    assert.deepEqual(turns, [true, false]);
  });
});
