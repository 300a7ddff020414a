/** A person does something at every step of a run that refreshes a v2 key, or mints one and revokes what it replaces. */
import type { Moment } from '../../emulators/faults';
import { everyNth, scene, type Case, type Group } from './campaign';
import { MINT, REFRESH, type Play } from './every-call-v2';
import { mend, PEOPLE, type PersonsAct } from './people';
import { Chance, FOR_A_PERSON } from './random';
import { DAY } from './stage';
import type { CallSite } from './strikes';

/** Two versions are in their grace period: a run has something to leave alone. */
const GRACED: Play = {
  ...MINT,
  name: 'mint with grace',
  options: { kind: 'mint', policy: { gracePeriodMs: 30 * DAY } },
};

/** What stops a run when a person takes away what it is about to use. */
const CODES: ReadonlySet<string> = new Set([
  ...FOR_A_PERSON,
  'NEW_KEY_REJECTED',
  'CREDENTIAL_NOT_STORED',
]);

function acts({ name, options }: Play, act: PersonsAct, [method, n]: CallSite, when: Moment): Case {
  return scene(`${name}: a person ${act.name} ${when} ${method}#${n}`, options, async (played) => {
    const violations: string[] = [];
    const chance = new Chance(0);
    let hasActed = false;
    const first = await played.run({
      strike: (site) => {
        if (!hasActed && site.method === method && site.n === n && site.when === when) {
          hasActed = true;
          played.person(() => act.do(played, chance));
        }
        return undefined;
      },
    });
    const second = await played.run();
    for (const { code, outcome } of [first, second]) {
      if (code !== undefined && !CODES.has(code)) {
        violations.push(`invariant 4: a run is ${outcome} ${code}`);
      }
    }
    mend(played);
    played.lostAnswers = 0;
    await played.runLast();
    return violations;
  });
}

export const personV2: Group = {
  name: 'v2-person',
  title: 'v2 keys: a person in between, at every call',
  concurrency: 4,
  cases: (extent) => {
    const all = [REFRESH, MINT, GRACED].flatMap((play) =>
      PEOPLE.filter(({ kinds }) => kinds.includes(play.options.kind ?? 'v1')).flatMap((act) =>
        play.calls.flatMap((call) =>
          (['before', 'after'] as const).map((when) => acts(play, act, call, when)),
        ),
      ),
    );
    return extent === 'full' ? all : everyNth(all, 31);
  },
};
