import { httpServerHandler } from "cloudflare:node";
import { app } from "./app.ts";

// No socket is opened: the port only connects the server with the handler below.
const PORT = 8080;

app.listen(PORT);

export default httpServerHandler({ port: PORT });
