import { afterAll, beforeAll } from "vitest";
import { PostgresServer } from "../test-support/postgres-server.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
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
    open: (clock) => PostgresOrigin.open({ url: server.url(database), clock, log }),
    remove: async () => {
      await server.query(database, `DROP SCHEMA ${SCHEMA} CASCADE`);
    },
  }),
});
