/**
 * Google's client reads the definitions of error details anew for every error, and makes code for them: half of the
 * campaign's time would go there. Here it reads each file of definitions once.
 */
import { protobuf } from 'google-gax';

const { Root } = protobuf;
const roots = new WeakMap<object, protobuf.Root>();
const read = Root.fromJSON.bind(Root);

Root.fromJSON = (json, root) => {
  if (root !== undefined) return read(json, root);
  const known = roots.get(json) ?? read(json);
  roots.set(json, known);
  return known;
};
