/**
 * The client of Secret Manager builds its schema again for each error, which takes 40 ms. A test file that imports this one
 * builds each schema once.
 */
import { protobuf } from 'google-gax';

const schemas = new Map<object, protobuf.Root>();
const build = protobuf.Root.fromJSON.bind(protobuf.Root);

protobuf.Root.fromJSON = (json, root) => {
  if (root !== undefined) return build(json, root);
  const schema = schemas.get(json) ?? build(json);
  schemas.set(json, schema);
  return schema;
};
