// `npm run package`: peft-lab-<target>.vsix for this platform, with production bundles and only those native packages,
// and of them only those files, that training needs. Staged in a temporary folder and packaged from there by vsce.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { installDependencies, root, runCommand } from './setup.mjs';

/** What is packaged beside the bundles: allow-listed again by .vscodeignore. */
const ours = ['LICENSE', 'README.md', 'CHANGELOG.md', '.vscodeignore', 'bin', 'docs', 'media'];

/** Which files of a native package are needed at run time. */
const runtimeFiles = {
  'onnxruntime-node': ['dist/*.js', `bin/napi-v6/${process.platform}/${process.arch}/*`],
  'onnxruntime-common': ['dist/cjs/*.js', 'dist/cjs/package.json'],
  sharp: ['dist/*.cjs', 'dist/*.mjs', 'LICENSE'], // the bundles import() it
  semver: ['**/*.js', 'LICENSE'],
  'detect-libc': ['lib/*.js', 'LICENSE'],
};
/** Dependencies that only an install script uses, which never runs here. */
const installOnly = new Set(['adm-zip', 'global-agent']);

installDependencies();
const target = `${process.platform === 'linux' && isMusl() ? 'alpine' : process.platform}-${process.arch}`;
const output = path.resolve(root, readFlag('--out') ?? `peft-lab-${target}.vsix`);
const stage = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-package-'));
try {
  await stageBundles();
  const natives = stageNatives(['onnxruntime-node', 'sharp']);
  writeManifest(natives);
  const vsce = path.join(root, 'node_modules/@vscode/vsce/vsce');
  runCommand(process.execPath, [vsce, 'package', '--target', target, '--allow-missing-repository', '--no-rewrite-relative-links', '--out', output], { cwd: stage, shell: false });
  console.log(`${path.relative(process.cwd(), output)}: ${(fs.statSync(output).size / 1e6).toFixed(1)} MB, unpacked ${(folderSize(stage) / 1e6).toFixed(1)} MB`);
} finally {
  fs.rmSync(stage, { recursive: true, force: true });
}

async function stageBundles() {
  const { buildAll } = await import('../esbuild.mjs');
  await buildAll({ production: true, folder: path.join(stage, 'dist') });
  for (const name of ours) {
    const from = path.join(root, name);
    if (fs.existsSync(from)) fs.cpSync(from, path.join(stage, name), { recursive: true });
  }
  stagePrebuilt();
}

/** TensorFlow's binding for this platform, where tools/tensorflow-runtime.mjs has built it: spares users a compiler. */
function stagePrebuilt() {
  const kept = path.join(root, '.cache/bindings');
  const own = fs.existsSync(kept) ? fs.readdirSync(kept).filter(name => name.startsWith(`tfjs_binding-${process.platform}-${process.arch}-`) && name.endsWith('.node')) : [];
  for (const name of own) fs.cpSync(path.join(kept, name), path.join(stage, 'dist/native/prebuilt', name));
}

/** Copies the packages and what they need, each once. Returns their versions by name. */
function stageNatives(names, versions = {}) {
  for (const name of names) {
    const from = path.join(root, 'node_modules', name);
    if (name in versions || !fs.existsSync(from)) continue; // optional, for another platform
    const manifest = JSON.parse(fs.readFileSync(path.join(from, 'package.json'), 'utf8'));
    const { scripts: _s, devDependencies: _d, ...kept } = manifest; // sharp reads the rest at run time
    kept.dependencies = Object.fromEntries(Object.entries(manifest.dependencies ?? {}).filter(([d]) => !installOnly.has(d)));
    const to = path.join(stage, 'node_modules', name);
    copyFiles(from, to, runtimeFiles[name]);
    versions[name] = manifest.version;
    fs.writeFileSync(path.join(to, 'package.json'), JSON.stringify(kept, null, 2));
    stageNatives(Object.keys({ ...kept.dependencies, ...kept.optionalDependencies }), versions);
  }
  return versions;
}

function copyFiles(from, to, patterns) {
  const files = fs.readdirSync(from, { recursive: true }).map(f => String(f).replaceAll('\\', '/'));
  for (const file of files) {
    if (patterns && !patterns.some(pattern => matches(file, pattern))) continue;
    if (!patterns && (file.startsWith('node_modules/') || /\.(d\.[cm]?ts|map|md)$/.test(file))) continue;
    if (!fs.statSync(path.join(from, file)).isFile()) continue;
    fs.mkdirSync(path.dirname(path.join(to, file)), { recursive: true });
    fs.copyFileSync(path.join(from, file), path.join(to, file));
  }
}

/** `*` stays in a folder; `**` followed by a slash is any folder, or none. */
function matches(file, pattern) {
  const source = pattern.replaceAll(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('**/', '\0').replaceAll('*', '[^/]*').replaceAll('\0', '(.*/)?');
  return new RegExp(`^${source}$`).test(file);
}

/** The manifest for the editor: no scripts, no developer's packages, and only the staged ones as dependencies. */
function writeManifest(natives) {
  const { scripts: _s, devDependencies: _d, ...manifest } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  fs.writeFileSync(path.join(stage, 'package.json'), JSON.stringify({ ...manifest, dependencies: natives }, null, 2));
}

function isMusl() {
  return !process.report.getReport().header.glibcVersionRuntime;
}

function readFlag(name) {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

function folderSize(folder) {
  return fs.readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .reduce((sum, entry) => sum + fs.statSync(path.join(entry.parentPath ?? entry.path, entry.name)).size, 0);
}
