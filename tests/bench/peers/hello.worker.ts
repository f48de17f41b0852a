import { Hono } from "hono";

const app = new Hono();
app.get("/", (context) => context.text("hello world"));

export default app;
