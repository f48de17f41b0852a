import { afterAll, beforeAll, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeAll(async () => {
  api = await ControlPlaneApi.start();
});
afterAll(() => api.close());

test.each([
  ["GET A/r2/buckets", /R2 buckets/],
  ["GET A/ai/models/search", /Workers AI/],
  ["GET A/ai-search/namespaces/default/instances", /AI Search/],
  ["GET A/mtls_certificates", /certificates/],
  ["GET A/browser-rendering/devtools/session", /Browser Rendering/],
  ["GET A/connectivity/directory/services", /VPC services/],
  ["GET A/email/routing/zones", /Email Routing/],
  ["GET /zones/example.com/email/routing/rules", /Email Routing/],
  ["GET A/challenges/widgets", /Turnstile/],
  ["GET A/flagship/apps", /Flagship/],
  ["PUT A/triggers/app", /triggers/],
  // By all that 'wrangler dev' asks for, of both releases.
  ["GET A/workers/subdomain/edge-preview", /'wrangler dev --remote'.*'atoll dev --remote-kv'/],
  ["GET A/workers/scripts/app/subdomain/edge-preview", /'wrangler dev --remote'/],
  ["GET /zones/example.com/workers/edge-preview", /'wrangler dev --remote'/],
  ["GET A/workers/workers/app/previews/feature", /'wrangler preview'.*'wrangler versions upload'/],
  ["POST A/pages/projects/site/deployments/1/tails", /'wrangler tail <project>'/],
  ["GET A/pages/projects/site/domains", /this part of Pages/],
])("unsupported: %s is refused by the name of the feature", async (call, name) => {
  const { status, errors } = await api.call(call);
  expect(errors).toMatchObject([{ code: 10_023, message: expect.stringMatching(name) }]);
  expect(errors[0]?.message).toMatch(/^Atoll does not support /);
  expect(status).toBe(400);
});
