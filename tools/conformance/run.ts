/** Checks the rotator's assumptions, from the environment to the exit code. Prints one line for each assumption. */
import { createInterface } from 'node:readline';
import type { Environment } from '../../src/config/variables';
import { systemClock, type Clock } from '../../src/clock';
import type { Terminal } from '../terminal';
import type { Line, Verdict } from './assumption';
import { authClient } from './auth-client';
import type { Group } from './group';
import { keyApi } from './key-api';
import { secretManager } from './secret-manager';
import { readTarget, startLocalTarget, type Target } from './target';

export const GROUPS: readonly Group[] = [keyApi, authClient, secretManager];

const LOCAL = `Against the emulators. They follow the same assumptions as the rotator, so this shows nothing about the real services.
docs/development/conformance.md describes how to check the real services.
`;
const REAL = `Against the real services. The tool asks you before every change, and removes everything that it created.
`;

export async function conformance(
  args: readonly string[],
  env: Environment,
  terminal: Terminal,
  { signal, clock = systemClock }: { signal: AbortSignal; clock?: Clock },
): Promise<0 | 1> {
  const target = readTarget(env);
  const problems = Array.isArray(target) ? target : [];
  // An argument isn't quoted, because it might be a key.
  if (args.length > 0) problems.push('arguments are refused: pass keys in the environment');
  if (Array.isArray(target) || problems.length > 0) {
    terminal.stderr.write(`conformance: nothing was checked: ${problems.join('; ')}.\n`);
    return 1;
  }
  if (target !== undefined) {
    terminal.stdout.write(REAL);
    const operator = new Operator(terminal, signal);
    const agree = (question: string) => operator.agree(question);
    const isConform = await checkAll({ ...target, clock, agree }, signal, terminal);
    operator.leave();
    return isConform ? 0 : 1;
  }
  terminal.stdout.write(LOCAL);
  const local = await startLocalTarget();
  try {
    return (await checkAll(local, signal, terminal)) ? 0 : 1;
  } finally {
    await local.services.stop();
  }
}

/** @returns whether all checked assumptions hold, and everything that was created is removed */
export async function checkAll(
  target: Target,
  signal: AbortSignal,
  { stdout }: Pick<Terminal, 'stdout'>,
): Promise<boolean> {
  const lines: Line[] = [];
  const left: string[] = [];
  for (const group of GROUPS) {
    stdout.write(`\n${group.title}\n`);
    const remaining = await group.check(target, signal, (line) => {
      lines.push(line);
      stdout.write(`${format(line)}\n`);
    });
    left.push(...remaining);
  }
  stdout.write(`\n${summary(lines)}\n`);
  for (const thing of left) stdout.write(`NOT REMOVED: ${thing}\n`);
  const isConform = lines.every(({ verdict }) => verdict === 'same' || verdict === 'not checked');
  return isConform && left.length === 0;
}

function format({ verdict, source, id, words, assumed, observed }: Line): string {
  const columns = [verdict.padEnd(11), source.padEnd(10), id.padEnd(25)].join(' ');
  return `${columns} ${words}: assumed ${either(assumed)}; observed ${observed}`;
}

function either(assumed: string | readonly string[]): string {
  const all = [assumed].flat();
  return all.length === 1 ? all.join() : `${all.slice(0, -1).join(', ')} or ${all.at(-1) ?? ''}`;
}

function summary(lines: readonly Line[]): string {
  const count = (verdict: Verdict) => lines.filter((line) => line.verdict === verdict).length;
  const counts = (['same', 'DIFFERS', 'NO ANSWER', 'not checked'] as const)
    .map((verdict) => `${count(verdict)} ${verdict}`)
    .join(', ');
  const guesses = lines.filter(({ source }) => source === 'guess');
  return `${lines.length} lines: ${counts}. ${guesses.length} assumptions are guesses today.`;
}

/** The operator at the terminal. */
class Operator {
  readonly #input;
  readonly #answers;
  readonly #output: Terminal['stderr'];

  constructor({ stdin, stderr }: Terminal, signal: AbortSignal) {
    this.#input = createInterface({ input: stdin });
    this.#answers = this.#input[Symbol.asyncIterator]();
    this.#output = stderr;
    // After an interruption, an open question counts as refused.
    signal.addEventListener('abort', () => this.leave());
  }

  /** Asks the operator a question. Only `y` or `yes` means consent. */
  async agree(question: string): Promise<boolean> {
    this.#output.write(`\n${question} [y/N] `);
    const answer = await this.#answers.next();
    return answer.done !== true && /^y(es)?$/i.test(answer.value.trim());
  }

  leave(): void {
    this.#input.close();
  }
}
