// The page, top to bottom.

const main = d3.select('main');
const model = report.model.split('/').pop();

function headings() {
  document.title = model + ': memory as Snug plans it';
  make(main, 'h1', {}, model);
  const dims = Object.keys(report.dims).map((name) => name + ' = ' + report.dims[name]);
  make(main, 'div', {class: 'sub'}, [...dims, report.target, 'snug ' + report.snug].join(' \u00b7 '));
  if (!planned) {
    make(main, 'p', {class: 'lead verdict'}, 'The compilation was asked to stop before it planned memory: there is nothing to draw.');
    return;
  }
  const {text, isBad} = verdict();
  make(main, 'p', {class: 'lead verdict' + (isBad ? ' bad' : '')}, text);
  make(main, 'p', {class: 'lead why'}, why(planned));
  tiles();
}

function verdict() {
  const loops = plural(report.chunk_loops.length, 'chunk loop'), m = report.memory;
  if (doesNotFit)
    return {isBad: true, text: `It does not fit: the budget leaves ${bytes(limit)} for the arena, and the least that can be ` +
                               `reached is ${bytes(m.arena)}, which this page shows.`};
  const slow = report.time_model.unchunked_ms > 0 ? report.time_model.chunked_ms / report.time_model.unchunked_ms : null;
  let text = `The arena has ${bytes(m.arena)}`;
  text += limit === null ? '; no budget was given' : ` of the ${bytes(limit)} that the budget leaves it`;
  if (report.chunk_loops.length === 0) return {text: text + '. No chunk loops are needed.'};
  return {text: `${text}, by ${loops}; without them it would have ${bytes(m.unchunked_arena)}` +
                (slow === null ? '.' : `. Predicted time: ${slow.toFixed(2)}\u00d7 that without.`)};
}

// Where the peak is, and what makes it.
function why(schedule) {
  if (!schedule.peak) return 'Nothing is in the arena.';
  const step = schedule.peak.step, loops = loopsAt(schedule, step).map((loop) => loopTexts(loop)[0]);
  const asHigh = schedule.live.filter((live) => live === schedule.peak.bytes).length - 1;
  const others = asHigh > 0 ? ` As much is live at ${plural(asHigh, 'other step')}.` : '';
  const largest = schedule.atPeak.slice(0, 2), share = largest.reduce((sum, b) => sum + b.bytes, 0);
  const who = largest.map((b) => `${bytes(b.bytes)} by ${label(b)}`).join(' and ');
  return `The peak of ${bytes(schedule.peak.bytes)} is at step ${step} of ${schedule.steps.length}, ${schedule.steps[step].op} ` +
         `${label(schedule.steps[step])}` + (loops.length > 0 ? `, in the loop over ${loops.join(', in it ')}` : '') +
         `. ${plural(schedule.atPeak.length, 'buffer')} ${schedule.atPeak.length === 1 ? 'is' : 'are'} live there; ` +
         `the largest, ${who}, make ${percent(share, schedule.peak.bytes)} of it.` + others;
}

function tiles() {
  const m = report.memory, box = make(main, 'div', {class: 'tiles'});
  const tile = (value, text) => {
    const one = make(box, 'div', {class: 'tile'});
    make(one, 'b', {}, value);
    make(one, 'span', {}, text);
  };
  tile(bytes(m.arena), doesNotFit ? 'least arena that can be reached' : 'arena, planned');
  if (limit !== null) tile(bytes(limit), 'budget for the arena');
  if (unchunked) tile(bytes(m.unchunked_arena), `without chunk loops; ${percent(m.unchunked_arena - m.arena, m.unchunked_arena)} saved`);
  if (m.eager_arena !== null)
    tile(bytes(m.eager_arena), `op by op, before fusion; ${percent(m.eager_arena - m.arena, m.eager_arena)} saved`);
  if (report.time_model.chunked_ms !== null) tile(time(report.time_model.chunked_ms), 'a run, as modelled');
  tile(bytes(m.total), 'in all, with weights, inputs, outputs');
}

function legend(parent, schedule) {
  const box = make(parent, 'div', {class: 'legend'});
  const entry = (layer, text) => {
    const one = make(box, 'span');
    make(one, 'span', {class: 'swatch'}).style('background', colourOf(schedule, layer));
    make(one, 'span', {}, text);
  };
  schedule.atPeak.slice(0, numColours).forEach((buffer, i) => entry(i, `${label(buffer)}, ${bytes(buffer.bytes)}`));
  const rest = schedule.atPeak.slice(numColours);
  if (rest.length > 0)
    entry(restLayer, `${rest.length} more at the peak, ${bytes(rest.reduce((sum, b) => sum + b.bytes, 0))}`);
  if (schedule.buffers.length > schedule.atPeak.length) entry(otherLayer, 'not live at the peak');
}

const redrawn = []; // [box, how to draw it] of all that depends on the width, or on which steps are shown

function drawn(parent, draw) {
  redrawn.push([make(parent, 'div'), draw]);
}

function redraw() {
  hideTip();
  for (const [box, draw] of redrawn) {
    box.text('');
    draw(box);
  }
}

// Looks at some steps of the plan; null: at all.
function look(steps) {
  shown = steps;
  redraw();
}

function zoomNote(box) {
  if (shown) make(box, 'button', {type: 'button'}, `Steps ${shown[0]} to ${shown[1] - 1}: show all`).on('click', () => look(null));
}

function sections() {
  make(main, 'h2', {}, 'Memory over the schedule');
  make(main, 'p', {class: 'note'}, 'Bytes of the arena that are live at each step. Buffers live at the peak have colours. The ' +
    'iterations of a loop share their steps.' + (unchunked ? ' Bands are chunk loops; click one to look closer.' : ''));
  if (unchunked) {
    make(main, 'h3', {}, 'Without chunk loops');
    legend(main, unchunked);
    drawn(main, (box) => drawLive(box, unchunked, 'Live bytes without chunk loops', 150));
    make(main, 'h3', {}, doesNotFit ? 'The plan with the least arena' : 'As planned, with chunk loops');
  }
  legend(main, planned);
  drawn(main, (box) => { zoomNote(box); drawLive(box, planned, 'Live bytes as planned', 260); });
  if (planned.steps.length > 120) { // else its peak is wide enough
    const first = Math.max(0, Math.min(planned.peak.step - 20, planned.steps.length - 40));
    make(main, 'h3', {}, 'The same around its peak');
    drawn(main, (box) => drawLive(box, planned, 'Live bytes around the peak', 200, [first, first + 40]));
  }

  make(main, 'h2', {}, 'What binds the peak');
  if (planned.peak) peakTable(main, planned);
  if (unchunked && unchunked.peak) {
    const before = make(main, 'details');
    make(before, 'summary', {}, 'What bound it without chunk loops');
    make(before, 'p', {}, why(unchunked));
    peakTable(before, unchunked);
  }

  make(main, 'h2', {}, 'Arena');
  make(main, 'p', {class: 'note'}, 'Where each buffer lies, and from which step to which. What is free between boxes at the ' +
    'peak is lost to packing: ' + bytes(Math.max(0, planned.arena - (planned.peak ? planned.peak.bytes : 0))) + '.');
  drawn(main, (box) => { zoomNote(box); drawArena(box, planned); });
  allBuffers(main);

  if (planned.loops.length > 0) {
    make(main, 'h2', {}, 'Chunk loops');
    loopTable(main);
  }
  if (report.gpu_kernels.length > 0) {
    make(main, 'h2', {}, 'Kernels of the GPU');
    kernelTable(main);
  }
  if (report.fits.length > 0) sweepSection();
  make(main, 'h2', {}, 'Totals, bounds, compilation');
  totalTables(main);
}

function sweepSection() {
  make(main, 'h2', {}, 'What other budgets cost');
  if (report.fits.length === 1) {
    make(main, 'p', {}, 'No chunk loop makes the arena smaller.');
    return;
  }
  const hasMeasured = report.fits.every((point) => point.measured_ms !== null);
  if (hasMeasured) {
    const box = make(main, 'div', {class: 'legend'});
    for (const [colour, text] of [['var(--accent)', 'as modelled'], ['var(--measured)', 'measured, in turns with the unchunked program']]) {
      const one = make(box, 'span');
      make(one, 'span', {class: 'swatch'}).style('background', colour);
      make(one, 'span', {}, text);
    }
  }
  const ring = doesNotFit ? '' : 'The ring is this plan.';
  make(main, 'p', {class: 'note'}, hasMeasured ? ring : 'Time as modelled. ' + ring);
  drawn(main, drawSweep);
  sweepTable(main, hasMeasured);
}

headings();
if (planned) sections();
redraw();
let width = window.innerWidth;
window.addEventListener('resize', () => {
  if (window.innerWidth === width) return; // on phones the height alone changes while scrolling
  width = window.innerWidth;
  redraw();
});
window.addEventListener('scroll', hideTip, {passive: true});
