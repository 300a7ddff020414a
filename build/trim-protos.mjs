/**
 * Reduces protobuf definitions (the JSON form of protobufjs) to some methods of some services, and to the types that
 * those need. Throws if one of the methods is not there.
 */
export function trimProtos(root, services) {
  const kept = new Set();
  const methodsOf = new Map();
  for (const [service, methods] of Object.entries(services)) {
    const path = service.split('.');
    const { methods: all = {} } = at(root, path) ?? {};
    methodsOf.set(service, Object.fromEntries(methods.map((name) => [name, all[name]])));
    for (const name of methods) {
      if (all[name] === undefined) throw new Error(`${service} has no method ${name}`);
      keepType(all[name].requestType, path);
      keepType(all[name].responseType, path);
    }
  }
  return trim(root, []);

  function keepType(name, scope) {
    const path = resolve(root, name, scope);
    if (path === undefined || kept.has(path.join('.'))) return;
    kept.add(path.join('.'));
    const { fields = {} } = at(root, path);
    for (const { type, keyType } of Object.values(fields)) {
      if (keyType !== undefined) keepType(keyType, path);
      keepType(type, path);
    }
  }

  function trim(node, path) {
    const name = path.join('.');
    const nested = Object.entries(node.nested ?? {})
      .map(([key, child]) => [key, trim(child, [...path, key])])
      .filter(([, child]) => child !== undefined);
    const trimmed = {
      ...(kept.has(name) && node),
      ...(methodsOf.has(name) && { methods: methodsOf.get(name) }),
      nested: Object.fromEntries(nested),
    };
    if (nested.length === 0) delete trimmed.nested;
    return Object.keys(trimmed).length === 0 ? undefined : trimmed;
  }
}

/** The path of the type that `name` means where `scope` uses it; undefined for one that is built in. */
function resolve(root, name, scope) {
  const target = name.replace(/^\./, '').split('.');
  for (let depth = name.startsWith('.') ? 0 : scope.length; depth >= 0; depth -= 1) {
    const path = [...scope.slice(0, depth), ...target];
    if (at(root, path) !== undefined) return path;
  }
  return undefined;
}

function at(root, path) {
  return path.reduce((node, name) => node?.nested?.[name], root);
}
