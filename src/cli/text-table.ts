/** Columns aligned by spaces, those of numbers to the right. A rule under the heading. */
export function textTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const columns = heading.map((title, i) => {
    const cells = rows.map(row => row[i]!);
    return { width: Math.max(title.length, ...cells.map(cell => cell.length)), isNumeric: cells.every(cell => /^[-\d]?[\d.,± ]*$/.test(cell)) };
  });
  const line = (cells: readonly string[]) => cells.map((cell, i) => columns[i]!.isNumeric ? cell.padStart(columns[i]!.width) : cell.padEnd(columns[i]!.width)).join('  ').trimEnd();
  return [line(heading), columns.map(c => '-'.repeat(c.width)).join('  '), ...rows.map(line)].join('\n');
}
