/**
 * Breaks each guarantee on purpose, and expects a red test: `node --import tsx test/mutants.ts`. Works on a copy of the
 * project, so the sources stay as they are. Exits with 1 if a mutant survives, or can't be applied.
 *
 *   --only=TEXT  only mutants whose name contains this text
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

interface Mutant {
  /** The broken guarantee. */
  readonly name: string;
  /** The path of the file in src. */
  readonly file: string;
  /** The text to replace, which occurs once in the file. */
  readonly search: string;
  readonly replace: string;
  /** The test file that must fail, or a group of the simulation, with a case. */
  readonly caughtBy: string;
}

const POLICY = 'test/unit/rotation/policy.test.ts';
const KEY_USAGE = 'test/unit/rotation/key-usage.test.ts';
const ROTATE = 'test/unit/rotation/rotate.test.ts';
const UNSAVED = 'test/unit/rotation/unsaved.test.ts';
const VERIFY = 'test/unit/rotation/verify.test.ts';
const REGRESSIONS = 'test/simulation/regressions.test.ts';

/** By file and `caughtBy`. Each mutant has its name, the text to search for, and the replacement. */
const GROUPS: readonly [string, string, ...[string, string, string][]][] = [
  [
    'rotation/policy.ts',
    POLICY,
    ['disables versions in their grace period', 'forMs >= afterMs', 'forMs >= 0'],
    [
      'plans to disable the newest version',
      'number < newest.number',
      'number <= newest.number + 1',
    ],
    ['cleans up before a list has shown the newest version', 'newest.unlisted === true', 'false'],
    ['disables a version whose state or time is unknown', 'version.incomplete !== true', 'true'],
    ['replaces a rejected key that was refreshed', "next.by !== 'mint'", 'false'],
    ['replaces a rejected version that is younger than an hour', '< REPLACE_REJECTED_AGE', '< 0'],
    ['revokes a key that another run might be about to add', '> ORPHAN_AGE', '>= 0'],
    ['ignores `force`', 'if (force) return', 'if (false) return'],
  ],
  [
    'rotation/key-usage.ts',
    KEY_USAGE,
    ['revokes a referenced key', '!referenced.has(keyId)', 'true'],
    [
      "revokes a key that another secret's newest version contains",
      '!elsewhere.has(keyId)',
      'true',
    ],
    ['revokes although a newer version was just added', 'if (hasNewer)', 'if (false)'],
    ['revokes although an enabled version is unreadable', "actual?.state === 'ENABLED'", 'false'],
  ],
  [
    'rotation/rotate.ts',
    ROTATE,
    [
      "cleans up although the newest key isn't verified",
      "if (!policy.verify || check?.verdict === 'accepted')",
      'if (true)',
    ],
  ],
  [
    'rotation/renew.ts',
    ROTATE,
    [
      'cleans up a secret that was recreated during the run',
      'return added.number <= (newest?.number ?? 0)',
      'return false',
    ],
    [
      'adds a key beside a newer version',
      "if (newer !== undefined) return end({ kind: 'superseded'",
      "if (false) return end({ kind: 'superseded'",
    ],
    [
      'revokes no minted key that was superseded',
      "if (by !== 'mint' || keyId === undefined)",
      'if (true)',
    ],
  ],
  [
    'rotation/rotate.ts',
    UNSAVED,
    [
      'drops an unsaved credential for any newer version',
      "check.verdict === 'accepted' ? `version",
      'true ? `version',
    ],
    [
      'drops an unsaved credential when its old payload is stored again',
      'if (token !== undefined && token === usedTokenFingerprint)',
      'if (false)',
    ],
  ],
  [
    'rotation/renew.ts',
    'calls: v1: AddSecretVersion#1 drop after, same process',
    [
      'repeats an addition that arrived, so that two equal versions stay',
      'outcomeUnknown ? await findStored(run, payload, issued) : undefined',
      'undefined',
    ],
  ],
  [
    'rotation/renew.ts',
    'test/unit/rotation/renew.test.ts',
    ['drops a new key because of a copy of the old one', 'if (!isCopy) newer', 'newer'],
  ],
  [
    'momento/management-key.ts',
    'compromise: the management key: two processes, order 4',
    [
      'stops when Momento refuses the newest management key',
      'if (!isRejected || this.#isForgotten) throw thrown;',
      'throw thrown;',
    ],
  ],
  [
    'rotation/unsaved.ts',
    REGRESSIONS,
    ['forgets a credential that was not stored', "if (issued.by === 'refresh')", 'if (false)'],
  ],
  [
    'rotation/renew.ts',
    REGRESSIONS,
    ['adds a key that Momento rejects', "if (check?.verdict === 'rejected')", 'if (false)'],
  ],
  [
    'rotation/verify.ts',
    REGRESSIONS,
    [
      'gives up a new key before it is known everywhere',
      'issuedAt + PROPAGATION_DELAY',
      'issuedAt',
    ],
  ],
  [
    'rotation/verify.ts',
    VERIFY,
    [
      'takes the rejection of a wrong host for an answer',
      "old.verdict !== 'rejected' ||",
      'true ||',
    ],
  ],
  [
    'retry.ts',
    'test/unit/retry.test.ts',
    ['retries beyond its time', 'clock.monotonic() + wait > giveUpAt(error)', 'false'],
  ],
  [
    'secret-manager/store.ts',
    'test/integration/secret-manager.test.ts',
    [
      'disables or destroys the newest version if it is told to',
      '!(newer.number > version.number)',
      'false',
    ],
    ['accepts a payload with a wrong checksum', 'Number(checksum) !== crc32c(payload)', 'false'],
  ],
  [
    'momento/issuer.ts',
    'operators: mint: an operator adds a credential before AccessSecretVersion#1',
    [
      'takes keys with another description for its own',
      'key.description === description',
      'key.description.startsWith(description)',
    ],
  ],
  [
    'rotation/compromise.ts',
    "compromise: a version can't be read",
    [
      'revokes old keys before the response has stored a new one',
      'if (run.compromise.revokeFirst && ',
      'if (',
    ],
  ],
  [
    'rotation/compromise.ts',
    'compromise: minted, shared with another secret: a response of another process at every call',
    [
      'revokes the newest key of another secret in a compromise response',
      'return user && `${user} uses it`;',
      'return undefined;',
    ],
  ],
  [
    'rotation/compromise.ts',
    'compromise: minted, from the console: Momento goes on accepting an old key',
    [
      'takes any answer in a compromise response for a rejection',
      "if (check.verdict === 'rejected') key.rejectedAt",
      'key.rejectedAt',
    ],
  ],
  [
    'rotation/old-keys.ts',
    'compromise: v1: a kill at every call',
    [
      'counts a repeated response as contained after it disabled a version whose key works',
      'this.isRepeat && !this.areListed ? this.notRead : []',
      '[] as string[]',
    ],
  ],
  [
    'rotation/renew.ts',
    'test/unit/rotation/renew.test.ts',
    [
      'keeps a minted key that a compromise response revoked before it was stored',
      'if (await wasRevoked(run, inspection, issued, added))',
      'if (false)',
    ],
  ],
];

const MUTANTS: readonly Mutant[] = GROUPS.flatMap(([file, caughtBy, ...mutants]) =>
  mutants.map(([name, search, replace]) => ({ name, file, search, replace, caughtBy })),
);

const root = resolve(__dirname, '..');

function isGreen(folder: string, caughtBy: string): boolean {
  const [group, name] = caughtBy.includes(': ') ? caughtBy.split(/: (.*)/) : [];
  const command =
    group === undefined
      ? ['node_modules/jest/bin/jest.js', '--coverage=false', '-w', '1', '--bail', caughtBy]
      : ['--import', 'tsx', 'test/simulation/run.ts', `--only=${group}`, `--case=${name ?? ''}`];
  return spawnSync(process.execPath, command, { cwd: folder, stdio: 'ignore' }).status === 0;
}

/** Copies the project, and ignores type errors there because a mutant can leave code unused. */
function copyProject(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mutants-'));
  for (const name of ['src', 'test', 'emulators', 'package.json', 'tsconfig.json']) {
    cpSync(resolve(root, name), join(folder, name), { recursive: true });
  }
  symlinkSync(resolve(root, 'node_modules'), join(folder, 'node_modules'));
  const transform = { '^.+\\.ts$': ['ts-jest', { diagnostics: false }] };
  const config = {
    testEnvironment: 'node',
    testTimeout: 30_000,
    transform,
    setupFiles: ['<rootDir>/test/no-proxy.ts'],
  };
  writeFileSync(join(folder, 'jest.config.json'), JSON.stringify(config));
  return folder;
}

/** Returns what is wrong, if the mutant can't be applied or survives. */
function tryMutant(
  folder: string,
  { file, search, replace, caughtBy }: Mutant,
): string | undefined {
  const path = join(folder, 'src', file);
  const original = readFileSync(path, 'utf8');
  const times = original.split(search).length - 1;
  if (times !== 1) {
    return `src/${file} contains ${times} times: ${search}. Anchor the mutant at a text that it contains once.`;
  }
  writeFileSync(
    path,
    original.replace(search, () => replace),
  );
  try {
    return isGreen(folder, caughtBy) ? `survived: ${caughtBy} is green` : undefined;
  } finally {
    writeFileSync(path, original);
  }
}

function main(only: string): number {
  const folder = copyProject();
  const chosen = MUTANTS.filter(({ name }) => name.includes(only));
  let failures = 0;
  const print = (problem: string | undefined, name: string): void => {
    if (problem !== undefined) failures += 1;
    process.stdout.write(`${problem === undefined ? 'caught' : 'FAILED'}  ${name}\n`);
    if (problem !== undefined) process.stdout.write(`        ${problem}\n`);
  };
  try {
    // A test that fails without a mutant can't show that it catches one.
    for (const caughtBy of new Set(chosen.map((mutant) => mutant.caughtBy))) {
      if (!isGreen(folder, caughtBy)) print('red without a mutant', caughtBy);
    }
    for (const mutant of chosen) {
      print(tryMutant(folder, mutant), `${mutant.name} (${mutant.caughtBy})`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  process.stdout.write(`\n${chosen.length} mutants, ${failures} problems\n`);
  return chosen.length > 0 && failures === 0 ? 0 : 1;
}

if (require.main === module) {
  const { only } = parseArgs({ options: { only: { type: 'string', default: '' } } }).values;
  process.exitCode = main(only);
}
