// `npm run check:all`: the check, and every test with nothing left out, also those that need a real server of S3.
// `ATOLL_TEST_S3` names one, with its keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; else Debian's radosgw is started.
import { CHECK_PROGRAMS, installPackages } from "./debian-packages.ts";
import { startRadosGateway } from "./rados-gateway.ts";
import { runSteps } from "./steps.ts";

installPackages(CHECK_PROGRAMS);
const isGiven = process.env["ATOLL_TEST_S3"] !== undefined;
const gateway = isGiven ? undefined : await startRadosGateway();
if (gateway !== undefined) {
  process.env["ATOLL_TEST_S3"] = gateway.endpoint;
  process.env["AWS_ACCESS_KEY_ID"] = gateway.credentials.accessKeyId;
  process.env["AWS_SECRET_ACCESS_KEY"] = gateway.credentials.secretAccessKey;
}
process.env["ATOLL_THOROUGH"] = "1";
await runSteps([
  { name: "check", command: process.execPath, arguments: ["scripts/check.ts", "--fast"] },
  { name: "all tests", command: "vitest", arguments: ["run", ...process.argv.slice(2)] },
]);
await gateway?.stop();
