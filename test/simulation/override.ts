/** An object like `real` with other methods in place of some of its own. */
export function override<T extends object>(real: T, methods: Partial<T>): T {
  return new Proxy(real, {
    get: (target, name) => {
      const owner = name in methods ? methods : target;
      const value: unknown = Reflect.get(owner, name, owner);
      return typeof value === 'function' ? (value.bind(owner) as unknown) : value;
    },
  });
}
