/**
 * Validates the gcloud commands of all pages with gcloud's own parser: commands, flags, and values that have a format. No
 * call leaves the machine.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'gcloud-commands-'));
// If the file is missing, gcloud doesn't look at the other flags.
const variables = join(folder, 'env.yaml');
writeFileSync(variables, 'NAME: value\n');

/** The placeholders and variables of the pages that gcloud wouldn't accept. */
const VALUES = [
  [/"?\$URI"?/g, 'https://example.com'],
  [/\$(?:PROJECT|REGION|ROTATOR|SCHEDULER|BUILDER|ROLE)\b/g, 'placeholder'],
  [/\b(?:YOUR_)?PROJECT\b/g, 'test-project'],
  ['/tmp/env.yaml', variables],
];

/** The command at the beginning of a text, up to the first separator outside quotes. */
const COMMAND = /^gcloud (?:'[^']*'|"[^"]*"|[^'"|;&)\n])*/;

function commandsIn(page) {
  const blocks = [...page.matchAll(/^ *```sh\n(.*?)^ *```/gms)].map(([, block]) => block);
  return blocks.flatMap((block) => {
    const text = VALUES.reduce((result, [name, value]) => result.replaceAll(name, value), block)
      .replaceAll(/\\\n\s*/g, ' ')
      .replaceAll(/^ *#.*$/gm, '');
    return [...text.matchAll(/\bgcloud /g)]
      .map(({ index }) => COMMAND.exec(text.slice(index))?.[0].trim() ?? '')
      .filter((command) => !command.startsWith('gcloud auth '));
  });
}

const pages = execFileSync('git', ['ls-files', '*.md'], { encoding: 'utf8' }).trim().split('\n');
const commands = pages.flatMap((page) =>
  commandsIn(readFileSync(page, 'utf8')).map((command) => ({ page, command_string: command })),
);
try {
  const file = join(folder, 'commands.json');
  writeFileSync(file, JSON.stringify(commands));
  const output = execFileSync(
    'gcloud',
    ['meta', 'lint-gcloud-commands', `--commands-file=${file}`],
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 256 * 1024 * 1024,
      env: { ...process.env, CLOUDSDK_CONFIG: folder, CLOUDSDK_CORE_DISABLE_PROMPTS: '1' },
    },
  );
  const invalid = JSON.parse(output).filter(({ success }) => !success);
  for (const { command_string: command, error_message: message } of invalid) {
    const { page } = commands.find(({ command_string }) => command_string === command) ?? {};
    console.error(`${page}: ${command}\n  ${message}`);
  }
  console.log(
    `${commands.length} gcloud commands in ${pages.length} pages, ${invalid.length} invalid`,
  );
  if (invalid.length > 0 || commands.length === 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
