/** Numbers and tables as a terminal shows them. */

/** `91.3`: percent with one digit, without the sign. */
export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? '-' : (100 * share).toFixed(1);
}

/** `5,717,416`. */
export function grouped(count: number): string {
  return Math.round(count).toString().replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `45 s`, `3 min`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ''}`;
}

/** Columns aligned by spaces, those of numbers to the right. A rule under the heading. */
export function textTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const columns = heading.map((title, i) => {
    const cells = rows.map(row => row[i]!);
    return { width: Math.max(title.length, ...cells.map(cell => cell.length)), isNumeric: cells.every(cell => /^[-\d]?[\d.,± ]*$/.test(cell)) };
  });
  const line = (cells: readonly string[]) => cells.map((cell, i) => columns[i]!.isNumeric ? cell.padStart(columns[i]!.width) : cell.padEnd(columns[i]!.width)).join('  ').trimEnd();
  return [line(heading), columns.map(c => '-'.repeat(c.width)).join('  '), ...rows.map(line)].join('\n');
}
