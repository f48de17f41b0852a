import { pino } from "pino";
import { describeIngress } from "../ingress.conformance.ts";
import { BuiltinIngress } from "./builtin-ingress.ts";

describeIngress("built-in ingress", {
  keepsHeaderCase: true,
  open: (options) => BuiltinIngress.open({ ...options, port: 0, log: pino({ level: "silent" }) }),
});
