/** The arrows of ARCHITECTURE.md: which folder may import which. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';

/** Folders of src/ (and webview/) with what they may import beside themselves and common/. */
const arrows = new Map([...fs.readFileSync('ARCHITECTURE.md', 'utf8').matchAll(/^(\w+) +─► ([\w, ]+)$/gm)].map(([, folder, targets]) => [folder!, targets!.split(', ')]));

/** Packages that only some folders may load. */
const guarded: Record<string, readonly string[]> = {
  vscode: ['extension'],
  sharp: ['data', 'cli'],
  'onnxruntime-node': ['engine'],
  '@huggingface/hub': ['interop'],
  yauzl: ['interop', 'runtime'],
  undici: ['interop', 'runtime'],
  echarts: ['webview'],
  '@vscode/webview-ui-toolkit': ['webview'],
};

interface Import { file: string; folder: string; target: string; typeOnly: boolean }

function imports(): Import[] {
  const files = ['src', 'webview'].flatMap(top => fs.readdirSync(top, { recursive: true }).map(f => path.posix.join(top, String(f).replaceAll('\\', '/'))));
  return files.filter(f => f.endsWith('.ts')).flatMap(file => {
    const text = fs.readFileSync(file, 'utf8');
    return [...text.matchAll(/(?:^|\n)\s*(?:import|export)(\s+type)?\s[^;]*?from\s+'([^']+)'|import\((?:\/\*.*?\*\/)?\s*'([^']+)'\)|(?:^|\n)import\s+'([^']+)'/g)]
      .map(match => ({ file, folder: folderOf(file), target: (match[2] ?? match[3] ?? match[4])!, typeOnly: Boolean(match[1]) }));
  });
}

function folderOf(file: string): string {
  const parts = file.split('/');
  return parts[0] === 'src' ? parts[1]! : parts[0]!;
}

it('imports follow the arrows, and every arrow is there for an import', () => {
  const found = imports().filter(({ target }) => target.startsWith('.') && !target.endsWith('.json')).map(({ file, folder, target }) => {
    const to = folderOf(path.posix.normalize(path.posix.join(path.posix.dirname(file), target)));
    return { file, folder, target, to, arrow: `${folder} ─► ${to}` };
  }).filter(({ folder, to }) => to !== folder && to !== 'common');
  assert.deepEqual(found.filter(({ folder, to }) => !arrows.get(folder)?.includes(to)).map(({ file, target }) => `${file} -> ${target}`), []);
  const used = new Set(found.map(({ arrow }) => arrow));
  const drawn = [...arrows].flatMap(([folder, targets]) => targets.map(to => `${folder} ─► ${to}`));
  assert.deepEqual(drawn.filter(arrow => !used.has(arrow)), []);
});

it('packages stay in their folders', () => {
  const wrong = imports().filter(({ folder, target, typeOnly }) => {
    const owner = Object.keys(guarded).find(name => target === name || target.startsWith(`${name}/`));
    return owner && !typeOnly && !guarded[owner]!.includes(folder);
  });
  assert.deepEqual(wrong.map(({ file, target }) => `${file} -> ${target}`), []);
});

it('shared code names no method', () => {
  const ids = fs.readdirSync('src/methods').map(f => f.replace(/\.ts$/, '')).filter(id => !['linear', 'full', 'adapter'].includes(id));
  const files = fs.readdirSync('src', { recursive: true }).map(f => String(f).replaceAll('\\', '/')).filter(f => f.endsWith('.ts'));
  const naming = files.filter(f => !/^(methods|interop)\//.test(f) && ids.some(id => fs.readFileSync(path.join('src', f), 'utf8').includes(`'${id}'`)));
  assert.deepEqual(naming, []);
});
