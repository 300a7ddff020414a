/** Two runs whose calls happen one at a time, in an order that the case chooses. */
import { RotationError } from '../../src/errors';
import type { KeySession, KeySource, SecretStore } from '../../src/rotation/ports';
import type { SecretName } from '../../src/secret-name';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { override } from './override';
import type { Run, TestBed } from './test-bed';

/** One call that a run is about to make. */
export interface Step {
  readonly run: 0 | 1;
  readonly call: string;
  readonly touches: Touch;
}

/** The data that a call reads or changes. Two calls can change places if neither changes the other's data. */
type Touch = 'reads versions' | 'changes versions' | 'changes keys' | 'reads keys';

export interface Waiting extends Step {
  readonly name: string;
  readonly go: () => void;
}

export class Interleaving {
  readonly #waiting = new Map<string, Waiting>();
  readonly #counts = new Map<string, number>();
  #release = (): void => undefined;
  #underWay = 0;
  #running = 0;

  constructor(private readonly bed: TestBed) {}

  /**
   * Starts both runs. Their calls wait until they are chosen.
   *
   * @param bodies of their requests
   */
  start([one, other]: readonly [object?, object?] = []): Promise<Run>[] {
    this.#release = this.bed.clock.hold();
    const [first, second] = clientsOf(this.bed);
    return [this.#run(0, first, one), this.#run(1, second, other)];
  }

  /** Waits until each run waits for its next call or has ended. Returns the calls that can be next. */
  async choices(): Promise<Waiting[]> {
    for (;;) {
      await this.bed.clock.idle();
      if (this.#underWay === 0 && this.#waitingRuns() === this.#running) break;
      // A run that doesn't wait for its next call is sleeping.
      await this.bed.clock.step();
    }
    return [...this.#waiting.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async #run(run: 0 | 1, client: SecretStore, body?: object): Promise<Run> {
    this.#running += 1;
    const store = this.#store(run, client);
    const instance = this.bed.newInstance({ store, keys: this.#keys(run) });
    try {
      return await this.bed.runOn(instance, {}, body);
    } finally {
      this.#running -= 1;
      if (this.#running === 0) this.#release();
    }
  }

  #store(run: 0 | 1, store: SecretStore): SecretStore {
    const reads = <T>(call: string, secret: SecretName, make: () => Promise<T>): Promise<T> =>
      // No run changes the management key, so the order of its reads doesn't matter.
      secret.name === this.bed.secret.name
        ? this.#turn({ run, call, touches: 'reads versions' }, make)
        : make();
    const changes = <T>(call: string, make: () => Promise<T>): Promise<T> =>
      this.#turn({ run, call, touches: 'changes versions' }, make);
    return override(store, {
      access: (secret, version, limits) =>
        reads(`access ${version}`, secret, () => store.access(secret, version, limits)),
      get: (secret, version, limits) =>
        reads(`get ${version}`, secret, () => store.get(secret, version, limits)),
      list: (secret, limits) => reads('list', secret, () => store.list(secret, limits)),
      add: (...call) => changes('add', () => store.add(...call)),
      disable: (...call) => changes(`disable ${call[1].number}`, () => store.disable(...call)),
      destroy: (...call) => changes(`destroy ${call[1].number}`, () => store.destroy(...call)),
    });
  }

  #keys(run: 0 | 1): KeySource {
    const keys: KeySource = this.bed.newKeys();
    return override(keys, {
      open: (...args) => this.#session(run, keys.open(...args)),
    });
  }

  /** The order of verifications doesn't matter, because Momento accepts a new key at once. */
  #session(run: 0 | 1, session: KeySession): KeySession {
    const lists = <T>(make: () => Promise<T>): Promise<T> =>
      this.#turn({ run, call: 'list keys', touches: 'reads keys' }, make);
    return override(session, {
      nextKey: async (secret, current) => {
        const next = await session.nextKey(secret, current);
        if (next instanceof RotationError) return next;
        const step: Step = { run, call: 'issue', touches: 'changes keys' };
        return override(next, { issue: (limits) => this.#turn(step, () => next.issue(limits)) });
      },
      listedState: (...call) => lists(() => session.listedState(...call)),
      ownKeys: (...call) => lists(() => session.ownKeys(...call)),
      revoke: async (keyIds, confirm, limits) => {
        let leave = (): void => undefined;
        // The reads before a revocation have turns of their own.
        const confirmInTurn: typeof confirm = async (wanted) => {
          const confirmed = await confirm(wanted);
          const call = `revoke ${confirmed.join(' ')}`;
          if (confirmed.length > 0)
            leave = await this.#enter({ run, call, touches: 'changes keys' });
          return confirmed;
        };
        try {
          return await session.revoke(keyIds, confirmInTurn, limits);
        } finally {
          leave();
        }
      },
    });
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

  /** Waits until the case chooses this call. The returned function marks the end of the call. */
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

type Clients = readonly [SecretManagerStore, SecretManagerStore];

const clients = new Map<string, Clients>();

/** Each run has a client of its own, which is slow to make. */
function clientsOf({ secretManager: { host }, clock }: TestBed): Clients {
  const client = () => new SecretManagerStore({ emulator: host, clock });
  const pair = clients.get(host) ?? [client(), client()];
  clients.set(host, pair);
  return pair;
}
