/** A real VS Code (code-server) with the packaged extension in it, and Chromium to drive it. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium, type Browser } from 'playwright-core';

export interface HostPaths {
  node: string;
  codeServer: string;
  chromium: string;
}

/** Where the host is; the reason where there is none. Installs its npm packages when they are missing. */
export function findHost(): HostPaths | { missing: string } {
  if (process.platform !== 'linux' || process.arch !== 'x64') return { missing: 'the VS Code test host runs on Linux x64 only' };
  const found = spawnSync(process.execPath, ['tools/vscode-host.mjs', '--json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  return found.status === 0 ? JSON.parse(found.stdout) as HostPaths : { missing: `tools/vscode-host.mjs exited with ${found.status ?? found.signal}` };
}

/** A folder of its own for everything that the editor, the browser and the trainer write. */
export class VsCode {
  readonly base = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-vscode-'));
  url = '';
  /** For the editor's processes, beside what they need; read at start(). */
  environment: NodeJS.ProcessEnv = {};
  #server: ChildProcess | null = null;

  constructor(private readonly host: HostPaths) {
    for (const folder of ['home', 'data/User', 'extensions', 'workspace']) fs.mkdirSync(path.join(this.base, folder), { recursive: true });
    fs.writeFileSync(path.join(this.base, 'config.yaml'), 'bind-addr: 127.0.0.1:0\nauth: none\ncert: false\n');
  }

  get workspace(): string {
    return path.join(this.base, 'workspace');
  }

  writeSettings(settings: Record<string, unknown>): void {
    fs.writeFileSync(path.join(this.base, 'data/User/settings.json'), JSON.stringify({ ...quietSettings, ...settings }, null, 2));
  }

  install(vsix: string): void {
    execFileSync(this.host.node, [this.host.codeServer, ...this.#arguments(), '--install-extension', vsix, '--force'], { env: this.#environment(), stdio: 'pipe' });
  }

  async start(): Promise<void> {
    const server = spawn(this.host.node, [
      this.host.codeServer, ...this.#arguments(), '--auth', 'none', '--bind-addr', '127.0.0.1:0', '--disable-telemetry', '--disable-update-check',
      '--disable-getting-started-override', '--ignore-last-opened',
    ], { env: this.#environment(), stdio: ['ignore', 'pipe', 'pipe'] });
    this.#server = server;
    process.once('exit', () => server.kill());
    this.url = await new Promise<string>((resolve, reject) => {
      let output = '';
      const timer = setTimeout(() => reject(new Error(`code-server does not listen:\n${output}`)), 60_000);
      const listen = (text: Buffer) => {
        output += text.toString();
        const url = /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(output)?.[1];
        if (url) { clearTimeout(timer); resolve(url); }
      };
      server.stdout.on('data', listen);
      server.stderr.on('data', listen);
      server.once('exit', code => { clearTimeout(timer); reject(new Error(`code-server exited with ${code}\n${output}`)); });
    });
  }

  /** Ends the server and all its extension hosts, as closing the editor would. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (!server || server.exitCode !== null || server.signalCode !== null) return;
    const gone = new Promise(resolve => server.once('exit', resolve));
    server.kill('SIGTERM');
    const timer = setTimeout(() => server.kill('SIGKILL'), 5000);
    await gone;
    clearTimeout(timer);
  }

  browser(): Promise<Browser> {
    return chromium.launch({
      executablePath: this.host.chromium, headless: true, env: this.#environment(),
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1'],
    });
  }

  /** The editor's children may write for a moment after it has ended. */
  async remove(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return fs.rmSync(this.base, { recursive: true, force: true });
      } catch (error) {
        if (attempt === 20) throw error;
        await new Promise(resolve => setTimeout(resolve, 300));
      }
    }
  }

  #arguments(): string[] {
    return ['--config', path.join(this.base, 'config.yaml'), '--user-data-dir', path.join(this.base, 'data'), '--extensions-dir', path.join(this.base, 'extensions')];
  }

  #environment(): NodeJS.ProcessEnv {
    const home = path.join(this.base, 'home');
    return { PATH: process.env['PATH'], LANG: 'C.UTF-8', HOME: home, XDG_CONFIG_HOME: `${home}/.config`, XDG_DATA_HOME: `${home}/.local/share`, TMPDIR: this.base, ...this.environment };
  }
}

const quietSettings = {
  'workbench.startupEditor': 'none', 'workbench.tips.enabled': false, 'workbench.colorTheme': 'Dark Modern', 'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.enableExperiments': false, 'telemetry.telemetryLevel': 'off', 'chat.disableAIFeatures': true, 'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false, 'extensions.ignoreRecommendations': true, 'remote.autoForwardPorts': false, 'git.enabled': false,
  'files.autoSave': 'off', 'files.hotExit': 'off', 'editor.quickSuggestionsDelay': 0, 'editor.minimap.enabled': false, 'window.commandCenter': false,
  'security.workspace.trust.enabled': false,
};
