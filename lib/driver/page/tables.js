// Facts as tables. A cell is text, or {text, kind, colour, bar, title, indent}.

function table(parent, heads, rows, kind) {
  const element = make(make(parent, 'div', {class: 'scroll'}), 'table', {class: kind || ''});
  const head = make(make(element, 'thead'), 'tr');
  for (const name of heads) make(head, 'th', {class: name.startsWith('#') ? 'number' : ''}, name.replace('#', ''));
  const body = make(element, 'tbody');
  for (const row of rows) {
    const line = make(body, 'tr');
    row.forEach((given, i) => {
      const cell = typeof given === 'object' ? given : {text: given};
      const box = make(line, 'td', {class: cell.kind || (heads[i].startsWith('#') ? 'number' : '')});
      if (cell.title) box.attr('title', cell.title);
      if (cell.indent) box.style('padding-left', cell.indent * 20 + 'px');
      if (cell.colour) make(box, 'span', {class: 'swatch'}).style('background', cell.colour);
      if (cell.bar !== undefined) make(box, 'span', {class: 'bar'}).style('width', 120 * cell.bar + 'px');
      make(box, 'span', {}, cell.text);
    });
  }
}

function bufferCells(schedule, buffer) {
  return [{text: bytes(buffer.bytes), colour: colourOf(schedule, buffer.layer)}, {text: names(buffer, 3), kind: 'names', title: names(buffer, 40)},
          {text: buffer.type, kind: 'plain'}, `${buffer.begin} to ${buffer.end - 1}`, bytes(buffer.offset)];
}

function peakTable(parent, schedule) {
  const shownFirst = schedule.atPeak.slice(0, 12), more = schedule.atPeak.slice(12);
  const heads = ['#size', '#share', 'ONNX nodes that write it', 'tensor', '#live in steps', '#arena offset'];
  const row = (buffer) => {
    const [size, ...others] = bufferCells(schedule, buffer);
    return [size, percent(buffer.bytes, schedule.peak.bytes), ...others];
  };
  table(parent, heads, shownFirst.map(row), 'wide peak-table');
  if (more.length === 0) return;
  const rest = make(parent, 'details');
  make(rest, 'summary', {}, `${more.length} smaller ones, ${bytes(more.reduce((sum, b) => sum + b.bytes, 0))} in all`);
  table(rest, heads, more.map(row), 'wide');
}

function loopTable(parent) {
  const rows = planned.loops.map((loop) => {
    const chunk = chunkOf(loop);
    if (!chunk) return [{text: 'loop of the model', indent: loop.level - 1}, '', '', '', '', `${loop.begin} to ${loop.end - 1}`, ''];
    return [{text: 'dim ' + chunk.dim, indent: loop.level - 1, kind: 'plain'}, chunk.extent, chunk.size, chunk.iterations, chunk.kind,
            `${loop.begin} to ${loop.end - 1}`, {text: names(chunk, 4), kind: 'names', title: names(chunk, 60)}];
  });
  table(parent, ['over', '#extent', '#slice', '#iterations', 'kind', '#steps', 'ONNX nodes'], rows, 'wide loop-table');
}

// A chip's code of a kernel is a row; hundreds of them are folded up.
function kernelTable(parent) {
  const kernels = report.gpu_kernels, most = Math.max(...kernels.map((one) => one.registers));
  const own = kernels.filter((one) => one.stack > 0), distinct = new Set(kernels.map((one) => one.kernel)).size;
  const all = make(parent, 'details');
  make(all, 'summary', {}, `${distinct === 1 ? '1 kernel' : distinct + ' kernels'}, at most ${most} registers of a thread; ` + (own.length === 0
    ? 'none has memory of its own' : `on ${own.length} of ${kernels.length} counts with memory of a thread\u2019s own, which is in no budget`));
  table(all, ['kernel', 'chip', '#registers of a thread', '#shared memory of a block', '#stack of a thread', '#spilled'], kernels.map((one) =>
    [one.kernel, one.chip, one.registers, bytes(one.shared), bytes(one.stack), bytes(one.spilled)]), 'kernel-table');
}

function sweepTable(parent, hasMeasured) {
  const heads = ['#--activation-budget', '#arena', '#modelled', '#relative'];
  if (hasMeasured) heads.push('#measured', '#relative');
  const rows = report.fits.map((point) => {
    const cells = [point.activation + 'B', bytes(point.arena), time(point.ms), point.slowdown.toFixed(2) + '\u00d7'];
    if (hasMeasured) cells.push(time(point.measured_ms), point.measured_slowdown.toFixed(2) + '\u00d7');
    return cells;
  });
  table(parent, heads, rows, 'sweep-table');
}

function totalTables(parent) {
  const columns = make(parent, 'div', {class: 'columns'}), m = report.memory, b = report.bounds;
  const known = (rows) => rows.filter(([, value]) => value !== null).map(([name, value, note]) => [name, bytes(value), note || '']);
  const memory = make(columns, 'div');
  make(memory, 'h3', {}, 'What the process needs');
  table(memory, ['', '#bytes', ''], known([['arena', m.arena, 'all intermediate values'], ['weights', m.weights],
    ['library', m.library, 'what runtimes need'], ['inputs', m.inputs], ['outputs', m.outputs], ['total', m.total]]));
  const bounds = make(columns, 'div');
  make(bounds, 'h3', {}, 'What the arena could be');
  table(bounds, ['', '#bytes', ''], known([['before fusion', m.eager_arena, 'op by op, best order, in place'],
    ['unchunked', m.unchunked_arena, 'fused, no chunk loops'], ['planned', m.arena],
    ['bound of packing', b.sched, 'no packing of this order needs less'],
    ['bound of whole ops', b.lb1, 'no order of whole ops does'],
    ['bound of chunk loops', b.lb2, 'no chunk loops do that compute only cheap ops anew']]));
  const compile = make(columns, 'div'), stages = Object.keys(report.timing_ms);
  const longest = Math.max(...stages.map((stage) => report.timing_ms[stage]));
  make(compile, 'h3', {}, 'What compiling took');
  table(compile, ['stage', '#time', ''], stages.map((stage) =>
    [stage, time(report.timing_ms[stage]), {text: '', bar: longest > 0 ? report.timing_ms[stage] / longest : 0}]), 'stage-table');
  const s = report.search, search = make(columns, 'div');
  if (s.ops === null) return;
  make(search, 'h3', {}, 'What the search looked at');
  table(search, ['', '#'], [['ops that compute', s.ops], ['blocks with a chunk loop', s.blocks],
    ['distinct blocks searched', s.distinct_blocks], ['candidates', s.candidates], ['time', time(s.ms)]]);
}

// Thousands of rows are made only when somebody looks.
function allBuffers(parent) {
  const most = 300, all = make(parent, 'details', {class: 'all-buffers'});
  make(all, 'summary', {}, `All ${planned.buffers.length} buffers of the plan`);
  all.on('toggle', () => {
    if (all.select('input').size() > 0) return;
    const input = make(all, 'input', {type: 'search', placeholder: 'part of a node\u2019s name', 'aria-label': 'part of a node\u2019s name'});
    const list = make(all, 'div');
    const fill = () => {
      const word = input.property('value').toLowerCase();
      const found = planned.buffers.filter((b) => [b.op, ...b.nodes].some((name) => name.toLowerCase().includes(word)));
      list.text('');
      table(list, ['#size', 'ONNX nodes that write it', 'tensor', '#live in steps', '#arena offset'],
            found.slice(0, most).map((buffer) => bufferCells(planned, buffer)), 'wide');
      if (found.length > most) make(list, 'p', {class: 'note'}, `The first ${most} of ${found.length}.`);
    };
    input.on('input', fill);
    fill();
  });
}
