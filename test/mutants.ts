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
  /** In src. */
  readonly file: string;
  /** Occurs once in the file. */
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

const MUTANTS: readonly Mutant[] = [
  {
    name: 'disables versions in their grace period',
    file: 'rotation/policy.ts',
    search: 'forMs >= afterMs',
    replace: 'forMs >= 0',
    caughtBy: POLICY,
  },
  {
    name: 'plans to disable the newest version',
    file: 'rotation/policy.ts',
    search: 'number < newest.number',
    replace: 'number <= newest.number + 1',
    caughtBy: POLICY,
  },
  {
    name: 'cleans up before a list has shown the newest version',
    file: 'rotation/policy.ts',
    search: 'newest.unlisted === true',
    replace: 'false',
    caughtBy: POLICY,
  },
  {
    name: 'disables a version whose state or time is unknown',
    file: 'rotation/policy.ts',
    search: 'version.incomplete !== true',
    replace: 'true',
    caughtBy: POLICY,
  },
  {
    name: 'replaces a rejected key that was refreshed',
    file: 'rotation/policy.ts',
    search: "next.by !== 'mint'",
    replace: 'false',
    caughtBy: POLICY,
  },
  {
    name: 'replaces a rejected version that is younger than an hour',
    file: 'rotation/policy.ts',
    search: '< REPLACE_REJECTED_AGE',
    replace: '< 0',
    caughtBy: POLICY,
  },
  {
    name: 'revokes a key that another run might be about to add',
    file: 'rotation/policy.ts',
    search: '> ORPHAN_AGE',
    replace: '>= 0',
    caughtBy: POLICY,
  },
  {
    name: 'ignores `force`',
    file: 'rotation/policy.ts',
    search: 'if (force) return',
    replace: 'if (false) return',
    caughtBy: POLICY,
  },
  {
    name: 'revokes a referenced key',
    file: 'rotation/key-usage.ts',
    search: '!referenced.has(keyId)',
    replace: 'true',
    caughtBy: KEY_USAGE,
  },
  {
    name: "revokes a key that another secret's newest version contains",
    file: 'rotation/key-usage.ts',
    search: '!elsewhere.has(keyId)',
    replace: 'true',
    caughtBy: KEY_USAGE,
  },
  {
    name: 'revokes although a newer version was just added',
    file: 'rotation/key-usage.ts',
    search: 'if (hasNewer)',
    replace: 'if (false)',
    caughtBy: KEY_USAGE,
  },
  {
    name: 'revokes although an enabled version is unreadable',
    file: 'rotation/key-usage.ts',
    search: "actual?.state === 'ENABLED'",
    replace: 'false',
    caughtBy: KEY_USAGE,
  },
  {
    name: "cleans up although the newest key isn't verified",
    file: 'rotation/rotate.ts',
    search: "if (!policy.verify || check?.verdict === 'accepted')",
    replace: 'if (true)',
    caughtBy: ROTATE,
  },
  {
    name: 'cleans up a secret that was recreated during the run',
    file: 'rotation/renew.ts',
    search: 'return added.number <= (newest?.number ?? 0)',
    replace: 'return false',
    caughtBy: ROTATE,
  },
  {
    name: 'drops an unsaved credential for any newer version',
    file: 'rotation/rotate.ts',
    search: "check.verdict === 'accepted' ? `version",
    replace: 'true ? `version',
    caughtBy: UNSAVED,
  },
  {
    name: 'drops an unsaved credential when its old payload is stored again',
    file: 'rotation/rotate.ts',
    search: 'if (token !== undefined && token === usedTokenFingerprint)',
    replace: 'if (false)',
    caughtBy: UNSAVED,
  },
  {
    name: 'repeats an addition that arrived, so that two equal versions stay',
    file: 'rotation/renew.ts',
    search: 'outcomeUnknown ? await findStored(run, payload, issued) : undefined',
    replace: 'undefined',
    caughtBy: 'calls: v1: AddSecretVersion#1 drop after, same process',
  },
  {
    name: 'forgets a credential that was not stored',
    file: 'rotation/unsaved.ts',
    search: "if (issued.by === 'refresh')",
    replace: 'if (false)',
    caughtBy: REGRESSIONS,
  },
  {
    name: 'adds a key that Momento rejects',
    file: 'rotation/renew.ts',
    search: "if (check?.verdict === 'rejected')",
    replace: 'if (false)',
    caughtBy: REGRESSIONS,
  },
  {
    name: 'adds a key beside a newer version',
    file: 'rotation/renew.ts',
    search: "if (newer !== undefined) return end({ kind: 'superseded'",
    replace: "if (false) return end({ kind: 'superseded'",
    caughtBy: ROTATE,
  },
  {
    name: 'revokes no minted key that was superseded',
    file: 'rotation/renew.ts',
    search: "if (by !== 'mint' || keyId === undefined)",
    replace: 'if (true)',
    caughtBy: ROTATE,
  },
  {
    name: 'gives up a new key before it is known everywhere',
    file: 'rotation/verify.ts',
    search: 'issuedAt + PROPAGATION_DELAY',
    replace: 'issuedAt',
    caughtBy: REGRESSIONS,
  },
  {
    name: 'takes the rejection of a wrong host for an answer',
    file: 'rotation/verify.ts',
    search: "old.verdict !== 'rejected' ||",
    replace: 'true ||',
    caughtBy: VERIFY,
  },
  {
    name: 'retries beyond its time',
    file: 'retry.ts',
    search: 'clock.monotonic() + wait > giveUpAt(error)',
    replace: 'false',
    caughtBy: 'test/unit/retry.test.ts',
  },
  {
    name: 'disables or destroys the newest version if it is told to',
    file: 'secret-manager/store.ts',
    search: '!(newer.number > version.number)',
    replace: 'false',
    caughtBy: 'test/integration/secret-manager.test.ts',
  },
  {
    name: 'accepts a payload with a wrong checksum',
    file: 'secret-manager/store.ts',
    search: 'Number(checksum) !== crc32c(payload)',
    replace: 'false',
    caughtBy: 'test/integration/secret-manager.test.ts',
  },
  {
    name: 'takes keys with another description for its own',
    file: 'momento/issuer.ts',
    search: 'key.description === description',
    replace: 'key.description.startsWith(description)',
    caughtBy: 'operators: mint: an operator adds a credential before AccessSecretVersion#1',
  },
  {
    name: 'revokes old keys before the response has stored a new one',
    file: 'rotation/compromise.ts',
    search: 'if (run.compromise.revokeFirst && ',
    replace: 'if (',
    caughtBy: "compromise: a version can't be read",
  },
  {
    name: 'revokes the newest key of another secret in a compromise response',
    file: 'rotation/compromise.ts',
    search: 'return user && `${user} uses it`;',
    replace: 'return undefined;',
    caughtBy:
      'compromise: minted, shared with another secret: a response of another process at every call',
  },
  {
    name: 'takes any answer in a compromise response for a rejection',
    file: 'rotation/compromise.ts',
    search: "if (check.verdict === 'rejected') key.rejectedAt",
    replace: 'key.rejectedAt',
    caughtBy: 'compromise: minted, from the console: Momento goes on accepting an old key',
  },
  {
    name: 'counts a repeated response as contained after it disabled a version whose key works',
    file: 'rotation/old-keys.ts',
    search: 'this.isRepeat && !this.areListed ? this.notRead : []',
    replace: '[] as string[]',
    caughtBy: 'compromise: v1: a kill at every call',
  },
  {
    name: 'keeps a minted key that a compromise response revoked before it was stored',
    file: 'rotation/renew.ts',
    search: 'if (await wasRevoked(run, inspection, issued, added))',
    replace: 'if (false)',
    caughtBy: 'test/unit/rotation/renew.test.ts',
  },
];

const root = resolve(__dirname, '..');

function isGreen(folder: string, caughtBy: string): boolean {
  const [group, name] = caughtBy.includes(': ') ? caughtBy.split(/: (.*)/) : [];
  const command =
    group === undefined
      ? ['node_modules/jest/bin/jest.js', '--coverage=false', '-w', '1', '--bail', caughtBy]
      : ['--import', 'tsx', 'test/simulation/run.ts', `--only=${group}`, `--case=${name ?? ''}`];
  return spawnSync(process.execPath, command, { cwd: folder, stdio: 'ignore' }).status === 0;
}

/** A copy of the project in which a mutant compiles even if it leaves something unused. */
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
    // A test that is red anyway catches nothing.
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
