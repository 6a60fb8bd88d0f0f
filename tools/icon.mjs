// Draws media/icon.png, which VS Code wants as a bitmap, from media/icon.svg. `node tools/icon.mjs` after changing that.
import path from 'node:path';
import sharp from 'sharp';
import { root } from './setup.mjs';

await sharp(path.join(root, 'media/icon.svg')).resize(256, 256).png({ compressionLevel: 9, palette: true }).toFile(path.join(root, 'media/icon.png'));
