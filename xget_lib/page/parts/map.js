// The map: one cell for each node, in the order of names. State shows as shape and fill as well as color, so that it can
// be read without color: complete is full, downloading fills from below, waiting is empty, a cross has failed.

const STATES = {
  c: "complete", d: "downloading", w: "waiting", o: "outdated", f: "failed", i: "interrupted", l: "lost",
};
const SHARES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
const NAMED = 56;
const GONE = new Set(["f", "i", "l"]);
const collator = new Intl.Collator("en", { numeric: true });

const map = {
  canvas: byId("map"), pen: byId("map").getContext("2d"), colors: {},
  names: [], cells: "", order: [], drawn: [], columns: 1, step: 1, pitch: 1, chosen: -1, asked: 0,
};

function readColors() {
  for (const name of [...Object.values(STATES), "track", "ink", "quiet"]) map.colors[name] = color(name);
}

// One cell at x, y, with sides of `side`; `share` from 0 to 1.
function drawCell(pen, letter, share, x, y, side) {
  const state = letter.toLowerCase();
  const tint = map.colors[STATES[state]];
  const lag = letter !== state;
  pen.clearRect(x - 0.5, y - 0.5, side + 1, side + 1);
  pen.fillStyle = state === "c" ? tint : map.colors.track;
  pen.fillRect(x, y, side, side);
  pen.fillStyle = tint;
  pen.strokeStyle = tint;
  pen.lineWidth = Math.min(2, Math.max(1, side / 9));
  const line = pen.lineWidth / 2;
  if (state === "d") {
    const height = Math.round(side * share);
    pen.fillRect(x, y + side - height, side, height);
  }
  if ("wld".includes(state)) pen.strokeRect(x + line, y + line, side - 2 * line, side - 2 * line);
  const inset = side * 0.24;
  pen.beginPath();
  if (state === "f") {
    pen.moveTo(x + inset, y + inset); pen.lineTo(x + side - inset, y + side - inset);
    pen.moveTo(x + side - inset, y + inset); pen.lineTo(x + inset, y + side - inset);
  } else if (state === "l") {
    pen.moveTo(x + inset, y + side - inset); pen.lineTo(x + side - inset, y + inset);
  } else if (state === "i") {
    pen.moveTo(x + inset, y + side / 2); pen.lineTo(x + side - inset, y + side / 2);
  } else if (state === "o") {
    pen.moveTo(x, y); pen.lineTo(x + side, y + side); pen.lineTo(x, y + side);
    pen.fill();
  }
  pen.lineWidth = Math.max(1.5, side / 6);
  pen.stroke();
  if (lag) {
    pen.fillStyle = map.colors.ink;
    pen.beginPath();
    pen.arc(x + side / 2, y + side / 2, Math.max(1.5, side / 6), 0, 7);
    pen.fill();
  }
}

// Choose the largest cells for which all nodes fit, and draw everything.
function layOut() {
  const count = map.order.length;
  const width = map.canvas.clientWidth;
  if (!width) return;
  // Few nodes: some rows of large cells. Many: as high as cells of 9 pixels need, as long as the map fits on a screen.
  const room = Math.min(Math.max((81 * count) / width, 300), Math.max(width * 0.56, 700));
  let step = Math.max(3, Math.min(NAMED, Math.floor(Math.sqrt((width * room) / Math.max(count, 1)))));
  map.columns = Math.max(1, Math.floor(width / step));
  const rows = Math.ceil(count / map.columns);
  // The last row is as long as the others, or nearly.
  map.columns = Math.max(1, Math.ceil(count / Math.max(1, rows)));
  step = Math.min(72, Math.floor(width / map.columns));
  map.step = step;
  map.pitch = step + (step >= NAMED ? 16 : 0);
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  map.canvas.width = Math.round(width * scale);
  map.canvas.height = Math.round(rows * map.pitch * scale);
  map.canvas.style.height = `${rows * map.pitch}px`;
  map.pen.setTransform(scale, 0, 0, scale, 0, 0);
  map.drawn = new Array(count).fill("");
  drawMap();
  if (step >= NAMED) drawNames();
}

// Large cells have their names below them.
function drawNames() {
  map.pen.font = "11px system-ui, DejaVu Sans, sans-serif";
  map.pen.textAlign = "center";
  map.pen.fillStyle = map.colors.quiet;
  map.order.forEach((place, index) => {
    const x = (index % map.columns) * map.step + map.step / 2;
    const y = Math.floor(index / map.columns) * map.pitch + map.step + 9;
    map.pen.fillText(short(map.names[place], Math.floor(map.step / 7)), x, y);
  });
}

// Draw the cells that look different from before.
function drawMap() {
  const gap = map.step > 20 ? 4 : map.step > 10 ? 2 : 1;
  const side = map.step - gap;
  for (let index = 0; index < map.order.length; index += 1) {
    const place = map.order[index];
    const letter = map.cells[2 * place];
    const share = SHARES.indexOf(map.cells[2 * place + 1]) / 63;
    const key = `${letter}${letter === "d" || letter === "D" ? Math.round(side * share) : ""}${index === map.chosen ? "!" : ""}`;
    if (key === map.drawn[index]) continue;
    map.drawn[index] = key;
    const x = (index % map.columns) * map.step + gap / 2;
    const y = Math.floor(index / map.columns) * map.pitch + gap / 2;
    drawCell(map.pen, letter, share, x, y, side);
    if (index === map.chosen) {
      map.pen.strokeStyle = map.colors.ink;
      map.pen.lineWidth = 2;
      map.pen.strokeRect(x + 1, y + 1, side - 2, side - 2);
    }
  }
}

function namesChanged() {
  const chosen = map.order[map.chosen];
  map.order = [];
  map.names.forEach((name, place) => { if (name !== null) map.order.push(place); });
  map.order.sort((a, b) => collator.compare(map.names[a], map.names[b]) || a - b);
  map.chosen = chosen === undefined ? -1 : map.order.indexOf(chosen);
  layOut();
  if (map.chosen < 0) askWho();
}

function drawLegend() {
  const counts = {};
  for (let place = 0; place < map.names.length; place += 1) {
    const letter = map.cells[2 * place].toLowerCase();
    counts[letter] = (counts[letter] || 0) + 1;
  }
  const items = Object.keys(STATES).filter((letter) => counts[letter]).map((letter) => {
    const item = element("li");
    const sample = element("canvas");
    sample.width = sample.height = 24;
    drawCell(sample.getContext("2d"), letter, 0.55, 1, 1, 22);
    item.append(sample, element("b", counts[letter].toLocaleString("en")), STATES[letter]);
    return item;
  });
  byId("legend").replaceChildren(...items);
}

// Who is it? The details of a node are asked for when somebody points at it.
function choose(index) {
  if (index === map.chosen) return;
  map.chosen = index;
  drawMap();
  askWho();
}

function askWho() {
  clearTimeout(map.asked);
  const place = map.order[map.chosen];
  if (place === undefined) {
    if (!map.order.length) byId("who").replaceChildren("No node has registered yet.");
    else byId("who").replaceChildren("Point at a node, or walk with the arrow keys, to see what it does. N: the next one with a problem.");
    return;
  }
  byId("who").replaceChildren(element("b", map.names[place]));
  map.asked = setTimeout(() => showNode(place), 120);
}

async function showNode(place) {
  let node;
  try {
    const answer = await fetch(`/node.json?place=${place}`);
    if (!answer.ok) return;
    node = await answer.json();
  } catch { return; }
  if (map.order[map.chosen] !== place) return;
  const facts = [` ${node.state}, ${Math.floor(100 * node.share)} %`];
  if (node.rate) facts.push(`${size(node.rate)}/s`);
  if (node.fetched) facts.push(`${size(node.fetched)} fetched, ${size(node.from_master || 0)} of it from the master`);
  if (node.took) facts.push(`took ${duration(node.took)}`);
  if (node.left !== undefined) facts.push(`left ${duration(node.left)} ago`);
  if (node.lagging) facts.push(`lags: ${node.lagging}`);
  if (node.why) facts.push(node.why);
  byId("who").replaceChildren(element("b", node.place), facts.join(" · "));
}

function nextProblem() {
  const count = map.order.length;
  for (let step = 1; step <= count; step += 1) {
    const index = (Math.max(map.chosen, -1) + step) % count;
    const letter = map.cells[2 * map.order[index]];
    if (GONE.has(letter) || letter !== letter.toLowerCase()) return index;
  }
  return map.chosen;
}

function startMap() {
  const at = (event) => {
    const box = map.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / map.step);
    const index = Math.floor((event.clientY - box.top) / map.pitch) * map.columns + column;
    return column >= 0 && column < map.columns && index >= 0 && index < map.order.length ? index : -1;
  };
  map.canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") choose(at(event)); });
  map.canvas.addEventListener("pointerdown", (event) => choose(at(event)));
  map.canvas.addEventListener("keydown", (event) => {
    const last = map.order.length - 1;
    const moves = {
      ArrowRight: map.chosen + 1, ArrowLeft: map.chosen - 1, ArrowDown: map.chosen + map.columns,
      ArrowUp: map.chosen - map.columns, Home: 0, End: last,
    };
    if (last < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") choose(-1);
    else if (event.key === "n" || event.key === "N") choose(nextProblem());
    else if (event.key in moves) choose(Math.max(0, Math.min(last, moves[event.key])));
    else return;
    event.preventDefault();
  });
  let width = 0;
  new ResizeObserver(() => {
    if (map.canvas.clientWidth !== width) { width = map.canvas.clientWidth; layOut(); }
  }).observe(map.canvas);
  askWho();
}
