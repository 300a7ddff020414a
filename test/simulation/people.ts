/** What people do to a secret, its keys, and the management key: at any time, and each thing once. */
import type { VersionView } from '../../emulators/secret-manager';
import { managementOf, mint, type Kind } from './beginnings';
import { keyIn, mintedPayload } from './payloads';
import type { Chance } from './random';
import type { Scene } from './scene';
import { DAY } from './stage';

export interface PersonsAct {
  readonly name: string;
  readonly kinds: readonly Kind[];
  readonly do: (played: Scene, chance: Pick<Chance, 'below'>) => void;
}

const ALL: readonly Kind[] = ['v1', 'refresh', 'mint'];
const MINT: readonly Kind[] = ['mint'];

export const PEOPLE: readonly PersonsAct[] = [
  { name: 'adds a credential', kinds: ALL, do: add },
  {
    name: 'disables the newest',
    kinds: ALL,
    do: (played) => setState(played, versionsOf(played)[0], 'DISABLED'),
  },
  {
    name: 'disables an older one',
    kinds: ALL,
    do: (played, chance) => setState(played, older(played, chance, 'ENABLED'), 'DISABLED'),
  },
  {
    name: 'enables an older one',
    kinds: ALL,
    do: (played, chance) => setState(played, older(played, chance, 'DISABLED'), 'ENABLED'),
  },
  {
    name: 'destroys an older one',
    kinds: ALL,
    do: (played, chance) => setState(played, older(played, chance, 'DISABLED'), 'DESTROYED'),
  },
  { name: 'puts an older payload back', kinds: ALL, do: putBack },
  {
    name: 'revokes the newest key',
    kinds: ALL,
    do: (played) => revoke(played, versionsOf(played)[0]),
  },
  {
    name: 'revokes an older key',
    kinds: ['refresh', 'mint'],
    do: (played, chance) => revoke(played, older(played, chance, 'ENABLED')),
  },
  {
    name: 'deletes the secret and makes it anew',
    kinds: ALL,
    do: (played) => {
      if (versionsOf(played).length > 0) played.secretManager.deleteSecret(played.secret.name);
      else return;
      played.secretManager.createSecret(played.secret.name);
      add(played);
    },
  },
  {
    name: 'makes a key for another secret',
    kinds: MINT,
    do: ({ momento, secret }) => void mint(momento, `${secret.name}1`),
  },
  {
    name: 'disables the management key',
    kinds: MINT,
    do: (played) => disableManagement(played),
  },
  { name: 'replaces the management key', kinds: MINT, do: replaceManagement },
  {
    name: 'revokes the management key',
    kinds: MINT,
    do: (played) => {
      const payload = played.secretManager.latest(managementOf(played.secret.name));
      const key = payload && played.momento.account.find(keyIn(payload) ?? '');
      if (key !== undefined) played.momento.account.revoke(key.info.key_id, 'person');
    },
  },
];

/** What a person does where no run can put things right: readers have no key, no key can be renewed, or none be made. */
export function mend(played: Scene): void {
  const { secretManager, momento, secret, kind } = played;
  if (kind === 'mint') {
    const payload = secretManager.latest(managementOf(secret.name));
    if (payload === undefined || !momento.accepts(keyIn(payload) ?? '')) {
      played.person(() => replaceManagement(played));
    }
  }
  if (!played.canGoOn) played.person(() => add(played));
}

function add(played: Scene): void {
  played.secretManager.addVersion(played.secret.name, played.credential());
}

/** An older payload, of which the key still works if there is such a one. */
function putBack(played: Scene, chance: Pick<Chance, 'below'>): void {
  const { momento, secretManager, secret } = played;
  const payloads = versionsOf(played)
    .slice(1)
    .flatMap(({ payload }) => (payload === undefined ? [] : [payload]));
  const working = payloads.filter((payload) => momento.accepts(keyIn(payload) ?? ''));
  const payload = working[chance.below(working.length)];
  if (payload !== undefined) secretManager.addVersion(secret.name, payload);
}

function revoke({ momento }: Scene, version: VersionView | undefined): void {
  const key = version?.payload && keyIn(version.payload);
  if (key !== undefined && momento.accepts(key)) momento.revoke(key);
}

function disableManagement({ secretManager, secret }: Scene): void {
  const management = managementOf(secret.name);
  const [newest] = secretManager.versions(management);
  if (newest?.state === 'ENABLED') secretManager.setState(management, newest.version, 'DISABLED');
}

function replaceManagement({ secretManager, momento, secret }: Scene): void {
  const management = managementOf(secret.name);
  const key = mint(momento, management, 365 * DAY, { role: 'r-operator' });
  secretManager.addVersion(management, mintedPayload(key, 'api', 'management'));
}

function versionsOf({ secretManager, secret }: Scene): VersionView[] {
  return secretManager.versions(secret.name);
}

function older(
  played: Scene,
  chance: Pick<Chance, 'below'>,
  state: VersionView['state'],
): VersionView | undefined {
  const candidates = versionsOf(played)
    .slice(1)
    .filter((version) => version.state === state);
  return candidates[chance.below(candidates.length)];
}

function setState(
  { secretManager, secret }: Scene,
  version: VersionView | undefined,
  state: VersionView['state'],
): void {
  if (version === undefined || version.state === 'DESTROYED') return;
  secretManager.setState(secret.name, version.version, state);
}
