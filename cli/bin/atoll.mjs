#!/usr/bin/env node
// Plain JavaScript, so that an older Node can start it and go on under a newer one.
import { fileURLToPath } from "node:url";
import { launch } from "../../scripts/launch.mjs";
import { runtimeArguments } from "./runtime-arguments.mjs";

const given = process.argv.slice(2);
const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
launch([main, ...given], runtimeArguments(given[0]));
