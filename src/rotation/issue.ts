/** Gets the next key from its issuer. */
import { SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import { retry } from '../retry';
import { ISSUE_PATIENCE, OTHER_RUN_PATIENCE, QUOTA_PATIENCE } from './budget';
import type { Credential, Renewal } from './ports';
import type { Run } from './run';
import type { Found, Issued, Superseded } from './steps';
import { ask, findSuccessor } from './verify';

export async function issue(run: Run, found: Found): Promise<Issued | Superseded> {
  const { secret, pending, budget, clock } = run;
  const kept = pending.of(secret);
  if (kept !== undefined && (await ask(run, kept.credential)) !== 'rejected') return kept;
  const renewal = found.next;
  if (renewal instanceof RotationError) throw renewal;
  if (!budget.hasTimeToIssue) throw outOfTime();

  const tries = new Tries(renewal);
  const giveUpAt = budget.within(ISSUE_PATIENCE, budget.latestIssue);
  const quotaGiveUpAt = budget.within(QUOTA_PATIENCE, budget.latestIssue);
  try {
    const credential = await retry(
      clock,
      () => tries.next(),
      ({ quota }) => (tries.areOver ? 0 : quota ? quotaGiveUpAt : giveUpAt),
    );
    const { current, newest } = found;
    const issued: Issued = {
      credential,
      by: renewal.by,
      issuedAt: clock.now(),
      newest: newest?.number ?? 0,
      ...(current && { issuedFrom: current.version.number }),
    };
    pending.keep(secret, issued);
    return issued;
  } catch (thrown) {
    const error = toRotationError(thrown);
    if (!error.refused) throw error;
    // A token may work only once, and then whoever was first with it has added its successor, or is about to.
    const superseded = renewal.by === 'refresh' ? await waitForSuccessor(run, found) : undefined;
    // What is kept may be the last there will be: it may be accepted yet.
    return (
      superseded ??
      kept ??
      fail(renewal.refusal(error, { answerLost: tries.lost > 0, now: clock.now() }))
    );
  }
}

/** Counts the answers that were lost: each may have spent a token, or left a key behind. */
class Tries {
  lost = 0;

  constructor(private readonly renewal: Renewal) {}

  get areOver(): boolean {
    return this.lost > this.renewal.lostAnswers;
  }

  async next(): Promise<Credential> {
    try {
      return await this.renewal.issue();
    } catch (thrown) {
      if (toRotationError(thrown).mayHaveHadEffect) this.lost += 1;
      throw thrown;
    }
  }
}

async function waitForSuccessor(run: Run, found: Found): Promise<Superseded | undefined> {
  const { clock } = run;
  const giveUpAt = clock.now() + OTHER_RUN_PATIENCE;
  for (;;) {
    const superseded = await findSuccessor(run, found);
    if (superseded !== undefined || clock.now() >= giveUpAt) return superseded;
    await clock.sleep(SECOND);
  }
}

export function outOfTime(): RotationError {
  return new RotationError(
    'DEADLINE_EXCEEDED',
    'There was not enough time left to issue a new key and to store it, so none was issued. Readers keep the newest ' +
      "version. The next run goes on; if this happens in every run, raise the function's timeout or name fewer secrets " +
      'in each job.',
  );
}

function fail(error: RotationError): never {
  throw error;
}
