// Facts as words.

function bytes(number) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  for (; number >= 1024 && unit < 3; ++unit) number /= 1024;
  return (unit === 0 ? number.toFixed(0) : number.toFixed(1)) + '\u00a0' + units[unit];
}

function time(ms) {
  if (ms < 1) return ms.toFixed(3) + '\u00a0ms';
  return ms < 1000 ? ms.toFixed(1) + '\u00a0ms' : (ms / 1000).toFixed(2) + '\u00a0s';
}

function percent(part, whole) {
  const share = whole > 0 ? 100 * part / whole : 0;
  return (share > 0 && share < 1 ? '< 1' : share.toFixed(0)) + '\u00a0%';
}

const plural = (number, word) => number + ' ' + word + (number === 1 ? '' : 's');

// The first of the names; of a kernel without one, what it does.
function label(thing) {
  return thing.nodes.length === 0 ? '(' + thing.op + ')' : thing.nodes[0];
}

function names(thing, most) {
  if (thing.nodes.length <= most) return thing.nodes.length === 0 ? label(thing) : thing.nodes.join(', ');
  return thing.nodes.slice(0, most).join(', ') + ' and ' + (thing.nodes.length - most) + ' more';
}

// The chunk loop as it fits into a band, most words first.
function loopTexts(loop) {
  const chunk = chunkOf(loop);
  if (!chunk) return ['loop'];
  return [`dim ${chunk.dim}: ${chunk.extent} in ${chunk.iterations} slices of ${chunk.size}`,
          `${chunk.extent} / ${chunk.size}`, `${chunk.iterations}\u00d7`];
}

const colours = ['#4c78a8', '#e8923c', '#59a257', '#d9605a', '#6fb4ae', '#a77bb0', '#c9a227', '#96765f'];
function colourOf(schedule, layer) {
  return layer < numColours ? colours[schedule.colours[layer]] : layer === restLayer ? 'var(--rest)' : 'var(--other)';
}
