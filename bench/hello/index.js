/* global require */
// An empty function, which measures functions-framework itself.
const functions = require('@google-cloud/functions-framework');

functions.http('rotate', (request, response) => {
  response.json({ results: [] });
});
