import type { Version } from './ports';

/** The version that `latest` names: the one added last, whatever its state. */
export function newestVersion(versions: readonly Version[]): Version | undefined {
  return byAge(versions).at(-1);
}

export function newestEnabledVersion(versions: readonly Version[]): Version | undefined {
  return byAge(versions).findLast(({ state }) => state === 'ENABLED');
}

/** Oldest first. Numbers are given in the order of creation, and unlike times they are never equal. */
export function byAge(versions: readonly Version[]): Version[] {
  return versions.toSorted((a, b) => a.number - b.number);
}
