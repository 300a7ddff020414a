/** A person does something at every step of a run. */
import type { Moment } from '../../emulators/faults';
import { everyNth, scene, type Case, type Group } from './campaign';
import { CALLS } from './every-call';
import type { Run, Scene } from './scene';

interface Act {
  readonly name: string;
  readonly do: (played: Scene) => void;
  /** What the person does in the end where no run can put it right, because it is told so. */
  readonly mend?: (played: Scene) => void;
  /** The codes with which the run in progress, or one before the mending, may say what is wrong. */
  readonly codes: readonly string[];
}

const PERMISSIONS = ['access', 'list', 'add', 'disable', 'destroy'].map(
  (verb) => `secretmanager.versions.${verb}`,
);

const ACTS: readonly Act[] = [
  { name: 'adds a version', do: add, codes: [] },
  { name: 'adds nonsense', do: addNonsense, mend: add, codes: ['PAYLOAD_INVALID'] },
  {
    name: 'disables the newest',
    do: (played) => setState(played, newest(played), 'DISABLED'),
    // Done between add and retire it leaves no version enabled, and the newest credential is the one to have.
    mend: (played) => enableIfNoneIs(played),
    codes: ['NO_ENABLED_VERSION'],
  },
  {
    name: 'destroys the newest',
    do: (played) => setState(played, newest(played), 'DESTROYED'),
    mend: (played) => addIfNoneIsEnabled(played),
    codes: ['NO_ENABLED_VERSION', 'PAYLOAD_INVALID'],
  },
  {
    name: 'destroys the oldest',
    do: (played) => setState(played, '1', 'DESTROYED'),
    codes: [],
  },
  {
    name: 'enables the oldest',
    do: (played) => {
      if (played.states.at(0) !== 'DESTROYED') setState(played, '1', 'ENABLED');
    },
    codes: [],
  },
  {
    name: 'deletes the secret',
    do: (played) => played.secretManager.deleteSecret(played.secret.name),
    mend: (played) => {
      played.secretManager.createSecret(played.secret.name);
      add(played);
    },
    codes: ['SECRET_NOT_FOUND', 'CREDENTIAL_NOT_STORED', 'PERMISSION_MISSING', 'NO_VERSION'],
  },
  {
    name: 'deletes the secret and makes it anew',
    do: (played) => {
      played.secretManager.deleteSecret(played.secret.name);
      played.secretManager.createSecret(played.secret.name);
    },
    mend: (played) => add(played),
    codes: ['NO_VERSION', 'CREDENTIAL_NOT_STORED'],
  },
  {
    name: 'deletes the secret and makes it anew with a credential',
    do: (played) => {
      played.secretManager.deleteSecret(played.secret.name);
      played.secretManager.createSecret(played.secret.name);
      add(played);
    },
    codes: [],
  },
  {
    name: 'revokes the newest key',
    do: (played) => {
      const payload = played.secretManager.latest(played.secret.name);
      const { apiKey } = JSON.parse(payload?.toString() ?? '{}') as { apiKey: string };
      played.momento.revoke(apiKey);
    },
    mend: add,
    codes: ['REFRESH_REFUSED', 'NEW_KEY_REJECTED', 'NEWEST_KEY_REJECTED', 'KEY_EXPIRED'],
  },
  ...PERMISSIONS.map((permission): Act => ({
    name: `takes ${permission} away`,
    do: ({ secretManager, secret }) =>
      secretManager.grant(
        secret.name,
        PERMISSIONS.filter((granted) => granted !== permission),
      ),
    mend: ({ secretManager, secret }) => secretManager.grant(secret.name, PERMISSIONS),
    codes: ['PERMISSION_MISSING', 'CREDENTIAL_NOT_STORED'],
  })),
];

function add(played: Scene): void {
  played.secretManager.addVersion(played.secret.name, played.credential());
}

function addNonsense({ secretManager, secret }: Scene): void {
  secretManager.addVersion(secret.name, 'not a credential');
}

function newest({ secretManager, secret }: Scene): string {
  return secretManager.versions(secret.name)[0]?.version ?? '';
}

function setState(
  { secretManager, secret }: Scene,
  version: string,
  state: 'ENABLED' | 'DISABLED' | 'DESTROYED',
): void {
  secretManager.setState(secret.name, version, state);
}

function enableIfNoneIs(played: Scene): void {
  if (!played.states.includes('ENABLED')) setState(played, newest(played), 'ENABLED');
}

function addIfNoneIsEnabled(played: Scene): void {
  if (played.secretManager.latest(played.secret.name) === undefined) add(played);
}

function acts(act: Act, [method, n]: readonly [string, number], when: Moment): Case {
  const refreshTokens = 'single-use';
  return scene(`a person ${act.name} ${when} ${method}#${n}`, { refreshTokens }, async (played) => {
    const violations: string[] = [];
    let times = 0;
    const expectKnown = ({ outcome, code }: Run, which: string): void => {
      if (code !== undefined && !act.codes.includes(code)) {
        violations.push(`invariant 4: ${which} is ${outcome} ${code}`);
      }
    };
    const first = await played.run({
      strike: (site) => {
        if (site.method === method && site.n === n && site.when === when) {
          times += 1;
          played.person(() => act.do(played));
        }
        return undefined;
      },
    });
    expectKnown(first, 'the run');
    if (times !== 1) violations.push(`the call was made ${times} times`);
    if (act.mend !== undefined) {
      expectKnown(await played.run(), 'the run before the mending');
      played.person(() => act.mend?.(played));
    }
    await played.runLast();
    return violations;
  });
}

export const person: Group = {
  name: 'person',
  title: 'a person in between, at every call',
  concurrency: 4,
  cases: (extent) => {
    const all = ACTS.flatMap((act) =>
      CALLS.flatMap((call) => (['before', 'after'] as const).map((when) => acts(act, call, when))),
    );
    return extent === 'full' ? all : everyNth(all, 11);
  },
};
