import { parseConfig } from '../../src/config/config';

/** The names of the environment variables that the function reads, found by letting it read them. */
export function variablesRead(): string[] {
  const asked = new Set<string>();
  const env = new Proxy<Record<string, string>>(
    {},
    {
      get(_, name) {
        asked.add(String(name));
        return name === 'SECRETS' ? 'projects/p/secrets/s' : undefined;
      },
    },
  );
  parseConfig(env);
  return [...asked];
}
