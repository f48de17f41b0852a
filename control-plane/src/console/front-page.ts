import { html } from "hono/html";
import type { FleetStatus } from "../fleet/status.ts";
import { renderPage, type Html } from "./page.ts";

type WorkerRow = FleetStatus["workers"][number];
type NodeRow = FleetStatus["nodes"][number];

/**
 * The page at `/`: the nodes and their state, every worker with its links in each region, and how to
 * deploy. `environmentFile` is the file to `source`, where people who see the page have it.
 */
export function renderFrontPage(status: FleetStatus, environmentFile: string | undefined): Html {
  const { workers } = status;
  return renderPage(
    html`
      <header>
        <h1>Atoll</h1>
        <p>
          ${status.nodes.filter((node) => node.connected).length} of ${status.nodes.length} nodes
          connected, ${workers.length} ${workers.length === 1 ? "worker" : "workers"}, revision
          ${status.revision}
        </p>
      </header>
      <main>
        <h2>Nodes</h2>
        ${renderNodes(status)}
        <h2>Workers</h2>
        ${
          workers.length === 0 ? html`<p>None yet: deploy one as below.</p>` : renderWorkers(status)
        }
        <h2>Deploy</h2>
        <p>In the folder of any Workers project:</p>
        <pre><code>${environmentFile === undefined ? "" : `source ${environmentFile}\n`}npx wrangler deploy</code></pre>
      </main>
    `,
    html`<meta http-equiv="refresh" content="10" />`,
  );
}

function renderNodes(status: FleetStatus): Html {
  return html`<table>
    <thead>
      <tr>
        <th>Node</th>
        <th>Region</th>
        <th>State</th>
        <th>Revision</th>
        <th>Warm cells</th>
        <th>KV lag</th>
      </tr>
    </thead>
    <tbody>
      ${status.nodes.map((node) => renderNode(node, status.revision))}
    </tbody>
  </table>`;
}

function renderNode(node: NodeRow, revision: number): Html {
  const isCurrent = node.revision === revision;
  return html`<tr>
    <td>${node.name}</td>
    <td>${node.region}</td>
    <td>
      <span class="${node.connected ? "good" : "bad"}">
        ${node.connected ? "connected" : "not connected"}
      </span>
      ${node.failures.map(
        (failure) => html`<div class="bad">${failure.worker}: ${failure.reason}</div>`,
      )}
    </td>
    <td class="${isCurrent ? "" : "bad"}">${node.revision}</td>
    <td>${node.cells.length}</td>
    <td>${describeLag(node)}</td>
  </tr>`;
}

function describeLag(node: NodeRow): string {
  const lags = node.kv.flatMap((namespace) => namespace.lagMs ?? []);
  return lags.length === 0 ? "" : `${Math.round(Math.max(...lags))} ms`;
}

function renderWorkers(status: FleetStatus): Html {
  return html`<table>
    <thead>
      <tr>
        <th>Worker</th>
        <th>Version</th>
        <th>Open it in</th>
      </tr>
    </thead>
    <tbody>
      ${status.workers.map(
        (worker) =>
          html`<tr>
            <td>${worker.name}</td>
            <td><code>${worker.version.slice(0, 8)}</code> of ${worker.createdAt}</td>
            <td>${renderLinks(worker, status)}</td>
          </tr>`,
      )}
    </tbody>
  </table>`;
}

/** A link per route that a browser can follow and per node; other routes as text. */
function renderLinks(worker: WorkerRow, status: FleetStatus): ReadonlyArray<Html> {
  return worker.routes.map((route) => {
    const host = /^([^*/]+)\/\*$/.exec(route)?.[1];
    if (host === undefined) return html`<div><code>${route}</code></div>`;
    return html`<div>
      <code>${host}</code>
      ${status.nodes.flatMap((node) => {
        if (node.url === undefined) return [];
        const { protocol, port } = new URL(node.url);
        return html` <a href="${protocol}//${host}:${port}/">${node.region}</a>`;
      })}
    </div>`;
  });
}
