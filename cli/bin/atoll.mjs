#!/usr/bin/env node
// Plain JavaScript, so that an older Node can start it and go on under a newer one.
import { fileURLToPath } from "node:url";
import { launch } from "../../scripts/launch.mjs";

launch([fileURLToPath(new URL("../src/main.ts", import.meta.url)), ...process.argv.slice(2)]);
