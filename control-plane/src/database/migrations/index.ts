import type { Migration } from "kysely/migration";
import { first } from "./0001-first.ts";
import { kvLeftovers } from "./0002-kv-leftovers.ts";
import { usage } from "./0003-usage.ts";
import { accountSettings } from "./0004-account-settings.ts";
import { kvQuotas } from "./0005-kv-quotas.ts";
import { tokenGrants } from "./0006-token-grants.ts";
import { auditTrail } from "./0007-audit-trail.ts";
import { accountQuota } from "./0008-account-quota.ts";
import { schedules } from "./0009-schedules.ts";
import { codeBlobs } from "./0010-code-blobs.ts";
import { installationKeys } from "./0011-installation-keys.ts";
import { fleetView } from "./0012-fleet-view.ts";
import { accountIndexes } from "./0013-account-indexes.ts";
import { domains } from "./0014-domains.ts";
import { pages } from "./0015-pages.ts";
import { moves } from "./0016-moves.ts";
import { usageDays } from "./0017-usage-days.ts";
import { routeHosts } from "./0018-route-hosts.ts";
import { controlPlanes } from "./0019-control-planes.ts";
import { usageDayKv } from "./0021-usage-day-kv.ts";
import { quotaChanges } from "./0022-quota-changes.ts";

/** Every step of the schema's history, run once each in the order of their names. Never edit one that was released. */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  "0001-first": first,
  "0002-kv-leftovers": kvLeftovers,
  "0003-usage": usage,
  "0004-account-settings": accountSettings,
  "0005-kv-quotas": kvQuotas,
  "0006-token-grants": tokenGrants,
  "0007-audit-trail": auditTrail,
  "0008-account-quota": accountQuota,
  "0009-schedules": schedules,
  "0010-code-blobs": codeBlobs,
  "0011-installation-keys": installationKeys,
  "0012-fleet-view": fleetView,
  "0013-account-indexes": accountIndexes,
  "0014-domains": domains,
  "0015-pages": pages,
  "0016-moves": moves,
  "0017-usage-days": usageDays,
  "0018-route-hosts": routeHosts,
  "0019-control-planes": controlPlanes,
  "0021-usage-day-kv": usageDayKv,
  "0022-quota-changes": quotaChanges,
};
