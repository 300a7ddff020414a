/** Ends a run at a call, as if its process were killed. Afterwards the run has no more effects. */
import type { Clock } from '../../src/clock';
import type { Site, TestBed } from './test-bed';

/**
 * Makes a request to an instance of its own, and kills the instance at a call.
 *
 * @returns whether the call was made
 */
export async function killAt(
  bed: TestBed,
  isReached: (site: Site) => boolean,
  body?: object,
): Promise<boolean> {
  let isKilled = false as boolean;
  let kill = (): void => undefined;
  const killed = new Promise<void>((resolve) => (kill = resolve));
  const never = new Promise<never>(() => undefined);
  /** The killed run never gets a result that arrives after the kill. */
  const unlessKilled = <T>(result: Promise<T>): Promise<T> =>
    result.then(
      (value) => (isKilled ? never : value),
      (error: unknown) => (isKilled ? never : Promise.reject(error as Error)),
    );
  const clock: Clock = {
    now: bed.clock.now,
    monotonic: bed.clock.monotonic,
    sleep: (...args) => unlessKilled(bed.clock.sleep(...args)),
  };
  const store = new Proxy(bed.store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) =>
        isKilled ? never : unlessKilled(Reflect.apply(value, target, args) as Promise<unknown>);
    },
  });
  const instance = bed.newInstance({ clock, store, keys: bed.newKeys(clock) });
  bed.onCalls((site) => {
    if (!isKilled && isReached(site)) {
      isKilled = true;
      kill();
    }
    // Calls that the killed process had sent before can still arrive.
    return isKilled ? { kind: 'drop', when: site.when } : undefined;
  });
  await Promise.race([bed.runOn(instance, {}, body), killed]);
  await bed.clock.idle();
  bed.onCalls(undefined);
  return isKilled;
}
