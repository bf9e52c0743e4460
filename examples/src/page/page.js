"use strict";
// Reads the JSON API and shows it. Paths are relative to <base>, which the server sets to the prefix that the browser sees.
const byId = id => document.getElementById(id);
const make = (tag, content, cls) => { const e = document.createElement(tag); if (content !== undefined) e.textContent = content; if (cls) e.className = cls; return e; };
const labels = m => { const { __name__: n = "", ...rest } = m || {}; const l = Object.entries(rest).map(([k, v]) => `${k}=${JSON.stringify(v)}`); return l.length ? `${n}{${l.join(", ")}}` : n || "{}"; };
const time = t => { const d = new Date(t); return !t || d.getUTCFullYear() < 1970 ? "" : d.toISOString().replace(".000Z", "Z"); };
const end = ms => ms <= -62135596800000 || ms < -8.6e15 ? "the beginning" : ms > 8.6e15 || ms >= 9223372036854775000 ? "no end" : time(ms);
const show = (...nodes) => byId("content").replaceChildren(...nodes);

function table(heads, rows) {
  const t = make("table"), wide = make("div", undefined, "wide");
  if (heads) { const tr = t.createTHead().insertRow(); heads.forEach(h => { const th = make("th", h); th.scope = "col"; tr.append(th); }); }
  const body = t.createTBody();
  rows.forEach(cells => { const tr = body.insertRow(); cells.forEach(c => { const [content, cls] = Array.isArray(c) ? c : [c]; const td = make("td", undefined, cls); td.append(content ?? ""); tr.append(td); }); });
  wide.append(t);
  return rows.length ? wide : make("p", "None.", "quiet");
}
const asked = query => {
  const url = document.querySelector("meta[name=query-url]").content, link = make("a", query);
  link.href = `${url ? `${url}/` : ""}graph?g0.expr=${encodeURIComponent(query)}`;
  return link;
};
const section = (title, ...nodes) => [make("h2", title), ...nodes];

async function api(path, options) {
  const answer = await fetch(`api/v1/${path}`, options);
  const body = answer.headers.get("content-type")?.includes("json") ? await answer.json() : null;
  if (!body) throw new Error(answer.status === 404 ? "This component does not answer this." : `${answer.status} ${answer.statusText}`);
  byId("notes").replaceChildren(...[...(body.warnings || []), ...(body.infos || [])].map(n => make("div", n, "note")));
  if (body.status !== "success") throw new Error(`${body.errorType}: ${body.error}`);
  return body.data;
}

async function graph() {
  const form = byId("form").content.cloneNode(true);
  const result = make("div"), status = make("p", "", "quiet");
  status.setAttribute("role", "status");
  show(form, status, result);
  const asked = new URLSearchParams(location.search);
  if (asked.get("g0.expr")) byId("query").value = asked.get("g0.expr");
  const run = async event => {
    if (event) event.preventDefault();
    const body = new URLSearchParams({ query: byId("query").value });
    if (byId("time").value) body.set("time", byId("time").value);
    status.textContent = "running"; result.replaceChildren();
    const started = performance.now();
    try {
      const { resultType, result: found } = await api("query", { method: "POST", body });
      const rows = resultType === "vector" ? found.map(s => [labels(s.metric), s.value ? s.value[1] : JSON.stringify(s.histogram[1])])
        : resultType === "matrix" ? found.map(s => [labels(s.metric), [...(s.values || []).map(v => `${v[1]} @${v[0]}`), ...(s.histograms || []).map(h => `${JSON.stringify(h[1])} @${h[0]}`)].join("\n")])
        : [[resultType, found[1]]];
      result.replaceChildren(table(null, rows));
      status.textContent = `${rows.length} rows in ${Math.round(performance.now() - started)} ms`;
    } catch (error) { status.replaceChildren(make("span", error.message, "error")); }
  };
  byId("ask").addEventListener("submit", run);
  await run();
}

const pages = {
  graph: ["Query", graph],
  stores: ["Stores", async () => {
    const found = await api("stores");
    const groups = Object.entries(found).filter(([, stores]) => stores.length);
    if (!groups.length) return show(make("p", "None.", "quiet"));
    show(...groups.flatMap(([kind, stores]) => section(kind, table(["Endpoint", "Status", "Label sets", "From", "Until", "Last check", "Last error"],
      stores.map(s => [s.name, s.lastError ? ["down", "down"] : ["up", "up"], (s.labelSets || []).map(labels).join("\n"), end(s.minTime), end(s.maxTime), time(s.lastCheck), [s.lastError ? (s.lastError.message || s.lastError) : "", "error"]])))));
  }],
  alerts: ["Alerts", async () => {
    const { alerts } = await api("alerts");
    show(table(["State", "Labels", "Annotations", "Value", "Active since"], (alerts || []).map(a => [[a.state, a.state], labels(a.labels), labels(a.annotations), a.value, time(a.activeAt)])));
  }],
  rules: ["Rules", async () => {
    const { groups } = await api("rules");
    if (!(groups || []).length) return show(make("p", "None.", "quiet"));
    show(...groups.flatMap(g => section(`${g.file} > ${g.name}`, table(["Kind", "Name", "Query", "Health", "Last error"], (g.rules || []).map(r => [r.type, r.name, asked(r.query), [r.state || r.health, r.state || r.health], [r.lastError || "", "error"]])))));
  }],
  targets: ["Targets", async () => {
    const { activeTargets: active } = await api("targets");
    show(table(["Endpoint", "State", "Labels", "Last scrape", "Error"], (active || []).map(t => [t.scrapeUrl, [t.health, t.health], labels(t.labels), time(t.lastScrape), [t.lastError || "", "error"]])));
  }],
  status: ["Status", async () => {
    const [runtime, build] = await Promise.all([api("status/runtimeinfo"), api("status/buildinfo")]);
    const rows = o => table(null, Object.entries(o).filter(([, v]) => v !== "").map(([k, v]) => [k, String(v)]));
    show(...section("Runtime", rows(runtime)), ...section("Build", rows(build)));
  }],
  flags: ["Flags", async () => show(table(null, Object.entries(await api("status/flags")).map(([k, v]) => [`--${k}`, v])))],
  "tsdb-status": ["TSDB status", async () => {
    const all = await api("status/tsdb");
    const of = (status, name) => [
      ...(status.headStats ? section(`${name}Head`, table(null, Object.entries(status.headStats).map(([k, v]) => [k, String(v)]))) : []),
      ...Object.entries(status).filter(([, v]) => Array.isArray(v)).flatMap(([k, v]) => section(name + k, table(null, v.map(s => [s.name, String(s.value)])))),
    ];
    show(...(all.headStats ? of(all, "") : Object.entries(all).flatMap(([tenant, status]) => of(status, `${tenant}: `))));
  }],
};

async function start() {
  const name = location.pathname.replace(/\/+$/, "").split("/").pop();
  const page = name in pages ? name : "graph";
  const [title, render] = pages[page];
  for (const [path, [text]] of Object.entries(pages)) {
    const link = make("a", text);
    link.href = path;
    if (path === page) link.setAttribute("aria-current", "page");
    byId("links").append(link);
  }
  document.title = `${title} - Thanos`;
  byId("title").textContent = title;
  try { await render(); } catch (error) { show(make("p", error.message, "error")); }
}
start();
