// The stream of events, and what is said in words.

const shown = { status: null, summary: null, heard: 0, closed: false };

function showStatus(facts) {
  const { status, summary, problem } = facts;
  const isMaster = status.role === "master";
  document.title = `${isMaster && summary.percent !== null ? `${Math.floor(summary.percent)} % · ` : ""}${status.path} · XGet`;
  say("path", status.path);
  const about = [`${status.role} on ${status.host}, port ${status.port}`];
  if (status.master) about.push(`of ${status.master}`);
  about.push(status.generation ? `generation ${status.generation.slice(0, 16)}` : "no generation yet");
  if (status.files !== null) about.push(`${counted(status.files, "file")}, ${size(status.bytes)}`);
  about.push(`up ${duration(status.seconds)}`);
  say("about", about.join(" · "));
  const wrong = problem || status.problem || status.nursery_problem || "";
  byId("problem").hidden = !wrong;
  say("problem", wrong);
  say("version", `XGet ${status.version}`);
  say("all-name", isMaster ? "all nodes" : "fetched by this node");
  say("sent-name", isMaster ? "sent by the master" : "sent by this node");
  byId("map-card").hidden = !isMaster;
  showProgress(status, summary, isMaster);
}

function showProgress(status, summary, isMaster) {
  say("percent", summary.percent === null ? "–" : String(Math.floor(summary.percent)));
  say("rate", `${size(summary.rate)}/s`);
  say("fetched", size(summary.fetched));
  say("direct", summary.fetched ? share(summary.from_master / summary.fetched) : "–");
  const { states, left } = summary;
  const bad = ["failed", "interrupted", "lost"].map((name) => [name, (states[name] || 0) + (left[name] || 0)]);
  const said = isMaster
    ? [`${(states.complete || 0).toLocaleString("en")} of ${counted(summary.nodes, "node")} complete`]
    : [Object.keys(states)[0] || "waiting"];
  for (const [name, count] of bad) if (count && isMaster) said.push(`${count.toLocaleString("en")} ${name}`);
  if (summary.lagging) said.push(`${summary.lagging.toLocaleString("en")} lagging`);
  say("sentence", said.join(" · "));
  const bar = byId("bar");
  const names = ["complete", "downloading", "waiting", "outdated", "failed", "interrupted", "lost"];
  if (!bar.children.length) bar.append(...names.map(() => element("i")));
  names.forEach((name, index) => {
    const gone = index > 3 ? left[name] || 0 : 0;
    // A client has one state: its bar shows how much it has.
    const done = name in states ? summary.percent || 0 : name === "lost" ? 100 - (summary.percent || 0) : 0;
    const part = isMaster ? (states[name] || 0) + gone : done;
    const piece = bar.children[index];
    piece.style.flexGrow = part;
    piece.style.background = isMaster || name in states ? `var(--${name})` : "none";
    piece.hidden = !part;
  });
  bar.setAttribute("aria-label", said.join(", "));
}

function showProblems(summary) {
  const items = [];
  const item = (kind, head, why) => {
    const made = element("li", "", kind);
    made.append(element("b", head), " ", element("span", why, "why"));
    items.push(made);
  };
  for (const failure of summary.failures) {
    const more = failure.nodes > failure.named.length ? ", …" : "";
    item("failed", `${counted(failure.nodes, "node")}: ${failure.why}`, failure.named.join(", ") + more);
  }
  if (summary.other_failures) item("failed", `${counted(summary.other_failures, "node")}: other reasons`, "");
  for (const node of summary.stragglers) item("lag", node.node, `${Math.floor(node.percent)} %, ${size(node.rate)}/s: ${node.why}`);
  if (summary.lagging > summary.stragglers.length) item("lag", `${summary.lagging - summary.stragglers.length} more lag`, "");
  if (!items.length) items.push(element("li", "Nothing: no node has failed, and none lags.", "empty"));
  replaceIfNew("look", items);
}

function showLines(lines) {
  const items = [...lines].reverse().map((line) => {
    const made = element("li", "", line.level);
    made.append(element("b", `${new Date(1000 * line.time).toLocaleTimeString()} ${line.level}`), " ", element("span", line.text, "why"));
    return made;
  });
  if (!items.length) items.push(element("li", "Nothing was logged as a warning or an error.", "empty"));
  replaceIfNew("log", items);
}

// A list that says the same as before stays as it is, with what a reader has selected or scrolled to.
function replaceIfNew(id, items) {
  const list = byId(id);
  const text = items.map((item) => `${item.className}${item.textContent}`).join("\n");
  if (list.shown === text) return;
  list.shown = text;
  list.replaceChildren(...items);
}

function receive(facts, isAll) {
  shown.heard = Date.now();
  if (isAll) {
    map.names = facts.names;
    chart.samples = facts.history;
  } else {
    for (const [place, name] of Object.entries(facts.names || {})) map.names[place] = name;
    if (facts.sample) addSample([facts.sample.time, facts.sample.fetched, facts.sample.sent]);
  }
  if (facts.cells !== undefined) map.cells = facts.cells;
  if (document.hidden && !isAll) {
    shown.late = shown.late || Boolean(facts.names);
    if (facts.flows) flow.facts = facts.flows;
    shown.last = facts;
    return;
  }
  show(facts, isAll || Boolean(facts.names));
}

function show(facts, namesAreNew) {
  shown.last = facts;
  showStatus(facts);
  showProblems(facts.summary);
  showLines(facts.lines);
  if (!byId("map-card").hidden) {
    if (namesAreNew) namesChanged();
    else drawMap();
    drawLegend();
    if (map.chosen >= 0) showNode(map.order[map.chosen]);
  }
  if (facts.flows) { flow.facts = facts.flows; drawFlow(); }
  drawChart();
}

function showLive(isLive) {
  byId("live").classList.toggle("live", isLive);
  say("live", isLive ? "live" : "not connected");
}

function drawAll() {
  readColors();
  layOut();
  drawLegend();
  drawFlow();
  drawChart();
}

function start() {
  readColors();
  startMap();
  const source = new EventSource("/events");
  source.addEventListener("open", () => showLive(true));
  source.addEventListener("error", () => showLive(false));
  source.addEventListener("all", (event) => receive(JSON.parse(event.data), true));
  source.addEventListener("change", (event) => receive(JSON.parse(event.data), false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  new ResizeObserver(() => { drawFlow(); drawChart(); }).observe(byId("flow"));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !shown.last) return;
    show({ ...shown.last, flows: flow.facts }, true);
  });
}

start();
