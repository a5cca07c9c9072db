// The flow: givers on the left, takers on the right, and a ribbon between them as thick as what was given. With more than
// 16 nodes each row stands for a group of them.

const MASTER = -1;
const OTHERS = -2;
const flow = { facts: { rows: [], flows: [] }, ribbons: [] };

function rowName(row) {
  if (row === MASTER) return "master";
  if (row === OTHERS) return "others";
  const { first, last, nodes } = flow.facts.rows[row];
  if (nodes === 1) return first;
  // node001 and node042 are node001–042.
  let same = 0;
  while (same < first.length && first[same] === last[same] && !/\d/.test(first[same])) same += 1;
  return `${first}–${last.slice(same) || last}`;
}

// A name that fits into the margin: the end says most, where names begin alike.
function short(name, letters) {
  return name.length <= letters ? name : `…${name.slice(name.length - letters + 1)}`;
}

function drawFlow() {
  const picture = byId("flow");
  const { flows, rows } = flow.facts;
  const width = picture.clientWidth;
  const height = picture.clientHeight;
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  flow.ribbons = [];
  if (!flows.length || !width) {
    const text = svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" });
    text.textContent = "Nothing was fetched.";
    picture.replaceChildren(text);
    return;
  }
  const given = new Map();
  const taken = new Map();
  for (const [giver, taker, bytes] of flows) {
    given.set(giver, (given.get(giver) || 0) + bytes);
    taken.set(taker, (taken.get(taker) || 0) + bytes);
  }
  const margin = Math.min(150, Math.max(70, width * 0.24));
  const givers = [...given.keys()].sort((a, b) => (a === OTHERS) - (b === OTHERS) || a - b);
  const takers = [...taken.keys()].sort((a, b) => a - b);
  const most = 80 * Math.max(givers.length, takers.length);
  const left = column(givers, given, height, most);
  const right = column(takers, taken, height, most);
  const parts = [];
  // In the order of rows on both sides, so that ribbons cross as little as they can.
  const ordered = [...flows].sort((a, b) => givers.indexOf(a[0]) - givers.indexOf(b[0]) || a[1] - b[1]);
  for (const [giver, taker, bytes] of ordered) {
    const from = left.get(giver);
    const to = right.get(taker);
    const thick = [bytes * from.scale, bytes * to.scale];
    const [x1, x2] = [margin + 8, width - margin - 8];
    const middle = (x1 + x2) / 2;
    const [y1, y2] = [from.used, to.used];
    from.used += thick[0];
    to.used += thick[1];
    const path = `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}V${y2 + thick[1]}C${middle} ${y2 + thick[1]} ${middle} ${y1 + thick[0]} ${x1} ${y1 + thick[0]}Z`;
    const ribbon = svg("path", { d: path, class: `ribbon ${kindOf(giver)}` });
    flow.ribbons.push({ ribbon, giver, taker, bytes });
    parts.push(ribbon);
  }
  parts.push(...labels(left, margin, given, true), ...labels(right, width - margin - 8, taken, false));
  picture.replaceChildren(...parts);
  picture.setAttribute("aria-label", flowText());
  say("flow-note", rows.some((row) => row.nodes > 1) ? `${counted(rows.length, "group")} of nodes, by name` : "in the last run of each node");
  sayFlow();
}

function kindOf(row) {
  return row === MASTER ? "master" : row === OTHERS ? "others" : "";
}

// Where each row of a column stands: heights follow the bytes, but none is thinner than a line.
function column(rows, bytes, room, most) {
  const height = Math.min(room, most);
  const gap = rows.length > 1 ? Math.min(6, (height * 0.25) / (rows.length - 1)) : 0;
  const least = 4;
  const shared = height - gap * (rows.length - 1) - least * rows.length;
  const total = rows.reduce((sum, row) => sum + bytes.get(row), 0);
  const placed = new Map();
  let top = (room - height) / 2;
  for (const row of rows) {
    const tall = least + (shared * bytes.get(row)) / total;
    placed.set(row, { top, tall, used: top, scale: tall / bytes.get(row) });
    top += tall + gap;
  }
  return placed;
}

// Where labels stand: each beside its row, but none over another.
function labelHeights(placed, height) {
  const rows = [...placed.values()];
  const heights = rows.map(({ top, tall }) => top + tall / 2 + 4);
  const apart = Math.min(13, height / rows.length);
  for (let i = 1; i < heights.length; i += 1) heights[i] = Math.max(heights[i], heights[i - 1] + apart);
  heights[heights.length - 1] = Math.min(heights[heights.length - 1], height);
  for (let i = heights.length - 2; i >= 0; i -= 1) heights[i] = Math.min(heights[i], heights[i + 1] - apart);
  return heights;
}

function labels(placed, x, bytes, isLeft) {
  const heights = labelHeights(placed, byId("flow").clientHeight);
  return [...placed].map(([row, { top, tall }], index) => {
    const name = rowName(row);
    const group = svg("g", { tabindex: 0, role: "img", "aria-label": `${name} ${isLeft ? "gave" : "got"} ${size(bytes.get(row))}` });
    const block = svg("rect", { x, y: top, width: 8, height: tall, rx: 2, class: `row ${kindOf(row)}` });
    const text = svg("text", { x: isLeft ? x - 6 : x + 14, y: heights[index], "text-anchor": isLeft ? "end" : "start" });
    text.textContent = short(name, Math.floor((isLeft ? x : byId("flow").clientWidth - x) / 7.4) - 1);
    const target = svg("rect", { x: isLeft ? 0 : x, y: top, width: isLeft ? x + 8 : byId("flow").clientWidth - x, height: tall, fill: "transparent" });
    group.append(block, text, target);
    const show = () => highlight(row, isLeft);
    for (const event of ["pointerenter", "focus"]) group.addEventListener(event, show);
    for (const event of ["pointerleave", "blur"]) group.addEventListener(event, () => highlight(null, isLeft));
    return group;
  });
}

function highlight(row, isLeft) {
  for (const { ribbon, giver, taker } of flow.ribbons) {
    const mine = (isLeft ? giver : taker) === row;
    ribbon.classList.toggle("strong", mine);
    ribbon.classList.toggle("faint", row !== null && !mine);
  }
  sayFlow(row, isLeft);
}

// The biggest flows in words, of one row or of all.
function flowText(row = null, isLeft = true) {
  const mine = flow.facts.flows.filter(([giver, taker]) => (row === null ? giver !== OTHERS : (isLeft ? giver : taker) === row));
  const most = mine.slice(0, row === null ? 3 : 5);
  const said = most.map(([giver, taker, bytes]) => `${rowName(giver)} → ${rowName(taker)} ${size(bytes)}`);
  return said.length ? `The biggest: ${said.join(", ")}` : "";
}

function sayFlow(row = null, isLeft = true) {
  say("flow-said", flowText(row, isLeft));
}
