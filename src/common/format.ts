/** Numbers as text, the same on every machine. An absent number is a dash. */
const absent = '–';

/** `0.9716` is `97.2%`. */
export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? absent : `${percentDigits(value)}%`;
}

/** `0.9716` is `97.2`, where a heading or the text around says percent. */
export function percentDigits(share: number): string {
  return (100 * share).toFixed(1);
}

/** `0.012` is `+1.2`, in percentage points. */
export function points(value: number): string {
  return `${value >= 0 ? '+' : '−'}${Math.abs(100 * value).toFixed(1)}`;
}

/** `294912` is `294,912`. */
export function integer(value: number | null | undefined): string {
  return value === null || value === undefined ? absent : Math.round(value).toLocaleString('en-US');
}

/** `294912` is `295 K`, `85798656` is `85.8 M`. */
export function magnitude(value: number): string {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['K', 1e3]] as const) {
    if (value >= size * 0.9995) return `${Number((value / size).toPrecision(3))} ${unit}`;
  }
  return String(Math.round(value));
}

/** One digit behind the point below a hundred. */
export function rate(value: number | null): string {
  return value === null ? absent : value < 100 ? value.toFixed(1) : integer(value);
}

/** `0.001`, `3e-5`. */
export function setting(value: number): string {
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential() : String(value);
}

/** `47 s`, `4 min 30 s`, `2 h 5 min`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ''}`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** A guess needs no seconds: `less than a minute`, `12 min`, `2 h 5 min`. */
export function roughDuration(seconds: number): string {
  if (seconds < 50) return 'less than a minute';
  return duration(60 * Math.max(1, Math.round(seconds / 60)));
}

/** `512 B`, `8.4 kB`, `70 MB`, `1.3 GB`: decimal units. */
export function fileSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let [value, power] = [bytes, 0];
  for (; value >= 999.5 && power < units.length - 1; power++) value /= 1000;
  return `${value.toFixed(power > 0 && value < 9.95 ? 1 : 0)} ${units[power]!}`;
}

/** `1 trial`, `2 trials`. */
export function counted(count: number, noun: string): string {
  return `${integer(count)} ${noun}${count === 1 ? '' : 's'}`;
}
