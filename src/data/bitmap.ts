/** BMP and binary PGM and PPM, which sharp does not read: uncompressed pixels, 8 bits a channel or a palette. */
import type { Pixels } from './decode';

/** Undefined: the bytes are another format. An Error says what is wrong or not supported. */
export function decodeBitmap(bytes: Buffer): Pixels | undefined {
  const magic = bytes.toString('latin1', 0, 2);
  if (magic === 'BM') return decodeBmp(bytes);
  return magic === 'P5' || magic === 'P6' ? decodePortable(bytes) : undefined;
}

interface BmpHeader {
  width: number;
  height: number;
  /** The usual order is from the bottom row up; a negative height says from the top down. */
  topDown: boolean;
  bits: number;
  offset: number;
  /** Blue, green, red, unused for each colour; empty where pixels hold colours themselves. */
  palette: Buffer;
}

function decodeBmp(bytes: Buffer): Pixels {
  const { width, height, topDown, bits, offset, palette } = readHeader(bytes);
  const stride = Math.ceil(width * bits / 32) * 4;
  if (bytes.length < offset + stride * height) throw new Error('the file is truncated');
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const row = bytes.subarray(offset + (topDown ? y : height - 1 - y) * stride);
    for (let x = 0; x < width; x++) {
      const colour = palette.length ? palette.subarray(paletteIndex(row, { x, bits }) * 4) : row.subarray(x * bits / 8);
      if (colour.length < 3) throw new Error('a pixel is outside the palette');
      for (let c = 0; c < 3; c++) data[(y * width + x) * 3 + c] = colour[2 - c]!;
    }
  }
  return { data, width, height };
}

function readHeader(bytes: Buffer): BmpHeader {
  if (bytes.length < 54) throw new Error('the file is truncated');
  const headerBytes = bytes.readUInt32LE(14), bits = bytes.readUInt16LE(28), compression = bytes.readUInt32LE(30);
  const width = bytes.readInt32LE(18), signed = bytes.readInt32LE(22), height = Math.abs(signed);
  if (headerBytes < 40 || ![1, 4, 8, 24, 32].includes(bits)) throw new Error(`BMP with ${bits} bits a pixel is not supported`);
  // Bit fields in the usual order are what 32-bit exports write.
  const usual = compression === 3 && bits === 32 && bytes.readUInt32LE(54) === 0xff0000 && bytes.readUInt32LE(58) === 0xff00;
  if (compression !== 0 && !usual) throw new Error('compressed BMP is not supported');
  if (width <= 0 || height <= 0 || width * height > 2 ** 28) throw new Error(`a size of ${width} x ${height} makes no sense`);
  const colours = bits > 8 ? 0 : bytes.readUInt32LE(46) || 2 ** bits;
  return { width, height, topDown: signed < 0, bits, offset: bytes.readUInt32LE(10), palette: bytes.subarray(14 + headerBytes, 14 + headerBytes + colours * 4) };
}

/** Pixels of less than a byte come from its high bits down. */
function paletteIndex(row: Buffer, { x, bits }: { x: number; bits: number }): number {
  const perByte = 8 / bits, shift = 8 - bits * (x % perByte + 1);
  return (row[Math.floor(x / perByte)]! >> shift) & (2 ** bits - 1);
}

/** `P6 width height 255` and one white space, then the bytes; comments run from # to the end of a line. */
function decodePortable(bytes: Buffer): Pixels {
  const header = /^P([56])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s/.exec(bytes.toString('latin1', 0, 1024));
  if (!header) throw new Error('the header is damaged');
  const [kind, width, height, most] = header.slice(1).map(Number) as [number, number, number, number];
  if (most !== 255) throw new Error(`values up to ${most} instead of 255 are not supported`);
  const channels = kind === 6 ? 3 : 1, start = header[0].length;
  const body = bytes.subarray(start, start + width * height * channels);
  if (!width || !height || body.length < width * height * channels) throw new Error('the file is truncated');
  return { width, height, data: kind === 6 ? new Uint8Array(body) : Uint8Array.from({ length: width * height * 3 }, (_, i) => body[Math.floor(i / 3)]!) };
}
