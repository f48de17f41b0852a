import { randomUUID } from "node:crypto";
import express, { type ErrorRequestHandler } from "express";
import { shelves } from "./shelves.ts";

export const app = express();

app.use(express.json({ limit: "16kb" }));
app.use((request, response, next) => {
  response.setHeader("x-request-id", request.get("x-request-id") ?? randomUUID());
  next();
});

app.get("/", (_request, response) => {
  response
    .type("text")
    .send("An Express app at the edge. Try /greet/you and /shelves/sea/books.\n");
});

app.get("/greet/:name", (request, response) => {
  // nodejs_compat puts the worker's vars into process.env.
  const greeting = process.env.GREETING ?? "Hi";
  response.json({ greeting: `${greeting}, ${request.params.name}!`, query: request.query });
});

app.post("/echo", (request, response) => {
  response.status(201).json({ received: request.body });
});

app.get("/old-greeting", (_request, response) => {
  response.redirect(301, "/greet/old-friend");
});

app.use("/shelves/:shelf/books", shelves);

app.use((request, response) => {
  response.status(404).json({ error: `nothing at ${request.method} ${request.path}` });
});

const onError: ErrorRequestHandler = (error: unknown, _request, response, _next) => {
  // Errors made by the body parser say with which status they want to be told.
  const status = error instanceof Error && "status" in error ? Number(error.status) : 500;
  response.status(status).json({ error: status < 500 ? String(error) : "internal error" });
};
app.use(onError);
