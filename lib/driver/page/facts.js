// What the JSON says, in the form in which it is drawn. Nothing here touches the page.

const report = JSON.parse(document.getElementById('report').textContent);
const limit = report.budget.arena_limit;
const doesNotFit = report.budget.least_reachable !== null;
const numColours = 8, restLayer = numColours, otherLayer = numColours + 1;
const colourOfName = new Map(); // the same in the plan and in the schedule without chunk loops
const planned = report.schedule.planned && prepare(report.schedule.planned); // null where --emit stopped before it
const unchunked = report.chunk_loops.length > 0 ? prepare(report.schedule.unchunked) : null;

// Buffers that are live at the peak get a layer and a colour of their own, the largest first; more cannot be told apart.
function prepare(schedule) {
  const atPeak = (schedule.peak ? schedule.peak.buffers : []).map((index) => schedule.buffers[index]);
  atPeak.sort((a, b) => b.bytes - a.bytes || a.offset - b.offset);
  atPeak.forEach((buffer, i) => { buffer.layer = Math.min(i, restLayer); });
  for (const buffer of schedule.buffers)
    if (buffer.layer === undefined) buffer.layer = otherLayer;
  schedule.levels = Math.max(0, ...schedule.loops.map((loop) => loop.level));
  schedule.atPeak = atPeak;
  schedule.colours = chooseColours(atPeak.slice(0, numColours));
  return schedule;
}

// Of each layer a number; what another schedule has coloured keeps its colour.
function chooseColours(coloured) {
  const seen = new Map(), chosen = [], taken = new Set();
  const keys = coloured.map((buffer) => {
    const name = JSON.stringify(buffer.nodes[0] || buffer.op), count = (seen.get(name) || 0) + 1;
    seen.set(name, count);
    return name + count;
  });
  keys.forEach((key, i) => {
    if (!colourOfName.has(key)) return;
    chosen[i] = colourOfName.get(key);
    taken.add(chosen[i]);
  });
  keys.forEach((key, i) => {
    if (chosen[i] !== undefined) return;
    chosen[i] = 0;
    while (taken.has(chosen[i])) ++chosen[i];
    taken.add(chosen[i]);
    colourOfName.set(key, chosen[i]);
  });
  return chosen;
}

// Live bytes of each layer at each step: layers[layer][step].
function layersOf(schedule) {
  const layers = Array.from({length: otherLayer + 1}, () => new Float64Array(schedule.steps.length + 1));
  for (const buffer of schedule.buffers)
    for (let step = buffer.begin; step < buffer.end; ++step) layers[buffer.layer][step] += buffer.bytes;
  return layers;
}

function liveAt(schedule, step) {
  return schedule.buffers.filter((b) => b.begin <= step && step < b.end).sort((a, b) => b.bytes - a.bytes);
}

function loopsAt(schedule, step) {
  return schedule.loops.filter((loop) => loop.begin <= step && step < loop.end);
}

function chunkOf(loop) {
  return loop.chunk_loop === null ? null : report.chunk_loops[loop.chunk_loop];
}
