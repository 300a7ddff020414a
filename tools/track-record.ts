/**
 * Writes the figures of docs/track-record.md: what the last fault campaign says in test/simulation/RESULTS.md, and how many
 * runs Terraform's tests have. `npx tsx tools/track-record.ts --tests` also runs all other tests, and writes how many there were.
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const root = resolve(__dirname, '..');
const PAGE = 'docs/track-record.md';
const read = (path: string): string => readFileSync(resolve(root, path), 'utf8');

/** The page with what stands between a block's two marks replaced. */
export function withBlock(page: string, name: string, text: string): string {
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [start, end] = [page.indexOf(open), page.indexOf(close)];
  if (start < 0 || end < start) throw new Error(`${PAGE} has no place for ${name}`);
  return `${page.slice(0, start + open.length)}\n${text}\n${page.slice(end)}`;
}

/** The campaign's own table, without the times, which say how fast a machine was. */
export function campaignBlock(results: string): string {
  const [, day, node] = /on (\d{4}-\d\d-\d\d) with Node (\d+\.\d+\.\d+)/.exec(results) ?? [];
  const rows = results
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .map(([, group = '', what = '', cases = '', failed = '']) => ({ group, what, cases, failed }));
  const [head, , ...groups] = rows;
  const all = groups.pop();
  if (day === undefined || node === undefined || head?.cases !== 'cases' || all?.group !== 'all') {
    throw new Error('test/simulation/RESULTS.md is not as the campaign writes it');
  }
  return [
    `On ${day}, with Node ${node}:`,
    '',
    '| tried | group | cases | did not survive |',
    '|---|---|--:|--:|',
    ...groups.map(
      ({ what, group, cases, failed }) => `| ${what} | \`${group}\` | ${cases} | ${failed} |`,
    ),
    `| **all** | | **${all.cases}** | **${all.failed}** |`,
  ].join('\n');
}

export function terraformBlock(): string {
  const files = globSync('terraform/tests/**/*.tftest.hcl', { cwd: root });
  const runs = files.flatMap((file) => read(file).match(/^run "/gm) ?? []).length;
  return `- **The module**: ${runs} runs of \`terraform test\`, each with the last 7.x and with 8.x of the google provider.`;
}

function testsBlock(): string {
  const folder = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
  const report = join(folder, 'report.json');
  try {
    spawnSync('jest', ['--json', `--outputFile=${report}`], { cwd: root, stdio: 'inherit' });
    const { numTotalTestSuites, numTotalTests, numFailedTests } = JSON.parse(
      readFileSync(report, 'utf8'),
    ) as Record<string, number>;
    if (numTotalTests === undefined || numFailedTests !== 0)
      throw new Error('not all tests passed');
    const tests = `${numTotalTests.toLocaleString('en')} tests in ${numTotalTestSuites ?? 0} files`;
    return `- **The function and all around it**: ${tests}, all passed.`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The page with figures of today. */
export function withFigures(page: string): string {
  const campaign = campaignBlock(read('test/simulation/RESULTS.md'));
  return withBlock(withBlock(page, 'campaign', campaign), 'terraform', terraformBlock());
}

export function readPage(): string {
  return read(PAGE);
}

if (require.main === module) {
  const { tests } = parseArgs({ options: { tests: { type: 'boolean' } } }).values;
  const write = (page: string): void => writeFileSync(resolve(root, PAGE), page);
  write(withFigures(readPage()));
  // One of the tests is about what was written just now.
  if (tests) write(withBlock(readPage(), 'tests', testsBlock()));
}
