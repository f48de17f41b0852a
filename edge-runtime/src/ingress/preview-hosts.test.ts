import { expect, test } from "vitest";
import { worker } from "./conformance/ingress-harness.ts";
import { findPreview } from "./preview-hosts.ts";
import { previewNameOf, previewTarget, workerOfTarget } from "./target-key.ts";

const HOSTS = new Map([
  ["shop.apps.example", worker("shop")],
  ["my-shop.apps.example", worker("my-shop")],
]);

test.each([
  ["0a1b2c3d-shop.apps.example", "shop", "0a1b2c3d"],
  ["feature-x-shop.apps.example", "shop", "feature-x"],
  // The more specific worker, as with routes.
  ["new-my-shop.apps.example", "my-shop", "new"],
])("preview hosts: %s is of %s by %s", (host, name, label) => {
  const target = previewTarget(worker(name), label);
  expect(findPreview(HOSTS, host)).toEqual({ worker: worker(name), target });
  expect([workerOfTarget(target), previewNameOf(target)]).toEqual([worker(name), label]);
});

test.each([
  "shop.apps.example",
  "-shop.apps.example",
  "x-shop.apps.example.org",
  "x-shop.other.example",
  "x.shop.apps.example",
  "x-other.apps.example",
  "x-shop",
  "",
])("preview hosts: '%s' is none", (host) => {
  expect(findPreview(HOSTS, host)).toBeUndefined();
  expect(findPreview(new Map(), host)).toBeUndefined();
});
