/** How scenes begin: what the secret holds, which keys there are at Momento. */
import { randomBytes } from 'node:crypto';
import type { Key } from '../../emulators/account';
import type { MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import { ours } from './key-invariants';
import { mintedPayload, payloadOf, type Form } from './payloads';
import { DAY, HOUR, MINUTE, SECOND } from './stage';

/** How the key of a scene's secret is renewed: a v1 key or a v2 key by its refresh token, or by the management key. */
export type Kind = 'v1' | 'refresh' | 'mint';

/** What a secret whose keys are minted holds at the start. */
export type Start = 'minted' | 'of a person' | 'v1' | 'nothing';

/** The role of keys that are minted, and for how long. */
export const ROLE = 'r-viewer';
export const LIFETIME_MS = 30 * DAY;

export interface Beginning {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly name: string;
  readonly kind: Kind;
  readonly form: Form;
  readonly start: Start;
  /** How long ago the newest version was added, and how much longer its key lives. */
  readonly ageMs: number;
  readonly lifeLeftMs: number;
  readonly versionDestroyTtlMs: number | undefined;
}

interface Lifespan {
  readonly ageMs?: number;
  readonly lifeLeftMs?: number;
  readonly note?: string;
}

/** The secret of the management key of a scene's secret. */
export function managementOf(name: string): string {
  return `${name}-management`;
}

/** A credential as a person stores it. */
export function credential(
  { momento, kind, form }: Pick<Beginning, 'momento' | 'kind' | 'form'>,
  { ageMs = 0, lifeLeftMs = LIFETIME_MS, note = 'of a person' }: Lifespan = {},
): string {
  const lifetimeSeconds = (ageMs + lifeLeftMs) / SECOND;
  return ago(momento, ageMs, () => {
    if (kind !== 'v1') {
      const issued = momento.issueV2Key({ role: ROLE, lifetimeSeconds });
      return payloadOf(issued, form, note);
    }
    const { consoleJson } = momento.issueKey({ lifetimeSeconds });
    return JSON.stringify({ ...(JSON.parse(consoleJson) as object), note });
  });
}

/** Makes the secret, and all that belongs to it; returns what it holds that is secret, beside keys. */
export function begin(beginning: Beginning): string[] {
  const { secretManager, momento, name, kind, start, ageMs, versionDestroyTtlMs } = beginning;
  const note = randomBytes(12).toString('base64url');
  const now = momento.now();
  secretManager.createSecret(name, {
    ...(versionDestroyTtlMs !== undefined && { versionDestroyTtlMs }),
  });
  if (kind === 'mint') beginMint(beginning);
  if (kind === 'mint' && start === 'minted') beginMinted(beginning, note);
  else if (kind !== 'mint' || start !== 'nothing') {
    secretManager.addVersion(name, 'an older credential', {
      createTime: now - ageMs - DAY,
      state: 'DISABLED',
    });
    const newest = start === 'v1' ? ({ ...beginning, kind: 'v1' } as const) : beginning;
    secretManager.addVersion(name, credential(newest, { ...newest, note }), {
      createTime: now - ageMs,
    });
  }
  return [note];
}

/** A management key in a secret of its own, and keys that are none of ours, old enough to be taken for orphans. */
function beginMint({ secretManager, momento, name }: Beginning): void {
  const management = managementOf(name);
  const key = ago(momento, 2 * DAY, () =>
    mint(momento, management, 365 * DAY, { role: 'r-operator' }),
  );
  secretManager.createSecret(management);
  secretManager.addVersion(management, mintedPayload(key, 'api', 'management'), {
    createTime: momento.now() - 2 * DAY,
  });
  for (const description of [
    `${ours(name)}0`,
    `${ours(name)}-b`,
    `${ours(name)} `,
    ` ${ours(name)}`,
    ours(name).toUpperCase(),
    ours(`${name}/versions/1`),
    name,
    'of a person',
    '',
  ]) {
    ago(momento, 3 * DAY, () =>
      momento.issueV2Key({ role: ROLE, description, lifetimeSeconds: 'never' }),
    );
  }
}

/** Three versions that were minted, of which two are superseded, and an old and a young key that nobody holds. */
function beginMinted(
  { secretManager, momento, name, form, ageMs, lifeLeftMs }: Beginning,
  note: string,
): void {
  const now = momento.now();
  const add = (since: number, lifetimeMs: number, state: 'ENABLED' | 'DISABLED') => {
    const key = ago(momento, since, () => mint(momento, name, lifetimeMs));
    secretManager.addVersion(name, mintedPayload(key, form, note), {
      createTime: now - since,
      state,
    });
  };
  add(ageMs + 2 * DAY, ageMs + LIFETIME_MS, 'DISABLED');
  add(ageMs + DAY, ageMs + LIFETIME_MS, 'ENABLED');
  add(ageMs, ageMs + lifeLeftMs, 'ENABLED');
  for (const age of [2 * HOUR, 10 * MINUTE]) ago(momento, age, () => mint(momento, name));
}

/** A key as the rotator mints it for a secret. */
export function mint(
  { account }: MomentoEmulator,
  name: string,
  lifetimeMs = LIFETIME_MS,
  { role = ROLE } = {},
): Key {
  const expiresAt = Math.floor((account.now() + lifetimeMs) / SECOND);
  const terms = { role, description: ours(name), expiresAt, withRefreshToken: false };
  return account.issue(terms, 'call');
}

/** Does something as if it were some time ago. */
export function ago<T>(momento: MomentoEmulator, ms: number, act: () => T): T {
  const { now } = momento;
  momento.now = () => now() - ms;
  try {
    return act();
  } finally {
    momento.now = now;
  }
}
