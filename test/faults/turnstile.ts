/** Decides which of two runs at once makes the next call. */
import { RotationError } from '../../src/errors';
import type { KeySource, SecretStore } from '../../src/rotation/ports';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { Instance, Scene } from './scene';

/** One call that a run is about to make. */
export interface Step {
  readonly run: 0 | 1;
  readonly call: string;
  readonly touches: Touch;
}

/** What a call reads or changes: two calls of which neither changes what the other touches can change places. */
type Touch = 'reads versions' | 'changes versions' | 'changes keys' | 'reads keys';

export interface Waiting extends Step {
  readonly name: string;
  readonly go: () => void;
}

/** Lets two runs make their calls one at a time. */
export class Turnstile {
  readonly #waiting = new Map<string, Waiting>();
  readonly #counts = new Map<string, number>();
  readonly #secret: string;
  #underWay = 0;
  #running = 0;

  constructor({ secret }: Scene) {
    this.#secret = secret.name;
  }

  /** Ports whose calls wait here for their turn. */
  ports(run: 0 | 1, store: SecretStore, keys: KeySource): { store: SecretStore; keys: KeySource } {
    const turn = <T>(call: string, touches: Touch, make: () => Promise<T>): Promise<T> =>
      this.#turn({ run, call, touches }, make);
    return {
      store: {
        access: (secret, version) =>
          // Nothing changes the management key here.
          secret.name === this.#secret
            ? turn(`access ${version}`, 'reads versions', () => store.access(secret, version))
            : store.access(secret, version),
        list: (secret) => turn('list', 'reads versions', () => store.list(secret)),
        exists: (secret, version) =>
          turn('exists', 'reads versions', () => store.exists(secret, version)),
        missingPermissions: (secret, permissions) => store.missingPermissions(secret, permissions),
        permissionMissing: (secret, permissions) => store.permissionMissing(secret, permissions),
        add: (secret, payload) => turn('add', 'changes versions', () => store.add(secret, payload)),
        disable: (secret, version) =>
          turn(`disable ${version.number}`, 'changes versions', () =>
            store.disable(secret, version),
          ),
        destroy: (secret, version) =>
          turn(`destroy ${version.number}`, 'changes versions', () =>
            store.destroy(secret, version),
          ),
      },
      keys: {
        vendor: keys.vendor,
        remedy: keys.remedy,
        parse: (payload) => keys.parse(payload),
        open: (managementKey) => {
          const session = keys.open(managementKey);
          return {
            prepare: () => session.prepare(),
            renewal: async (secret, current) => {
              const renewal = await session.renewal(secret, current);
              if (renewal instanceof RotationError) return renewal;
              const issue = () => turn('issue', 'changes keys', () => renewal.issue());
              return { ...renewal, issue };
            },
            // A key that was issued is known to everybody at once, so when it is verified does not matter.
            verify: (credential) => session.verify(credential),
            ownKeys: (secret) => turn('list keys', 'reads keys', () => session.ownKeys(secret)),
            // A second look has turns of its own.
            revoke: async (keyId, confirm) =>
              (confirm === undefined || (await confirm())) &&
              turn(`revoke ${keyId}`, 'changes keys', () => session.revoke(keyId)),
            close: () => session.close(),
          };
        },
      },
    };
  }

  during<T>(work: Promise<T>): Promise<T> {
    this.#running += 1;
    return work.finally(() => (this.#running -= 1));
  }

  /** The calls that can be made next, once no run does anything but wait; none when both have ended. */
  async choices(): Promise<Waiting[]> {
    // A run that has neither a call under way nor one waiting is busy; a pause of the skipping clock is one round.
    for (let quiet = 0; quiet < 4 && this.#running > 0;) {
      await new Promise((resolve) => setImmediate(resolve));
      const isBusy = this.#underWay > 0 || this.#waitingRuns() < this.#running;
      quiet = isBusy ? 0 : quiet + 1;
    }
    return [...this.#waiting.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #waitingRuns(): number {
    return new Set([...this.#waiting.values()].map(({ run }) => run)).size;
  }

  async #turn<T>(step: Step, make: () => Promise<T>): Promise<T> {
    const label = `${'AB'.charAt(step.run)}:${step.call}`;
    const n = (this.#counts.get(label) ?? 0) + 1;
    this.#counts.set(label, n);
    const name = n === 1 ? label : `${label}(${n})`;
    await new Promise<void>((go) => this.#waiting.set(name, { ...step, name, go }));
    this.#waiting.delete(name);
    this.#underWay += 1;
    try {
      return await make();
    } finally {
      this.#underWay -= 1;
    }
  }
}

export function canChangePlaces(a: Step, b: Step): boolean {
  const [what, other] = [a.touches.split(' '), b.touches.split(' ')];
  return what[1] !== other[1] || (what[0] === 'reads' && other[0] === 'reads');
}

/** An instance of the function whose calls wait for their turn. */
export function instanceOf(played: Scene, turnstile: Turnstile, run: 0 | 1): Instance {
  return played.newInstance(turnstile.ports(run, stores[run](played), played.newKeys()));
}

const clients = new Map<string, readonly [SecretManagerStore, SecretManagerStore]>();
/** Each run has its own client. */
const stores = ([0, 1] as const).map((run) => ({ secretManager: { host } }: Scene) => {
  const pair = clients.get(host) ?? [new SecretManagerStore(host), new SecretManagerStore(host)];
  clients.set(host, pair);
  return pair[run];
}) as [(played: Scene) => SecretManagerStore, (played: Scene) => SecretManagerStore];
