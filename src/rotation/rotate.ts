/**
 * The rotation of one secret.
 *
 *   gather ──> decide ──> issue ──> verify ──> add ──> retire ──> destroy ──> revoke
 *     │          │          │         │         │         │
 *     │          │          │         │         │         └ failed: incomplete, the next run goes on here
 *     │          │          │         │         └ failed: a refreshed credential is kept, the next run starts here
 *     │          │          │         ├ a newer version was added meanwhile: superseded
 *     │          │          │         ├ rejected: failed, readers keep the old key
 *     │          │          │         └ no clear answer: added (it must not be lost), nothing older ends
 *     │          │          └ refused: failed, readers keep the old key until it expires
 *     │          └ not due, or something is in the way: on to retire, with the newest key proved first
 *     └ failed: nothing was spent
 *
 * Adding a version is what promotes it: `latest` names the version added last, whatever its state. So the old key keeps
 * working until the new one is in place and proved, and from whichever step a run dies, the next one goes on.
 */
import { add } from './add';
import { decide, permissionsFor } from './decide';
import { gather } from './gather';
import { issue, outOfTime } from './issue';
import { report, type Report } from './report';
import type { Run } from './run';
import type { Found } from './steps';
import { foresee, prepareSweep, standing, standingAfter, sweep, type Standing } from './sweep';
import { verifyIssued } from './verify';

export async function rotate(run: Run): Promise<Report> {
  const { options, policy, clock, pending, budget, trail } = run;
  try {
    if (!budget.hasTimeToIssue) throw outOfTime();
    const found = await trail.step('gather', () => gather(run, permissionsFor(policy)));
    if (found.warning !== undefined) trail.warn(found.warning);
    const isPending = pending.isFor(found, run);
    const decision = decide({ ...options, found, isPending, now: clock.now() }, policy);
    trail.outputs.decide = decision;
    if (decision.action === 'refuse') trail.fail(decision.error);
    const isDue = decision.action === 'rotate';

    if (options.dryRun) {
      const foreseen = isDue ? standingAfter(found, clock.now()) : standing(found);
      if (foreseen !== undefined) await foresee(run, foreseen);
    } else {
      const left = isDue ? await renew(run, found) : standing(found);
      if (left !== undefined) await sweep(run, left);
    }
  } catch (thrown) {
    trail.fail(thrown);
  }
  return report(run);
}

/** From issue to add. A run that gets no new key still sweeps what earlier ones left. */
async function renew(run: Run, found: Found): Promise<Standing | undefined> {
  const { trail } = run;
  prepareSweep(run);
  try {
    const issued = await trail.step('issue', () => issue(run, found));
    if ('supersededBy' in issued) return undefined;
    const verdict = await trail.step('verify', () => verifyIssued(run, issued, found));
    if (typeof verdict === 'object') return undefined;
    const added = await trail.step('add', () => add(run, issued, found));
    return standing(found, { version: added, credential: issued.credential }, verdict);
  } catch (thrown) {
    trail.fail(thrown);
    return trail.at === 'add' ? undefined : standing(found);
  }
}
