import { randomBytes } from "node:crypto";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { Client } from "pg";
import { inject } from "vitest";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    /** Address of a server's own database, in the run of all tests on PostgreSQL. */
    postgresUrl?: string;
  }
}

/** Starts the server of the run; vitest calls it for the project `postgres`. Returns its end. */
export async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  const server = await PostgresServer.start();
  provide("postgresUrl", server.url("postgres"));
  return () => server.remove();
}

/** A new database for a test; `undefined` in any other run. */
export async function createRunDatabase(): Promise<string | undefined> {
  const url = inject("postgresUrl");
  if (url === undefined) return undefined;
  const name = `run_${randomBytes(8).toString("hex")}`;
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query(`CREATE DATABASE ${name}`);
  await client.end();
  return url.replace(/[^/]*$/, name);
}
