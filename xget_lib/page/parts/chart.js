// The rate over time: all nodes together, and what this server sends. The distance between the lines is what nodes give
// each other.

const MINUTES = 10;
const chart = { samples: [] };

function addSample(sample) {
  chart.samples.push(sample);
  while (chart.samples.length > 600) chart.samples.shift();
}

function drawChart() {
  const picture = byId("chart");
  const [width, height] = [picture.clientWidth, picture.clientHeight];
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (!width || !chart.samples.length) return;
  const last = chart.samples[chart.samples.length - 1][0];
  const seen = chart.samples.filter((sample) => last - sample[0] <= 60 * MINUTES);
  const first = Math.min(seen[0][0], last - 30);
  const top = niceTop(Math.max(1024, ...seen.map((sample) => Math.max(sample[1], sample[2]))));
  const [low, high, left, right] = [height - 24, 14, 2, width - 2];
  const x = (time) => left + ((time - first) / (last - first)) * (right - left);
  const y = (rate) => low - (rate / top) * (low - high);
  const line = (which) => seen.map((sample) => `${x(sample[0]).toFixed(1)} ${y(sample[which]).toFixed(1)}`).join("L");
  const parts = [0, 0.5, 1].flatMap((part) => {
    const text = svg("text", { x: left, y: y(top * part) - 4 });
    text.textContent = part ? `${size(top * part)}/s` : "";
    return [svg("line", { x1: left, x2: right, y1: y(top * part), y2: y(top * part), class: "grid" }), text];
  });
  const all = line(1);
  parts.push(svg("path", { d: `M${x(seen[0][0])} ${low}L${all}L${x(last)} ${low}Z`, class: "area" }));
  parts.push(svg("path", { d: `M${all}`, class: "all" }), svg("path", { d: `M${line(2)}`, class: "one" }));
  for (const [time, anchor, text] of [[first, "start", `${duration(last - first)} ago`], [last, "end", "now"]]) {
    const label = svg("text", { x: x(time), y: height - 6, "text-anchor": anchor });
    label.textContent = text;
    parts.push(label);
  }
  picture.replaceChildren(...parts);
  const now = seen[seen.length - 1];
  picture.setAttribute("aria-label", `Rate over time; now ${size(now[1])} per second at all nodes, ${size(now[2])} per second sent here`);
}

// 1, 2 or 5 times a power of two's unit: labels that people can read.
function niceTop(rate) {
  const unit = 1024 ** Math.floor(Math.log(rate) / Math.log(1024));
  const parts = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1024];
  return unit * parts.find((part) => unit * part >= rate);
}
