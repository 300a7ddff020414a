/** The scores of a simulation as text. */
import { availableParallelism } from 'node:os';
import type { Extent, Score } from './simulation';

/** A table in Markdown, which a terminal shows as well. */
export function table(scores: readonly Score[], seconds: number): string {
  const sum = (figure: 'cases' | 'failed'): number =>
    scores.reduce((total, score) => total + score[figure], 0);
  const row = (
    name: string,
    what: string,
    cases: number,
    failed: number,
    time: number,
  ): string[] => [name, what, cases.toLocaleString('en'), String(failed), time.toFixed(0)];
  const rows = [
    ['group', 'what', 'cases', 'violations', 'seconds'],
    ...scores.map((one) => row(one.group, one.title, one.cases, one.failed, one.seconds)),
    row('all', '', sum('cases'), sum('failed'), seconds),
  ];
  const widths = [0, 1, 2, 3, 4].map((column) =>
    Math.max(...rows.map((cells) => (cells[column] ?? '').length)),
  );
  const line = (cells: readonly string[]): string => {
    const padded = widths.map((width, column) => {
      const cell = cells[column] ?? '';
      return column > 1 ? cell.padStart(width) : cell.padEnd(width);
    });
    return `| ${padded.join(' | ')} |`;
  };
  const rule = widths.map((width, column) => '-'.repeat(width - 1) + (column > 1 ? ':' : '-'));
  const [head = [], ...body] = rows.map(line);
  return [head, line(rule), ...body].join('\n');
}

const [OPEN, CLOSE] = ['<!-- results -->', '<!-- /results -->'];

/** The page RESULTS.md with the figures of this simulation. */
export function withResults(
  page: string,
  extent: Extent,
  scores: readonly Score[],
  seconds: number,
): string {
  const [start, end] = [page.indexOf(OPEN), page.indexOf(CLOSE)];
  if (start < 0 || end < start) throw new Error(`RESULTS.md has no ${OPEN} and ${CLOSE}`);
  const day = new Date().toISOString().slice(0, 10);
  const machine = `${availableParallelism()} cores`;
  const notes = scores.flatMap((score) => score.notes.map((note) => `- ${score.group}: ${note}`));
  const figures = [
    `The last ${extent} simulation ran on ${day} with Node ${process.versions.node} on ${machine}.`,
    '',
    table(scores, seconds),
    '',
    ...notes,
  ].join('\n');
  return `${page.slice(0, start + OPEN.length)}\n\n${figures}\n\n${page.slice(end)}`;
}
