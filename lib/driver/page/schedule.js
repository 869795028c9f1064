// Charts over the steps of the schedule: live bytes, and where in the arena they lie.

const bandHeight = 18;
let shown = null; // the steps of the plan that are looked at; null: all

function stepScale(f, schedule, steps) {
  const domain = steps || (schedule === planned && shown) || [0, Math.max(1, schedule.steps.length)];
  return d3.scaleLinear().domain(domain).range([0, f.width]);
}

function isSeen(x, thing) {
  const [first, last] = x.domain();
  return thing.begin < last && thing.end > first && thing.end > thing.begin;
}

// From pixel to pixel, cut to what is seen.
function extentOf(x, f, thing) {
  return [Math.max(0, x(thing.begin)), Math.min(f.width, x(thing.end))];
}

// Loops behind the plot, and as bands under it, inner ones below what they are in.
function drawLoops(f, x, schedule, withBands) {
  const seen = schedule.loops.filter((loop) => isSeen(x, loop));
  for (const loop of seen) {
    const [left, right] = extentOf(x, f, loop);
    make(f.plot, 'rect', {x: left, width: right - left, y: 0, height: f.height, class: 'shade',
                          fill: `var(--loop${Math.min(3, loop.level)})`});
  }
  if (!withBands) return;
  for (const loop of seen) {
    const [left, right] = extentOf(x, f, loop), y = f.height + 4 + (loop.level - 1) * bandHeight;
    make(f.plot, 'rect', {x: left, width: right - left, y, height: bandHeight - 2, class: 'band',
                          'data-level': loop.level, fill: `var(--loop${Math.min(3, loop.level)})`})
      .on('pointermove', () => showTip(d3.event, 'Chunk loop ' + loopTexts(loop)[0], loopRows(loop)))
      .on('pointerleave', hideTip)
      .on('click', () => look(shown && shown[0] === loop.begin && shown[1] === loop.end ? null : [loop.begin, loop.end]));
    fitted(f.plot, left, right, y + 12, loopTexts(loop), 'band-text');
  }
}

function loopRows(loop) {
  const chunk = chunkOf(loop), rows = [['steps', loop.begin + ' to ' + (loop.end - 1)]];
  if (loop.level > 1) rows.push(['inside of ' + plural(loop.level - 1, 'other loop'), '']);
  if (chunk) rows.push(['nodes', ''], [names(chunk, 6)]);
  return rows.concat([['Click to look closer, or back.']]);
}

function stepAxis(f, x, offset, schedule) {
  const ticks = x.ticks(f.narrow ? 5 : 10).filter(Number.isInteger);
  make(f.plot, 'g', {class: 'axis', transform: `translate(0,${offset})`})
    .call(d3.axisBottom(x).tickValues(ticks).tickSizeOuter(0).tickFormat(String));
  make(f.plot, 'text', {x: f.width, y: offset + 32, 'text-anchor': 'end', class: 'faint'},
       `step: one kernel each, ${schedule.steps.length} in all`);
}

// `part`: the steps to draw, where these are not all, or what is looked at.
function drawLive(parent, schedule, name, height, part) {
  const bands = schedule.levels * bandHeight;
  const f = frame(parent, name, height, bands + 44);
  const x = stepScale(f, schedule, part);
  const peak = schedule.peak ? schedule.peak.bytes : 0;
  // A budget far above what is needed would press the picture to the ground.
  const seesLimit = limit !== null && limit <= 2.5 * peak;
  const most = Math.max(1, peak, seesLimit ? limit : 0) * 1.12;
  const y = d3.scaleLinear().domain([0, most]).range([f.height, 0]);
  drawLoops(f, x, schedule, true);
  byteAxis(f, y, most);

  const [first, last] = x.domain(), layers = layersOf(schedule), sums = new Float64Array(schedule.steps.length + 1);
  const steps = d3.range(first, last + 1);
  for (let layer = 0; layer < layers.length; ++layer) {
    const values = layers[layer], area = d3.area().curve(d3.curveStepAfter)
      .x((step) => x(step)).y0((step) => y(sums[at(step)])).y1((step) => y(sums[at(step)] + values[at(step)]));
    make(f.plot, 'path', {class: 'layer', d: area(steps)}).style('fill', colourOf(schedule, layer));
    for (let step = 0; step < sums.length; ++step) sums[step] += values[step];
  }
  function at(step) { return Math.min(step, schedule.steps.length - 1); } // the last one up to where it ends
  make(f.plot, 'path', {class: 'outline', d: d3.line().curve(d3.curveStepAfter).x((step) => x(step))
    .y((step) => y(sums[at(step)]))(steps)});

  if (seesLimit) {
    make(f.plot, 'line', {class: 'limit', x1: 0, x2: f.width, y1: y(limit), y2: y(limit)});
    floating(f, f.width, y(limit) - 5, 'budget ' + bytes(limit), 'limit-text');
  } else if (limit !== null) {
    floating(f, f.width, 10, 'budget ' + bytes(limit) + ', far above', 'limit-text');
  }
  if (schedule.peak && first <= schedule.peak.step && schedule.peak.step < last) {
    const left = x(schedule.peak.step + 0.5), top = y(peak);
    if (x(1) - x(0) >= 6) make(f.plot, 'line', {class: 'at-peak', x1: left, x2: left, y1: top, y2: f.height});
    make(f.plot, 'circle', {class: 'peak-dot', cx: left, cy: top, r: 4});
    const text = floating(f, left + 8, top - 8, 'peak ' + bytes(peak), 'peak-text');
    const length = text.node().getComputedTextLength();
    if (left + 8 + length > f.width) text.attr('x', left - 8 - length);
    // Neither on the budget's line nor under its words.
    const above = y(limit) - top, isUnderWords = left + 8 + length > f.width - 130;
    if (seesLimit && above < 3 && above > (isUnderWords ? -22 : -20)) text.attr('y', Math.max(y(limit), top) + 18);
  }
  stepAxis(f, x, f.height + bands + 4, schedule);
  follow(f, x, schedule);
}

// The tip tells what is live at the step under the pointer.
function follow(f, x, schedule) {
  const cursor = make(f.plot, 'line', {class: 'cursor', y1: 0, y2: f.height, visibility: 'hidden'});
  make(f.plot, 'rect', {width: f.width, height: f.height, fill: 'none', 'pointer-events': 'all'})
    .on('pointermove pointerdown', () => {
      const [first, last] = x.domain();
      const step = Math.max(first, Math.min(last - 1, Math.floor(x.invert(d3.mouse(f.plot.node())[0]))));
      const kernel = schedule.steps[step];
      if (!kernel) return;
      cursor.attr('x1', x(step + 0.5)).attr('x2', x(step + 0.5)).attr('visibility', 'visible');
      const live = liveAt(schedule, step), rows = [[names(kernel, 4)]];
      rows.push(['live', bytes(schedule.live[step])]);
      for (const buffer of live.slice(0, 8)) rows.push([label(buffer), bytes(buffer.bytes), colourOf(schedule, buffer.layer)]);
      if (live.length > 8) rows.push(['and ' + plural(live.length - 8, 'smaller one')]);
      for (const loop of loopsAt(schedule, step)) rows.push(['in the loop over ' + loopTexts(loop)[0]]);
      showTip(d3.event, `Step ${step}: ${kernel.op}`, rows);
    })
    .on('pointerleave', () => { cursor.attr('visibility', 'hidden'); hideTip(); });
}

function drawArena(parent, schedule) {
  const f = frame(parent, 'Arena over the schedule', 300, 40);
  const x = stepScale(f, schedule), most = Math.max(1, schedule.arena);
  const y = d3.scaleLinear().domain([0, most]).range([f.height, 0]);
  drawLoops(f, x, schedule, false);
  byteAxis(f, y, most);
  // Those at the peak last, so that their names stand on top.
  const boxes = schedule.buffers.filter((buffer) => isSeen(x, buffer)).sort((a, b) => b.layer - a.layer);
  const texts = make(f.plot, 'g');
  for (const buffer of boxes) {
    const [left, right] = extentOf(x, f, buffer), top = y(buffer.offset + buffer.bytes), bottom = y(buffer.offset);
    make(f.plot, 'rect', {class: 'box', x: left, width: right - left, y: top, height: Math.max(0.5, bottom - top)})
      .style('fill', colourOf(schedule, buffer.layer))
      .on('pointermove pointerdown', () => showTip(d3.event, label(buffer), bufferRows(buffer)))
      .on('pointerleave', hideTip);
    if (bottom - top >= 14 && right - left >= 30)
      fitted(texts, left, right, (top + bottom) / 2 + 4, boxTexts(buffer), 'box-text',
             buffer.layer < numColours ? '#10151a' : null);
  }
  if (schedule.peak) {
    const left = x(schedule.peak.step + 0.5);
    if (left >= 0 && left <= f.width) {
      make(f.plot, 'line', {class: 'at-peak', x1: left, x2: left, y1: 0, y2: f.height});
      floating(f, left + 4, -7, 'peak', 'peak-text');
    }
  }
  texts.raise();
  stepAxis(f, x, f.height, schedule);
}

function boxTexts(buffer) {
  const name = label(buffer), short = name.split('/').filter(Boolean).pop() || name;
  return [name + ', ' + bytes(buffer.bytes), short + ', ' + bytes(buffer.bytes), bytes(buffer.bytes)];
}

function bufferRows(buffer) {
  const rows = [['size', bytes(buffer.bytes)], ['tensor', buffer.type], ['arena offset', bytes(buffer.offset)],
                ['live in steps', buffer.begin + ' to ' + (buffer.end - 1)], ['first written by', buffer.op]];
  if (buffer.nodes.length > 1) rows.push(['nodes', ''], [names(buffer, 8)]);
  return rows;
}
