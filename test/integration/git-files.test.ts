/** What git does with the files of a checkout, on any machine. */
import { execFileSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '../..');

function git(...args: string[]): string[] {
  return execFileSync('git', args, { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '');
}

test('checks out every file with LF when git is configured to convert to CRLF', () => {
  const folder = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
  try {
    git('-c', 'core.autocrlf=true', 'checkout-index', '--all', `--prefix=${folder}/`);
    const files = git('ls-files');
    expect(files).toContain('.ci/run');
    const withCrlf = files.filter((file) => readFileSync(join(folder, file)).includes('\r\n'));
    expect(withCrlf).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('has no file with the markers of a merge conflict', () => {
  const marked = git('ls-files').filter((file) =>
    /^(?:<{7}|>{7}) /m.test(readFileSync(resolve(root, file), 'utf8')),
  );
  expect(marked).toEqual([]);
});

test('ignores files with credentials when the documentation names them', () => {
  const pages = globSync(['README.md', 'docs/*.md', 'terraform/*.md'], { cwd: root });
  const documented = pages
    .map((page) => readFileSync(resolve(root, page), 'utf8'))
    .flatMap((text) => [...text.matchAll(/--data-file=([\w./-]*\w)/g)])
    .map(([, file = '']) => file);
  expect(documented).toContain('momento.json');
  const files = ['momento_key_info.json', ...new Set(documented)].flatMap((file) => [
    file,
    `terraform/${file}`,
  ]);
  expect(git('check-ignore', '--no-index', ...files)).toEqual(files);
});
