import { afterAll, beforeAll, expect, test } from "vitest";
import { Key, type KvOperation } from "../entry.ts";
import { NamespaceId } from "../names.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest } from "../state-digest.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { PostgresServer } from "../test-support/postgres-server.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { DEFAULT_HORIZON } from "./log-horizon.ts";
import { describeOrigin } from "./origin.conformance.ts";
import { PostgresOrigin } from "./postgres-origin.ts";
import { SCHEMA } from "./postgres-schema.ts";

const log = new RecordedLog();
let server: PostgresServer;
let database: string;
beforeAll(async () => {
  server = await PostgresServer.start();
  database = await server.createDatabase();
}, 60_000);
afterAll(() => server.remove());

describeOrigin("PostgresOrigin", {
  createPlace: async () => ({
    open: (clock, horizon = DEFAULT_HORIZON) =>
      PostgresOrigin.open({ url: server.url(database), clock, horizon, log }),
    remove: async () => {
      await server.query(database, `DROP SCHEMA ${SCHEMA} CASCADE`);
    },
  }),
});

// The layout of version 1, as databases out there have it.
const LAYOUT_1 = `
  CREATE SCHEMA atoll_kv;
  SET search_path = atoll_kv;
  CREATE TABLE layout (version integer NOT NULL);
  INSERT INTO layout VALUES (1);
  CREATE TABLE namespaces (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text NOT NULL UNIQUE,
    revision bigint NOT NULL DEFAULT 0,
    digest bytea NOT NULL,
    log_start bigint NOT NULL DEFAULT 0,
    log_start_digest bytea NOT NULL,
    log_bytes bigint NOT NULL DEFAULT 0
  );
  CREATE TABLE log_holds (namespace_id bigint PRIMARY KEY, until_ms bigint NOT NULL);
  CREATE TABLE removed_namespaces (id bigint PRIMARY KEY);
  CREATE TABLE entries (
    namespace_id bigint NOT NULL,
    key bytea NOT NULL,
    digest bytea NOT NULL,
    expires_at bigint,
    metadata bytea,
    blob_hash bytea,
    blob_size bigint,
    value bytea,
    PRIMARY KEY (namespace_id, key)
  );
  CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;
  CREATE TABLE log (
    namespace_id bigint NOT NULL,
    revision bigint NOT NULL,
    digest bytea NOT NULL,
    operation bytea NOT NULL,
    PRIMARY KEY (namespace_id, revision)
  );
`;

test("PostgresOrigin: a database of the first layout is taken over with all that it holds, and goes on", async () => {
  const namespace = NamespaceId.parse("a".repeat(32));
  const value = { kind: "inline", bytes: Buffer.from("1") } as const;
  const operation: KvOperation = { kind: "put", key: Key.parse("k"), value, metadata: "{}" };
  const state = new TrackedState(7);
  const { digest } = state.take([operation]);
  const entry = entryDigest(encodeOperation(operation)).toString("hex");
  const own = await server.createDatabase();
  await server.query(
    own,
    `${LAYOUT_1}
     INSERT INTO namespaces (namespace, revision, digest, log_start, log_start_digest, log_bytes)
       VALUES ('${namespace}', 7, '\\x${digest}', 5, '\\x${digest}', 99);
     INSERT INTO entries (namespace_id, key, digest, metadata, value)
       VALUES (1, 'k', '\\x${entry}', '{}', '1');
     INSERT INTO log VALUES (1, 6, '\\x${digest}', '\\x00'), (1, 7, '\\x${digest}', '\\x00');`,
  );
  const origin = await PostgresOrigin.open({
    ...{ url: server.url(own), clock: new ManualClock(), log },
  });
  const start = state.point;
  expect(await origin.point(namespace)).toEqual(start);
  const extent = await origin.administration.describe(namespace);
  expect(extent).toMatchObject({ keys: 1, bytes: 4, log: { records: 0, bytes: 0, start } });
  expect({ kind: "put", ...(await origin.get(namespace, "k")) }).toEqual({
    ...operation,
    revision: 7,
  });
  await origin.write(namespace, [{ kind: "delete", key: Key.parse("k") }]);
  const after = state.apply([{ kind: "delete", key: Key.parse("k") }]);
  expect(await origin.readLog(namespace, start)).toMatchObject({ records: [after] });
  expect(await origin.administration.describe(namespace)).toMatchObject({ keys: 0, bytes: 0 });
  await origin.close();
});
