import { randomUUID } from "node:crypto";
import type { Selectable } from "kysely";
import { z } from "zod";
import { nextNumber } from "../database/counters.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { LIMITS } from "../limits.ts";
import type { AuditEntry, AuditQuery, AuditRecord } from "./schemas.ts";

/** Stands in the trail for whoever has the control plane's data folder. */
export const OPERATOR = "operator";
/** Stands in an account's trail for another one, which took something by its better right. */
export const OTHER_ACCOUNT = "other-account";
/** Stands in the trail for what belongs to no account. */
export const FLEET = "fleet";

const StoredFacts = z.record(z.string(), z.unknown());

/** In whose name, and when. */
interface Occasion {
  readonly actor: {
    readonly account: string;
    readonly tokenId: string;
    readonly address?: string;
  };
  readonly now: string;
}

/** Who changed what. Rows are written with the change itself, and only ever removed for their age or number. */
export class AuditStore {
  async append(transaction: Transaction, entry: AuditEntry, occasion: Occasion): Promise<void> {
    const { actor, now } = occasion;
    const sequence = await nextNumber(transaction, `audit ${actor.account}`);
    const row = {
      id: randomUUID(),
      sequence,
      at: now,
      account_id: actor.account,
      token_id: actor.tokenId,
      address: actor.address ?? null,
      action: entry.action,
      subject: entry.subject,
      before: entry.before === undefined ? null : JSON.stringify(entry.before),
      after: entry.after === undefined ? null : JSON.stringify(entry.after),
    };
    await transaction.insertInto("audit").values(row).execute();
    const oldest = new Date(Date.parse(now) - LIMITS.auditKeptMs).toISOString();
    await transaction
      .deleteFrom("audit")
      .where("account_id", "=", actor.account)
      .where((row) =>
        row.or([row("sequence", "<=", sequence - LIMITS.auditRowsMax), row("at", "<", oldest)]),
      )
      .execute();
  }

  /** One page of what an account's trail has, the newest first. */
  async list(
    database: Database,
    account: string,
    query: AuditQuery,
  ): Promise<ReadonlyArray<AuditRecord>> {
    const { action, subject, token, since, until, cursor } = query;
    let rows = database.selectFrom("audit").selectAll().where("account_id", "=", account);
    if (action !== undefined) {
      rows = rows.where((row) =>
        row.or([
          row("action", "=", action),
          // From `worker.` to `worker/`, which comes right after all that begins so.
          row.and([row("action", ">", `${action}.`), row("action", "<", `${action}/`)]),
        ]),
      );
    }
    if (subject !== undefined) rows = rows.where("subject", "=", subject);
    if (token !== undefined) rows = rows.where("token_id", "=", token);
    if (since !== undefined) rows = rows.where("at", ">=", new Date(since).toISOString());
    if (until !== undefined) rows = rows.where("at", "<", new Date(until).toISOString());
    if (cursor !== undefined) rows = rows.where("sequence", "<", cursor);
    const found = await rows.orderBy("sequence", "desc").limit(query.limit).execute();
    return found.map(toRecord);
  }
}

function toRecord(row: Selectable<Schema["audit"]>): AuditRecord {
  const { sequence, at, address, action, subject } = row;
  const facts = (text: string | null) =>
    text === null ? null : StoredFacts.parse(JSON.parse(text));
  return {
    ...{ sequence, at, address, action, subject },
    account: row.account_id,
    token: row.token_id,
    before: facts(row.before),
    after: facts(row.after),
  };
}
