/** Operator actions on a secret, its keys and the management key, around every call. */
import { DAY } from '../../src/duration';
import type { Moment } from '../../emulators/faults';
import type { VersionView } from '../../emulators/secret-manager';
import { Chance } from './chance';
import { MOMENTS, type CallSite } from './faults';
import {
  keyIn,
  managementOf,
  MINT,
  mint,
  MINT_GRACE,
  mintedPayload,
  V1,
  V2,
  type Kind,
  type Renewal,
} from './keys';
import { sample, testCase, type Case, type Group } from './simulation';
import type { TestBed } from './test-bed';

type Draw = Pick<Chance, 'below'>;

export interface OperatorAction {
  readonly name: string;
  /** The renewals to which the action applies; all by default. */
  readonly renewals?: readonly Renewal[];
  readonly do: (bed: TestBed, chance: Draw) => void;
}

const FUNCTION_PERMISSIONS = ['access', 'list', 'add', 'disable', 'destroy'].map(
  (verb) => `secretmanager.versions.${verb}`,
);
const EVERY_PERMISSION = [...FUNCTION_PERMISSIONS, 'secretmanager.versions.get'];

/** Actions that random schedules use as well. */
export const ACTIONS: readonly OperatorAction[] = [
  { name: 'adds a credential', do: add },
  { name: 'disables the newest version', do: (bed) => setState(bed, newest(bed), 'DISABLED') },
  {
    name: 'disables a superseded version',
    do: (bed, chance) => setState(bed, superseded(bed, chance, 'ENABLED'), 'DISABLED'),
  },
  {
    name: 'enables a superseded version',
    do: (bed, chance) => setState(bed, superseded(bed, chance, 'DISABLED'), 'ENABLED'),
  },
  {
    name: 'destroys a superseded version',
    do: (bed, chance) => setState(bed, superseded(bed, chance, 'DISABLED'), 'DESTROYED'),
  },
  { name: 'stores an older payload again', do: storeAgain },
  { name: 'revokes the newest key', do: (bed) => revoke(bed, newest(bed)) },
  {
    name: 'revokes a superseded key',
    renewals: ['v2', 'mint'],
    do: (bed, chance) => revoke(bed, superseded(bed, chance, 'ENABLED')),
  },
  {
    name: 'recreates the secret with a credential',
    do: (bed) => {
      if (recreate(bed)) add(bed);
    },
  },
  {
    name: 'mints a key for another secret',
    renewals: ['mint'],
    do: ({ momento, secret }) => void mint(momento, `${secret.name}1`),
  },
  {
    name: 'disables the management key',
    renewals: ['mint'],
    do: ({ secretManager, management: { name } }) => {
      const [key] = secretManager.versions(name);
      if (key?.state === 'ENABLED') secretManager.setState(name, key.version, 'DISABLED');
    },
  },
  { name: 'replaces the management key', renewals: ['mint'], do: replaceManagementKey },
  {
    name: 'revokes the management key',
    renewals: ['mint'],
    do: ({ secretManager, momento, management }) => {
      const key = momento.account.find(keyIn(secretManager.latest(management.name)));
      if (key !== undefined) momento.account.revoke(key.info.key_id, 'operator');
    },
  },
];

/** Actions after which a run can only report the problem. */
const HARMFUL_ACTIONS: readonly OperatorAction[] = [
  {
    name: 'adds an invalid payload',
    do: ({ secretManager, secret }) => void secretManager.addVersion(secret.name, 'no credential'),
  },
  { name: 'destroys the newest version', do: (bed) => setState(bed, newest(bed), 'DESTROYED') },
  {
    name: 'deletes the secret',
    do: ({ secretManager, secret }) => secretManager.deleteSecret(secret.name),
  },
  { name: 'recreates the secret without a version', do: (bed) => void recreate(bed) },
  ...FUNCTION_PERMISSIONS.map((permission): OperatorAction => ({
    name: `revokes ${permission}`,
    do: ({ secretManager, secret }) =>
      secretManager.grant(
        secret.name,
        EVERY_PERMISSION.filter((granted) => granted !== permission),
      ),
  })),
];

/** Codes that a run can return only after an operator action, or after the answer to a used refresh token was lost. */
export const OPERATOR_CODES: ReadonlySet<string> = new Set([
  'PAYLOAD_INVALID',
  'NO_VERSION',
  'NO_ENABLED_VERSION',
  'KEY_EXPIRED',
  'KEY_NOT_REFRESHABLE',
  'REFRESH_REFUSED',
  'REFRESH_ANSWER_LOST',
  'NEWEST_KEY_REJECTED',
  'MANAGEMENT_KEY_INVALID',
  'MANAGEMENT_KEY_REFUSED',
  'LIFETIME_UNKNOWN',
  'ROLE_UNKNOWN',
  'KEYS_NOT_REVOKED',
]);

/** Codes that a run can return after an operator action during the run. */
const CODES_DURING_A_RUN: ReadonlySet<string> = new Set([
  ...OPERATOR_CODES,
  'NEW_KEY_REJECTED',
  'CREDENTIAL_NOT_STORED',
  'SECRET_NOT_FOUND',
  'PERMISSION_MISSING',
]);

/** The operator's repair if no run can recover: applications have no key, no key can be renewed, or none can be minted. */
export function repair(bed: TestBed): void {
  const { secretManager, momento, secret, management, renewal } = bed;
  if (renewal === 'mint' && !momento.accepts(keyIn(secretManager.latest(management.name)))) {
    bed.operator(() => replaceManagementKey(bed));
  }
  if (!bed.canGoOn) {
    bed.operator(() => {
      if (!bed.exists) secretManager.createSecret(secret.name);
      add(bed);
    });
  }
}

function add({ secretManager, secret, newPayload }: TestBed): void {
  secretManager.addVersion(secret.name, newPayload());
}

/** Recreates the secret without versions. Returns false if the secret has no version. */
function recreate({ secretManager, secret }: TestBed): boolean {
  if (secretManager.versions(secret.name).length === 0) return false;
  secretManager.deleteSecret(secret.name);
  secretManager.createSecret(secret.name);
  return true;
}

/** Stores a superseded payload again, if there is one whose key still works. */
function storeAgain({ momento, secretManager, secret }: TestBed, chance: Draw): void {
  const payloads = secretManager
    .versions(secret.name)
    .slice(1)
    .flatMap(({ payload }) => payload ?? []);
  const working = payloads.filter((payload) => momento.accepts(keyIn(payload)));
  const payload = working[chance.below(working.length)];
  if (payload !== undefined) secretManager.addVersion(secret.name, payload);
}

function revoke({ momento }: TestBed, version: VersionView | undefined): void {
  const key = keyIn(version?.payload);
  if (momento.accepts(key)) momento.revoke(key);
}

function replaceManagementKey({ secretManager, momento, secret }: TestBed): void {
  const management = managementOf(secret.name);
  const key = mint(momento, management, 365 * DAY, 'r-operator');
  secretManager.addVersion(management, mintedPayload(key, 'api', 'management'));
}

function newest({ secretManager, secret }: TestBed): VersionView | undefined {
  return secretManager.versions(secret.name)[0];
}

function superseded(
  { secretManager, secret }: TestBed,
  chance: Draw,
  state: VersionView['state'],
): VersionView | undefined {
  const candidates = secretManager
    .versions(secret.name)
    .slice(1)
    .filter((version) => version.state === state);
  return candidates[chance.below(candidates.length)];
}

function setState(
  { secretManager, secret }: TestBed,
  version: VersionView | undefined,
  state: VersionView['state'],
): void {
  if (version === undefined || version.state === 'DESTROYED') return;
  secretManager.setState(secret.name, version.version, state);
}

function duringARun(
  { name, options }: Kind,
  action: OperatorAction,
  [method, n]: CallSite,
  when: Moment,
): Case {
  const title = `${name}: an operator ${action.name} ${when} ${method}#${n}`;
  return testCase(title, options, async (bed) => {
    const chance = new Chance(0);
    let hasActed = false as boolean;
    const first = await bed.run({
      onCall: (site) => {
        if (hasActed || site.method !== method || site.n !== n || site.when !== when) return;
        hasActed = true;
        bed.operator(() => action.do(bed, chance));
      },
    });
    const second = await bed.run();
    bed.secretManager.grant(bed.secret.name, EVERY_PERMISSION);
    repair(bed);
    bed.lostAnswers = 0;
    await bed.runLast();
    return [
      ...(hasActed ? [] : ['the call was not made']),
      ...[first, second].flatMap(({ code, outcome }) =>
        code === undefined || CODES_DURING_A_RUN.has(code)
          ? []
          : [`invariant 4: a run is ${outcome} ${code}`],
      ),
    ];
  });
}

export const operators: Group = {
  name: 'operators',
  title: 'an operator action around every call',
  concurrency: 4,
  cases: (extent) =>
    sample(
      [V1, V2, MINT, MINT_GRACE].flatMap((kind) => {
        const { renewal = 'v1' } = kind.options;
        const known = ACTIONS.filter(({ renewals }) => renewals?.includes(renewal) ?? true);
        // Permissions and invalid payloads are the same for all kinds.
        const actions = kind === V1 ? [...known, ...HARMFUL_ACTIONS] : known;
        return actions.flatMap((action) =>
          kind.calls.flatMap((call) => MOMENTS.map((when) => duringARun(kind, action, call, when))),
        );
      }),
      extent,
      23,
    ),
};
