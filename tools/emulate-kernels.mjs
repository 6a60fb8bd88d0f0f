// `node tools/emulate-kernels.mjs avx512|neon`: runs the kernels of the engine `native` for a processor that is not this one, in an
// emulator, on the programs of test/fixtures/kernel-cases.ts, and compares them with the reference. Some minutes. Needs Debian's packages
//   avx512: bochs bochs-term bochsbios vgabios isolinux syslinux-common xorriso cpio, and downloads a Linux kernel, unpacked only
//   neon: qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { common, natives, root } from '../esbuild.mjs';

const variant = process.argv[2];
const folder = path.join(root, '.cache/emulated');
const machines = {
  avx512: { compiler: 'gcc', run: runInBochs },
  neon: { compiler: 'aarch64-linux-gnu-gcc', run: program => command('qemu-aarch64', [program, path.join(folder, 'programs')], { timeout: 20 * 60_000 }) },
};

if (!machines[variant]) {
  console.error(`Usage: node tools/emulate-kernels.mjs ${Object.keys(machines).join('|')}`);
  process.exit(2);
}
try {
  fs.mkdirSync(folder, { recursive: true });
  const flags = await writePrograms();
  const said = machines[variant].run(compile(machines[variant].compiler, flags)).replaceAll('\r', '');
  const wrong = /^(\d+) wrong$/m.exec(said)?.[1];
  process.stdout.write(said.slice(Math.max(0, said.indexOf(`${variant}, vectors of`))));
  if (wrong === undefined) throw new Error(`The emulated machine did not get to the end. What it needs stands at the top of tools/emulate-kernels.mjs, what it said in ${folder}.`);
  process.exit(wrong === '0' ? 0 : 1);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

/** As emulate-kernels.c reads them. Resolves with what the compiler is told for the variant. */
async function writePrograms() {
  await build({
    ...common(), entryPoints: { 'emulate-kernels': 'tools/emulate-kernels.ts' }, outdir: 'dist/tools', platform: 'node', format: 'cjs', target: 'node20',
    external: natives, mainFields: ['module', 'main'], outExtension: { '.js': '.cjs' },
  });
  return JSON.parse(command(process.execPath, [path.join(root, 'dist/tools/emulate-kernels.cjs'), path.join(folder, 'programs'), variant], { cwd: root }));
}

/** Static: in the emulated machine there is nothing else. */
function compile(compiler, flags) {
  const kernels = path.join(root, 'src/engine/native/kernels'), program = path.join(folder, variant);
  const files = [path.join(root, 'tools/emulate-kernels.c'), path.join(kernels, 'kernels.c'), path.join(kernels, 'pool.c')];
  command(compiler, [...flags, '-static', `-DVARIANT=${variant}`, `-I${kernels}`, ...files, '-o', program, '-lm', '-lpthread']);
  return program;
}

/** A machine that starts Linux from a disc image with the program as its first process, and is switched off by it. */
function runInBochs(program) {
  const disc = path.join(folder, 'disc'), files = path.join(folder, 'files'), serial = path.join(folder, 'serial.txt');
  for (const part of [path.join(disc, 'isolinux'), path.join(files, 'dev')]) fs.mkdirSync(part, { recursive: true });
  fs.copyFileSync(program, path.join(files, 'init'));
  fs.copyFileSync(path.join(folder, 'programs'), path.join(files, 'programs'));
  if (!fs.existsSync(path.join(files, 'dev/console'))) command('mknod', [path.join(files, 'dev/console'), 'c', '5', '1']);
  command('sh', ['-c', `find . | cpio -o -H newc --quiet > ${path.join(disc, 'initrd')}`], { cwd: files });
  fs.copyFileSync(linux(), path.join(disc, 'linux'));
  for (const file of ['/usr/lib/ISOLINUX/isolinux.bin', '/usr/lib/syslinux/modules/bios/ldlinux.c32']) fs.copyFileSync(file, path.join(disc, 'isolinux', path.basename(file)));
  // Without XSAVES and XSAVEC: Linux finds their sizes in Bochs 2.7 inconsistent, and would do without AVX-512.
  fs.writeFileSync(path.join(disc, 'isolinux/isolinux.cfg'), 'default l\nprompt 0\ntimeout 1\nlabel l\n kernel /linux\n append initrd=/initrd console=ttyS0 quiet mitigations=off nokaslr tsc=reliable clearcpuid=321,323\n');
  command('xorriso', ['-as', 'mkisofs', '-quiet', '-o', path.join(folder, 'disc.iso'), '-b', 'isolinux/isolinux.bin', '-c', 'isolinux/boot.cat', '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table', disc]);
  fs.writeFileSync(path.join(folder, 'bochsrc'), [
    'cpu: model=corei7_skylake_x, count=1, ips=50000000', 'memory: guest=1024, host=1024', 'romimage: file=/usr/share/bochs/BIOS-bochs-latest',
    'vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest', 'display_library: term', 'boot: cdrom', 'ata0: enabled=1',
    `ata0-master: type=cdrom, path=${path.join(folder, 'disc.iso')}, status=inserted`, `com1: enabled=1, mode=file, dev=${serial}`, `log: ${path.join(folder, 'bochs.log')}`,
    'panic: action=fatal', 'error: action=report', 'clock: sync=none', '',
  ].join('\n'));
  fs.writeFileSync(path.join(folder, 'go'), 'c\n'); // to Debian's Bochs, which starts in its debugger
  fs.rmSync(serial, { force: true });
  const done = spawnSync('script', ['-qfc', `bochs -q -rc ${path.join(folder, 'go')} -f ${path.join(folder, 'bochsrc')}`, '/dev/null'], {
    stdio: 'ignore', timeout: 30 * 60_000, killSignal: 'SIGKILL', env: { ...process.env, TERM: 'vt100' },
  });
  if (done.error) throw new Error(`bochs: ${done.error.message}`);
  return fs.existsSync(serial) ? fs.readFileSync(serial, 'utf8') : '';
}

/** Debian's kernel for virtual machines, downloaded once. */
function linux() {
  const boot = path.join(folder, 'linux/boot');
  if (!fs.existsSync(boot)) {
    const [, name] = /Depends: (linux-image-\S+)/.exec(command('apt-cache', ['depends', 'linux-image-cloud-amd64']));
    command('apt-get', ['-o', 'APT::Sandbox::User=', 'download', name], { cwd: folder });
    command('dpkg-deb', ['-x', path.join(folder, fs.readdirSync(folder).find(file => file.startsWith('linux-image'))), path.join(folder, 'linux')]);
  }
  return path.join(boot, fs.readdirSync(boot).find(file => file.startsWith('vmlinuz')));
}

function command(name, args, options = {}) {
  const done = spawnSync(name, args, { encoding: 'utf8', timeout: 5 * 60_000, maxBuffer: 2 ** 26, ...options });
  if (done.error) throw new Error(`${name}: ${done.error.message}; the packages that are needed stand at the top of tools/emulate-kernels.mjs`);
  if (done.status !== 0 && !done.stdout) throw new Error(`${name} exited with ${done.status ?? done.signal}: ${done.stderr.trim()}`);
  return done.stdout;
}
