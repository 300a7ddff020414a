/** A secret's full resource name, taken apart. `location` is set for a regional secret only. */
export interface SecretName {
  /** `projects/P/secrets/S` or `projects/P/locations/L/secrets/S` */
  readonly name: string;
  readonly project: string;
  readonly location?: string | undefined;
  /** The short name: the last part of `name`. */
  readonly id: string;
}

// Secret ids: letters, digits, hyphens and underscores, at most 255 (Secret Manager API, Secret.name). A project is an
// id (which can have a domain, `example.com:id`) or a number.
const NAME =
  /^projects\/(?<project>[a-z0-9.:-]+)(?:\/locations\/(?<location>[a-z0-9-]+))?\/secrets\/(?<id>[A-Za-z0-9_-]{1,255})$/;

/** Reads a full resource name; undefined for any other text. */
export function parseSecretName(name: string): SecretName | undefined {
  const parts = NAME.exec(name)?.groups;
  if (parts?.project === undefined || parts.id === undefined) return undefined;
  return { name, project: parts.project, location: parts.location, id: parts.id };
}

/**
 * Whether two names can mean one secret. A project has an id and a number: Secret Manager's events contain the number, and the
 * configuration usually contains the id.
 */
export function isSameSecret(one: SecretName, other: SecretName): boolean {
  const [a, b] = [isNumber(one.project), isNumber(other.project)];
  const canBeSameProject = a === b ? one.project === other.project : true;
  return canBeSameProject && one.id === other.id && one.location === other.location;
}

function isNumber(project: string): boolean {
  return /^\d+$/.test(project);
}
