/** What the control plane and the nodes agree on: names, workers and versions, and the messages between them. */
export * from "./names.ts";
export * from "./worker.ts";
export * from "./fleet-messages.ts";
