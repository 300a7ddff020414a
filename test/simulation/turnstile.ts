/** Decides which of two runs at once makes the next call. */
import { RotationError } from '../../src/errors';
import type { KeySession, KeySource, SecretStore } from '../../src/rotation/ports';
import type { SecretName } from '../../src/secret-name';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { VirtualClock } from '../virtual-clock';
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
  readonly #clock: VirtualClock;
  #release = (): void => undefined;
  #underWay = 0;
  #running = 0;

  constructor({ secret, clock }: Pick<Scene, 'secret' | 'clock'>) {
    this.#secret = secret.name;
    this.#clock = clock;
  }

  /** Ports whose calls wait here for their turn. */
  ports(run: 0 | 1, store: SecretStore, keys: KeySource): { store: SecretStore; keys: KeySource } {
    const turn = <T>(call: string, touches: Touch, make: () => Promise<T>): Promise<T> =>
      this.#turn({ run, call, touches }, make);
    const reads = <T>(call: string, secret: SecretName, make: () => Promise<T>): Promise<T> =>
      // Nothing changes the management key here.
      secret.name === this.#secret ? turn(call, 'reads versions', make) : make();
    return {
      store: {
        access: (secret, version, limits) =>
          reads(`access ${version}`, secret, () => store.access(secret, version, limits)),
        get: (secret, version, limits) =>
          reads(`get ${version}`, secret, () => store.get(secret, version, limits)),
        list: (secret, limits) => reads('list', secret, () => store.list(secret, limits)),
        missingPermissions: (secret, permissions, limits) =>
          store.missingPermissions(secret, permissions, limits),
        permissionMissing: (secret, permissions) => store.permissionMissing(secret, permissions),
        add: (secret, payload, limits) =>
          turn('add', 'changes versions', () => store.add(secret, payload, limits)),
        disable: (secret, version, newer, limits) =>
          turn(`disable ${version.number}`, 'changes versions', () =>
            store.disable(secret, version, newer, limits),
          ),
        destroy: (secret, version, newer, limits) =>
          turn(`destroy ${version.number}`, 'changes versions', () =>
            store.destroy(secret, version, newer, limits),
          ),
      },
      keys: {
        vendor: keys.vendor,
        remedy: keys.remedy,
        parse: (payload) => keys.parse(payload),
        open: (managementKey) => this.#session(run, keys.open(managementKey)),
      },
    };
  }

  during<T>(work: Promise<T>): Promise<T> {
    if (this.#running === 0) this.#release = this.#clock.hold();
    this.#running += 1;
    return work.finally(() => {
      this.#running -= 1;
      if (this.#running === 0) this.#release();
    });
  }

  /** The calls that can be made next, once no run does anything but wait; none when both have ended. */
  async choices(): Promise<Waiting[]> {
    for (;;) {
      await this.#clock.idle();
      if (this.#underWay === 0 && this.#waitingRuns() === this.#running) break;
      // A run that waits for no turn sleeps.
      await this.#clock.step();
    }
    return [...this.#waiting.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #session(run: 0 | 1, session: KeySession): KeySession {
    const turn = <T>(call: string, touches: Touch, make: () => Promise<T>): Promise<T> =>
      this.#turn({ run, call, touches }, make);
    return {
      prepare: () => session.prepare(),
      nextKey: async (secret, current) => {
        const next = await session.nextKey(secret, current);
        if (next instanceof RotationError) return next;
        return {
          by: next.by,
          maxUnknownOutcomes: next.maxUnknownOutcomes,
          issue: (limits) => turn('issue', 'changes keys', () => next.issue(limits)),
          refusal: (error, context) => next.refusal(error, context),
        };
      },
      // Everybody knows a new key at once, so the time of its verification doesn't matter.
      verifyNew: (credential, limits) => session.verifyNew(credential, limits),
      verifyNewest: (credential, limits) => session.verifyNewest(credential, limits),
      verifyRejected: (credential, limits) => session.verifyRejected(credential, limits),
      listedState: (credential, limits) =>
        turn('list keys', 'reads keys', () => session.listedState(credential, limits)),
      ownKeys: (secret, limits) =>
        turn('list keys', 'reads keys', () => session.ownKeys(secret, limits)),
      revoke: async (keyIds, recheck, limits) => {
        let leave = (): void => undefined;
        try {
          return await session.revoke(
            keyIds,
            async (wanted) => {
              // The look before a revocation has turns of its own.
              const rechecked = await recheck(wanted);
              const call = `revoke ${rechecked.join(' ')}`;
              if (rechecked.length > 0) {
                leave = await this.#enter({ run, call, touches: 'changes keys' });
              }
              return rechecked;
            },
            limits,
          );
        } finally {
          leave();
        }
      },
      close: () => session.close(),
    };
  }

  #waitingRuns(): number {
    return new Set([...this.#waiting.values()].map(({ run }) => run)).size;
  }

  async #turn<T>(step: Step, make: () => Promise<T>): Promise<T> {
    const leave = await this.#enter(step);
    try {
      return await make();
    } finally {
      leave();
    }
  }

  /** Waits for a turn; returns what ends it. */
  async #enter(step: Step): Promise<() => void> {
    const label = `${'AB'.charAt(step.run)}:${step.call}`;
    const n = (this.#counts.get(label) ?? 0) + 1;
    this.#counts.set(label, n);
    const name = n === 1 ? label : `${label}(${n})`;
    await new Promise<void>((go) => this.#waiting.set(name, { ...step, name, go }));
    this.#waiting.delete(name);
    this.#underWay += 1;
    return () => (this.#underWay -= 1);
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
const stores = ([0, 1] as const).map((run) => ({ secretManager: { host }, clock }: Scene) => {
  const client = () => new SecretManagerStore({ emulator: host, clock });
  const pair = clients.get(host) ?? [client(), client()];
  clients.set(host, pair);
  return pair[run];
}) as [(played: Scene) => SecretManagerStore, (played: Scene) => SecretManagerStore];
