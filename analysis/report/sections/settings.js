"use strict";
/* Importances, parallel coordinates, and one scatter plot for each setting. */
(() => {
  const { points, all, css, colours, column, label, show, scatter, windowOf } = Plots;
  const own = Plots.data.sections.settings;
  const find = (name) => document.getElementById(name);
  const select = find("slice-metric");
  let lineOf;

  function importance() {
    const names = [...own.importance.parameters].reverse();
    const traces = own.importance.objectives.map((objective, k) => ({
      type: "bar", orientation: "h", name: objective.label, y: names, offsetgroup: String(k), marker: { color: colours()[k % 8] },
      x: names.map((name) => objective.explained[name] ?? null),
      error_x: { type: "data", symmetric: false, thickness: 1.2, width: 3, color: css("--ink"),
        array: names.map((name) => (objective.high[name] ?? 0) - (objective.explained[name] ?? 0)),
        arrayminus: names.map((name) => (objective.explained[name] ?? 0) - (objective.low[name] ?? 0)) },
      hovertemplate: "%{y}<br>%{x:.3f} of " + objective.label + "<extra></extra>",
    })).concat(own.importance.objectives.map((objective, k) => ({
      type: "bar", orientation: "h", y: names, offsetgroup: String(k), showlegend: false, hoverinfo: "skip", width: undefined,
      base: names.map((name) => Math.max(0, (objective.null[name] ?? 0) - 0.002)), x: names.map((name) => (name in objective.null ? 0.004 : null)),
      marker: { color: css("--soft") },
    })));
    const height = 90 + 26 * names.length * Math.max(1, own.importance.objectives.length * 0.6);
    find("importance").style.height = `${height}px`;
    Plots.draw("importance", traces, { barmode: "group", showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "reversed" }, xaxis: { title: { text: "importance" }, rangemode: "tozero" }, yaxis: {}, height });
  }

  /* Parallel coordinates as plain lines: each axis scaled to [0, 1], a searched value that does not apply is a gap. */
  function parallel() {
    const axes = own.axes;
    const place = (axis, i) => {
      const value = column(axis.name)[i];
      if (value === null || value === undefined) return null;
      if (axis.choices) return axis.choices.length > 1 ? axis.choices.indexOf(String(value)) / (axis.choices.length - 1) : 0.5;
      const scale = axis.log ? Math.log : (v) => v;
      return axis.high > axis.low ? (scale(value) - scale(axis.low)) / (scale(axis.high) - scale(axis.low)) : 0.5;
    };
    const path = (i) => axes.map((axis) => place(axis, i));
    const others = all.filter((i) => !points.front[i]).slice(0, 300);
    const joined = { x: [], y: [] };
    for (const i of others) { joined.x.push(...axes.keys(), null); joined.y.push(...path(i), null); }
    const traces = [{ type: "scatter", mode: "lines", ...joined, hoverinfo: "skip", opacity: 0.5, line: { width: 0.7, color: css("--soft") } }];
    for (const i of all.filter((j) => points.front[j]).slice(0, 150)) {
      traces.push({ type: "scatter", mode: "lines+markers", x: [...axes.keys()], y: path(i), name: points.id[i], customdata: axes.map(() => i),
        line: { width: 1.8, color: colours()[points.kind[i] % 8] }, marker: { size: 6 }, connectgaps: false,
        text: axes.map((axis) => `${points.id[i]}<br>${label(axis.name)} ${show(column(axis.name)[i])}`), hovertemplate: "%{text}<extra></extra>" });
    }
    traces.push({ type: "scatter", mode: "lines", x: [], y: [], hoverinfo: "skip", line: { width: 4, color: css("--ink") } });
    const ends = axes.flatMap((axis, k) => (axis.choices || [show(axis.low), show(axis.high)]).map((text, j, list) => ({
      x: k, y: list.length > 1 ? j / (list.length - 1) : 0.5, text, showarrow: false, font: { size: 11 }, xanchor: "center",
      yanchor: axis.choices ? "bottom" : j ? "bottom" : "top", bgcolor: axis.choices ? css("--paper") : undefined })));
    const width = Math.max(320, 115 * axes.length);
    find("parallel").style.minWidth = `${width}px`;
    Plots.draw("parallel", traces, {
      margin: { l: 40, r: 40, t: 20, b: 80 }, annotations: ends, yaxis: { visible: false, range: [-0.1, 1.1], fixedrange: true },
      xaxis: { tickvals: [...axes.keys()], ticktext: axes.map((axis) => label(axis.name).replace(/[. ](?=[^. ]*$)/, "<br>")), range: [-0.4, axes.length - 0.6], fixedrange: true, showgrid: true, tickangle: 0 },
      shapes: axes.map((_, k) => ({ type: "line", x0: k, x1: k, y0: 0, y1: 1, line: { width: 1, color: css("--soft") } })),
    });
    lineOf = path;
  }

  function slices() {
    const metric = select.value;
    for (const box of document.querySelectorAll(".plot[id^=slice-]")) box.dataset.metric = metric;
    const differ = new Set(column(metric).filter((value) => value !== null)).size > 1;
    own.slices.map((one, i) => scatter(`slice-${i}`, one.name, metric, {
      y: differ ? {} : windowOf(metric),
      x: one.log ? { type: "log", tickangle: 0, ...marks(one.low, one.high) } : {}, shapes: one.band ? [{ type: "rect", x0: one.band[0], x1: one.band[1], y0: 0, y1: 1, yref: "paper",
        fillcolor: css("--accent"), opacity: 0.15, line: { width: 0 } }] : [],
    })).forEach(Page.listen);
  }

  /* Ticks of a logarithmic axis, each written out: Plotly's own between powers of ten are single digits. */
  function marks(low, high) {
    const first = Math.floor(Math.log10(low));
    const powers = Array.from({ length: Math.floor(Math.log10(high)) - first + 2 }, (_, k) => first + k);
    const inside = (values) => values.filter((value) => value >= low * 0.999 && value <= high * 1.001);
    let values = [];
    for (const digits of [[1], [1, 3], [1, 2, 5]]) {
      values = powers.flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`)));
      if (inside(values).length > 2) break;
    }
    if (inside(values).length < 3) values = even(low, high);
    return { tickmode: "array", tickvals: values, ticktext: values.map(String) };
  }

  /* Round values at even distances, three to six of them from low to high; one where these are equal. */
  function even(low, high) {
    if (high <= low) return [Number(low.toPrecision(3))];
    const power = Math.floor(Math.log10((high - low) / 3));
    const step = [5, 2, 1].map((digit) => digit * 10 ** power).find((size) => Math.floor(high / size) - Math.ceil(low / size) > 1);
    const from = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - from + 1 }, (_, k) => Number(((from + k) * step).toPrecision(6)));
  }

  function draw() {
    if (own.importance) importance();
    parallel();
    Page.listen(find("parallel"));
    if (select) slices();
  }

  /* The line of the chosen network is the last trace. */
  function choose(id, i) {
    const box = find("parallel");
    Plotly.restyle(box, { x: [[...own.axes.keys()]], y: [lineOf(i)] }, [box.data.length - 1]);
  }

  if (select) select.addEventListener("change", () => { slices(); Page.restore(); });
  Page.section({ draw, choose });
})();
