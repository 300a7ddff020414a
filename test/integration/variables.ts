import { parseConfig } from '../../src/config/config';
import { CHECKED_SETTINGS } from '../../src/config/variables';

/**
 * The names of the environment variables that configure the function, found by an environment that records reads. The variables
 * of proxies are conventions of the system.
 */
export function variablesRead(): string[] {
  const read = new Set<string>();
  const env = new Proxy<Record<string, string>>(
    {},
    {
      get(_, name) {
        read.add(String(name));
        return name === 'SECRETS' ? 'projects/p/secrets/s' : undefined;
      },
    },
  );
  parseConfig(env);
  return [...read].filter((name) => !CHECKED_SETTINGS.includes(name) && !/_proxy$/i.test(name));
}
