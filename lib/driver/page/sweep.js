// The curve of the sweep: what a smaller arena costs in time.

function drawSweep(parent) {
  const points = report.fits;
  const f = frame(parent, 'Budgets and what they cost', 240, 48);
  const hasMeasured = points.every((point) => point.measured_ms !== null);
  const slow = points.map((point) => point.slowdown);
  const measured = hasMeasured ? points.map((point) => point.measured_slowdown) : [];
  const least = Math.min(...points.map((p) => p.arena)), most = Math.max(...points.map((p) => p.arena));
  const seesLimit = limit !== null && limit >= least / 1.5 && limit <= most * 1.5;
  const ends = seesLimit ? [Math.min(least, limit), Math.max(most, limit)] : [least, most];
  const isWide = ends[1] > 6 * ends[0];
  const pad = isWide ? Math.pow(ends[1] / ends[0], 0.05) : (ends[1] - ends[0]) * 0.06;
  const x = isWide ? d3.scaleLog().base(2).domain([ends[0] / pad, ends[1] * pad])
                   : d3.scaleLinear().domain([Math.max(0, ends[0] - pad), ends[1] + pad]);
  x.range([0, f.width]);
  const top = Math.max(1.05, ...slow, ...measured), bottom = Math.min(1, ...slow, ...measured);
  const y = d3.scaleLinear().domain([bottom - (top - bottom) * 0.1, top + (top - bottom) * 0.15]).range([f.height, 0]);

  make(f.plot, 'g', {class: 'grid'}).call(d3.axisLeft(y).ticks(5).tickSize(-f.width).tickFormat(''));
  make(f.plot, 'g', {class: 'axis'}).call(d3.axisLeft(y).ticks(5).tickSize(0).tickPadding(8)
    .tickFormat((tick) => tick.toFixed(top - bottom < 0.2 ? 3 : 2) + '\u00d7')).select('.domain').remove();
  const count = f.narrow ? 4 : 8;
  const ticks = isWide ? x.ticks(count) : byteTicks(ends[1] + pad, count).filter((tick) => tick >= x.domain()[0]);
  make(f.plot, 'g', {class: 'axis', transform: `translate(0,${f.height})`})
    .call(d3.axisBottom(x).tickValues(ticks).tickSizeOuter(0).tickFormat(byteText));
  make(f.plot, 'text', {x: f.width, y: f.height + 38, 'text-anchor': 'end', class: 'faint'}, 'arena');
  make(f.plot, 'text', {x: 0, y: -8, class: 'faint'}, 'time, relative to unchunked');

  if (seesLimit) {
    make(f.plot, 'line', {class: 'limit', x1: x(limit), x2: x(limit), y1: 0, y2: f.height});
    floating(f, x(limit) + 5, 12, 'budget ' + bytes(limit), 'limit-text');
  }
  drawSeries(f, x, y, slow, 'modelled');
  if (hasMeasured) drawSeries(f, x, y, measured, 'measured');
  const model = report.time_model;
  if (!doesNotFit && model.unchunked_ms > 0 && report.memory.arena >= x.domain()[0])
    make(f.plot, 'circle', {class: 'chosen', r: 9, cx: x(report.memory.arena), cy: y(model.chunked_ms / model.unchunked_ms)})
      .on('pointermove', () => showTip(d3.event, 'This plan', [['arena', bytes(report.memory.arena)]]))
      .on('pointerleave', hideTip);
}

function drawSeries(f, x, y, values, kind) {
  const line = d3.line().x((value, i) => x(report.fits[i].arena)).y((value) => y(value));
  make(f.plot, 'path', {class: 'curve ' + kind, d: line(values)});
  values.forEach((value, i) => {
    const point = report.fits[i];
    make(f.plot, 'circle', {class: 'sweep-point ' + kind, r: 5, cx: x(point.arena), cy: y(value)})
      .on('pointermove pointerdown', () => showTip(d3.event, '--activation-budget ' + point.activation + 'B', [
        ['arena', bytes(point.arena)], ['modelled', time(point.ms)],
        ['measured', point.measured_ms === null ? 'no' : time(point.measured_ms)],
        ['time, ' + kind, value.toFixed(3) + '\u00d7']]))
      .on('pointerleave', hideTip);
  });
}
