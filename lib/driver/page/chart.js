// What all charts share: making elements, a frame with axes, the tip beside the pointer.

function make(parent, tag, attributes, text) {
  const element = d3.select(parent.node ? parent.node() : parent).append(tag);
  for (const key of Object.keys(attributes || {})) element.attr(key, attributes[key]);
  return text === undefined ? element : element.text(text);
}

const tip = d3.select('#tip');

// Rows are [left, right, colour]; all of it is text, never markup.
function showTip(event, title, rows) {
  tip.text('').attr('hidden', null);
  make(tip, 'b', {}, title);
  for (const [left, right, colour] of rows) {
    const row = make(tip, 'div');
    const name = make(row, 'span');
    if (colour) make(name, 'span', {class: 'swatch'}).style('background', colour);
    make(name, 'span', {}, left);
    if (right !== undefined) make(row, 'span', {}, right).style('white-space', 'nowrap');
  }
  const box = tip.node().getBoundingClientRect();
  const left = event.clientX + 16 + box.width > window.innerWidth ? event.clientX - 16 - box.width : event.clientX + 16;
  const top = event.clientY + 16 + box.height > window.innerHeight ? event.clientY - 16 - box.height : event.clientY + 16;
  tip.style('left', Math.max(8, Math.min(left, window.innerWidth - box.width - 8)) + 'px').style('top', Math.max(8, top) + 'px');
}

function hideTip() { tip.attr('hidden', ''); }

// An svg in `parent` with a plot of `height` pixels, room for axes around it, and `below` pixels under the x axis.
function frame(parent, name, height, below) {
  const width = Math.max(240, parent.node().clientWidth);
  const margin = {left: width < 600 ? 58 : 72, right: 14, top: 22};
  const svg = make(parent, 'svg', {viewBox: `0 0 ${width} ${margin.top + height + below}`, role: 'img', 'aria-label': name});
  svg.style('height', margin.top + height + below + 'px');
  const plot = make(svg, 'g', {transform: `translate(${margin.left},${margin.top})`});
  return {svg, plot, width: width - margin.left - margin.right, height, narrow: width < 600};
}

// Round numbers of bytes for an axis.
function byteTicks(most, count) {
  const unit = Math.pow(1024, Math.min(3, Math.floor(Math.log(Math.max(1, most)) / Math.log(1024))));
  return d3.ticks(0, most / unit, count).map((tick) => tick * unit);
}

function byteText(number) {
  return bytes(number).replace('.0\u00a0', '\u00a0');
}

function byteAxis(f, y, most) {
  const ticks = byteTicks(most, f.height < 200 ? 3 : 5);
  make(f.plot, 'g', {class: 'grid'}).call(d3.axisLeft(y).tickValues(ticks).tickSize(-f.width).tickFormat(''));
  make(f.plot, 'g', {class: 'axis'}).call(d3.axisLeft(y).tickValues(ticks).tickSize(0).tickPadding(8).tickFormat(byteText))
    .select('.domain').remove();
}

// Text that keeps inside [0, width], with the ground around it so that it can be read on anything.
function floating(f, x, y, text, kind) {
  const element = make(f.plot, 'text', {x, y, class: 'halo ' + kind}, text);
  const length = element.node().getComputedTextLength();
  element.attr('x', Math.max(2, Math.min(x, f.width - length - 2)));
  return element;
}

// The longest of the texts that fits, in the middle of [left, right]; none if none does.
function fitted(parent, left, right, y, texts, kind, fill) {
  for (const text of texts) {
    if (right - left < 7 + 3 * text.length) continue; // saves measuring what cannot fit
    const element = make(parent, 'text', {x: (left + right) / 2, y, 'text-anchor': 'middle', class: kind}, text);
    if (fill) element.style('fill', fill);
    if (element.node().getComputedTextLength() <= right - left - 6) return element;
    element.remove();
  }
  return null;
}
