/* global require */
// The floor: what functions-framework itself costs.
const functions = require('@google-cloud/functions-framework');

functions.http('rotate', (request, response) => {
  response.json({ results: [] });
});
