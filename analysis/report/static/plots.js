"use strict";
/* Draws the page's plots from its data; knows colours, axes and traces, not what a click does. */
const Plots = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon"];
  const LIGHT = ["#0072b2", "#d55e00", "#007a5a", "#b0508a", "#5b4bb3", "#8a6d00", "#444444", "#a03030"];
  const DARK = ["#56b4e9", "#f08a45", "#35c498", "#e39cc6", "#a99cff", "#e0c050", "#cccccc", "#f08080"];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colours = () => (dark.matches ? DARK : LIGHT);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const points = data.points;
  const index = new Map(points.id.map((id, i) => [id, i]));
  const find = (name) => document.getElementById(name);
  const label = (name) => data.labels[name] || name;
  const all = points.id.map((_, i) => i);
  const pick = (column, rows) => rows.map((i) => column[i]);

  function layout(extra) {
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true };
    const made = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 13, color: css("--ink") },
      margin: { l: 55, r: 15, t: 12, b: 45 }, hovermode: "closest", dragmode: "zoom", showlegend: false,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      ...extra,
    };
    for (const name of Object.keys(made).filter((key) => /^[xy]axis/.test(key))) made[name] = { ...axis, ...made[name] };
    return made;
  }

  function draw(name, traces, more) {
    const box = find(name);
    Plotly.react(box, traces, layout(more), { displayModeBar: false, responsive: true });
    return box;
  }

  /* What all scatter plots of networks share: one trace a kind for the front, one for the others, one ring. */
  function scatter(name, x, y, more) {
    const hover = `%{text}<br>${label(x)} %{x:.4g}<br>${label(y)} %{y:.4g}<extra></extra>`;
    const traces = [];
    for (const on of [0, 1]) {
      data.kinds.forEach((kind, k) => {
        const rows = all.filter((i) => points.kind[i] === k && points.front[i] === on && column(x)[i] !== null);
        if (!rows.length) return;
        traces.push({
          type: "scatter", mode: "markers", name: kind, legendgroup: kind, showlegend: Boolean(on),
          x: pick(column(x), rows), y: pick(column(y), rows), text: pick(points.id, rows), customdata: rows,
          hovertemplate: hover, error_x: on ? bars(x, rows) : undefined, error_y: on ? bars(y, rows) : undefined,
          marker: {
            color: colours()[k % 8],
            symbol: rows.map((i) => SYMBOLS[k % 8] + (on && points.noise[i] ? "-open" : "")),
            size: on ? 11 : 6, opacity: rows.map(() => (on ? 1 : 0.45)), line: { width: on ? 1.5 : 0 },
          },
        });
      });
    }
    traces.push({
      type: "scatter", mode: "markers", x: [], y: [], hoverinfo: "skip", name: "chosen", showlegend: false,
      marker: { size: 20, color: "rgba(0,0,0,0)", line: { width: 3, color: css("--ink") } },
    });
    return draw(name, traces.concat(more.traces || []), {
      xaxis: { title: { text: label(x) }, ...more.x },
      yaxis: { title: { text: label(y) }, ...more.y }, shapes: more.shapes || [],
    });
  }

  const column = (name) => points.metrics[name] || points.values[name];

  function bars(name, rows, kept = () => true) {
    const interval = data.intervals[name];
    if (!interval) return undefined;
    const at = rows.map((i) => (kept(i) && interval[points.id[i]]) || [null, null]);
    return {
      type: "data", symmetric: false, thickness: 1, width: 0, array: rows.map((i, j) => (at[j][1] === null ? null : at[j][1] - column(name)[i])),
      arrayminus: rows.map((i, j) => (at[j][0] === null ? null : column(name)[i] - at[j][0])),
    };
  }

  /* The range of the front with some air: hopeless networks lie outside until one zooms out. */
  function windowOf(name) {
    const values = all.filter((i) => points.front[i] && column(name)[i] !== null)
      .flatMap((i) => [column(name)[i], ...((data.intervals[name] || {})[points.id[i]] || [])]);
    if (!values.length) return {};
    const low = Math.min(...values), high = Math.max(...values);
    const air = 0.1 * (high - low) || 0.05 * (Math.abs(high) || 1);
    return { range: [low - air, high + air] };
  }

  function stairs(x, y) {
    const up = (name) => (data.maximise[name] ? 1 : -1);
    const sorted = all.filter((i) => column(x)[i] !== null && column(y)[i] !== null)
      .sort((a, b) => up(x) * (column(x)[b] - column(x)[a]) || up(y) * (column(y)[b] - column(y)[a]));
    const best = [];
    let top = -Infinity;
    for (const i of sorted) if (up(y) * column(y)[i] > top) { top = up(y) * column(y)[i]; best.push(i); }
    return { type: "scatter", mode: "lines", name: "front of the pair", hoverinfo: "skip", showlegend: false,
      x: pick(column(x), best), y: pick(column(y), best),
      line: { shape: "hv", dash: "dot", width: 1, color: css("--soft") } };
  }

  function paper(x, y) {
    const rows = data.paper.filter((row) => x in row && y in row);
    if (!rows.length) return [];
    return [{ type: "scatter", mode: "markers", name: "the paper's rows", text: rows.map((row) => row.label),
      x: rows.map((row) => row[x]), y: rows.map((row) => row[y]), hovertemplate: "paper: %{text}<extra></extra>",
      marker: { symbol: "star-open", size: 9, color: css("--soft") } }];
  }

  function pairs() {
    return data.pairs.map(([x, y], i) => scatter(`pair-${i}`, x, y, {
      x: windowOf(x), y: windowOf(y), traces: [stairs(x, y), ...attained(x, y), ...paper(x, y)],
    }));
  }

  function attained(x, y) {
    const found = data.attainment.find((one) => one.x === x && one.y === y);
    return !found ? [] : found.surfaces.map((surface) => ({
      type: "scatter", mode: "lines", name: `${surface.level} % of seed sets`, hoverinfo: "skip",
      x: surface.x, y: surface.y, line: { width: surface.level === 50 ? 2.5 : 1.2, color: css("--accent") },
    }));
  }

  /* One legend for all scatter plots: glyphs as the plots draw them. */
  function legend() {
    const GLYPHS = ["\u25cf", "\u25a0", "\u25c6", "\u25b2", "\u271a", "\u2716", "\u2605", "\u2b1f"];
    const items = data.kinds.map((kind, k) => [GLYPHS[k % 8], colours()[k % 8], kind]);
    if (data.attainment.length) items.push(["\u2501", css("--accent"), "25, 50, 75 % of seed sets"]);
    if (data.paper.length) items.push(["\u2606", css("--soft"), "the paper's rows"]);
    for (const box of document.querySelectorAll(".legend")) {
      box.replaceChildren(...items.map(([glyph, colour, text]) => {
        const item = document.createElement("span"), mark = document.createElement("span");
        mark.textContent = glyph + " ";
        mark.style.color = colour;
        mark.setAttribute("aria-hidden", "true");
        item.append(mark, text);
        return item;
      }));
    }
  }

  function cost() {
    const { epochs, hours, volume } = data.cost;
    const shapes = { line: { shape: "hv", color: colours()[0], width: 2.5 }, type: "scatter", mode: "lines" };
    for (const [name, x, title] of [["cost-epochs", epochs, "epochs run"], ["cost-hours", hours, "hours of training and evaluation"]]) {
      draw(name, [{ ...shapes, x, y: volume, hovertemplate: `%{x:.4g} ${title}<br>hypervolume %{y:.4f}<extra></extra>` }],
        { xaxis: { ...whole(title, name === "cost-epochs" ? x : [Infinity]), rangemode: "tozero", exponentformat: "none" }, yaxis: { title: { text: "hypervolume" }, rangemode: "tozero" } });
    }
    draw("ends", [{ type: "bar", width: data.ends.epoch.length < 15 ? 0.8 : undefined, x: data.ends.epoch, y: data.ends.count, marker: { color: colours()[0] },
      hovertemplate: "%{y} trials ended after epoch %{x}<extra></extra>" }],
      { xaxis: { title: { text: "last epoch" }, dtick: data.ends.epoch.length < 15 ? 1 : undefined }, yaxis: whole("trials", data.ends.count), bargap: 0.15 });
  }

  function importance() {
    if (!find("importance")) return;
    const names = [...data.importance.parameters].reverse();
    const traces = data.importance.objectives.map((objective, k) => ({
      type: "bar", orientation: "h", name: objective.label, y: names, offsetgroup: String(k), marker: { color: colours()[k % 8] },
      x: names.map((name) => objective.explained[name] ?? null),
      error_x: { type: "data", symmetric: false, thickness: 1.2, width: 3, color: css("--ink"),
        array: names.map((name) => (objective.high[name] ?? 0) - (objective.explained[name] ?? 0)),
        arrayminus: names.map((name) => (objective.explained[name] ?? 0) - (objective.low[name] ?? 0)) },
      hovertemplate: "%{y}<br>%{x:.3f} of " + objective.label + "<extra></extra>",
    })).concat(data.importance.objectives.map((objective, k) => ({
      type: "bar", orientation: "h", y: names, offsetgroup: String(k), showlegend: false, hoverinfo: "skip", width: undefined,
      base: names.map((name) => Math.max(0, (objective.null[name] ?? 0) - 0.002)), x: names.map((name) => (name in objective.null ? 0.004 : null)),
      marker: { color: css("--soft") },
    })));
    const height = 90 + 26 * names.length * Math.max(1, data.importance.objectives.length * 0.6);
    find("importance").style.height = `${height}px`;
    draw("importance", traces, { barmode: "group", showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "reversed" }, xaxis: { title: { text: "part explained" }, rangemode: "tozero" }, yaxis: {}, height });
  }

  /* Parallel coordinates, in plain lines: each axis scaled to [0, 1], a searched value that does not apply is a gap. */
  function parallel() {
    if (!find("parallel")) return;
    const axes = data.axes;
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
    draw("parallel", traces, {
      margin: { l: 40, r: 40, t: 20, b: 80 }, annotations: ends, yaxis: { visible: false, range: [-0.1, 1.1], fixedrange: true },
      xaxis: { tickvals: [...axes.keys()], ticktext: axes.map((axis) => label(axis.name).replace(/[. ](?=[^. ]*$)/, "<br>")), range: [-0.4, axes.length - 0.6], fixedrange: true, showgrid: true, tickangle: 0 },
      shapes: axes.map((_, k) => ({ type: "line", x0: k, x1: k, y0: 0, y1: 1, line: { width: 1, color: css("--soft") } })),
    });
    parallel.path = path;
  }

  function slices(metric) {
    const differ = new Set(column(metric).filter((value) => value !== null)).size > 1;
    return data.slices.map((one, i) => scatter(`slice-${i}`, one.name, metric, {
      y: differ ? {} : windowOf(metric),
      x: one.log ? { type: "log", tickangle: 0, ...marks(one.low, one.high) } : {}, shapes: one.band ? [{ type: "rect", x0: one.band[0], x1: one.band[1], y0: 0, y1: 1, yref: "paper",
        fillcolor: css("--accent"), opacity: 0.15, line: { width: 0 } }] : [],
    }));
  }

  /* Where one of two sides is attained more often: a rectangle a place, in the side's colour. */
  function differences() {
    data.differences.forEach((one, i) => {
      const axes = [windowOf(one.x), windowOf(one.y)];
      const inside = (value, axis, end) => value ?? axes[axis].range[end] + (end ? 1 : -1);
      const shapes = one.places.map(([left, right, low, high, share]) => ({
        type: "rect", x0: inside(left, 0, 0), x1: inside(right, 0, 1), y0: inside(low, 1, 0), y1: inside(high, 1, 1),
        fillcolor: colours()[share > 0 ? 0 : 1], opacity: Math.min(1, 0.15 + 0.75 * Math.abs(share)), line: { width: 0 }, layer: "below",
      }));
      const key = one.names.map((name, k) => ({ type: "scatter", mode: "markers", name, x: [null], y: [null], showlegend: true,
        marker: { symbol: "square", size: 12, color: colours()[k] } }));
      draw(`difference-${i}`, key, { shapes, showlegend: true, xaxis: { title: { text: label(one.x) }, ...axes[0] }, yaxis: { title: { text: label(one.y) }, ...axes[1] } });
    });
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

  /* An axis of whole numbers: none of its ticks is a fraction. */
  const whole = (title, values) => ({ title: { text: title }, dtick: Math.max(0, ...values) < 8 ? 1 : undefined });

  /* The plots of one network: its curves, and the norms of its channels. */
  function member(found) {
    const { epoch, images, ...curves } = found.curves;
    const lines = Object.entries(curves), all = data.validation;
    find("curves-note").hidden = images.every((count) => count === all);
    draw("curves", lines.map(([name, y], k) => ({ type: "scatter", mode: "lines+markers", name: label(name), x: epoch, y,
      line: { color: colours()[k] }, customdata: images,
      marker: { size: 7, symbol: epoch.map((_, i) => SYMBOLS[k] + (name.endsWith("accuracy") && images[i] < all ? "-open" : "")) },
      hovertemplate: `${label(name)} %{y:.3f} after epoch %{x}${name.endsWith("accuracy") ? ", of %{customdata} images" : ""}<extra></extra>` })),
      { showlegend: true, xaxis: { title: { text: "epoch" }, dtick: epoch.length < 12 ? 1 : undefined }, yaxis: { range: [-0.03, 1.03] } });
    find("norms").hidden = !found.histogram;
    if (found.histogram) {
      const { labels, counts, zero } = found.histogram;
      draw("norms", [{ type: "bar", x: ["0", ...labels], y: [zero, ...counts], marker: { color: [colours()[1], ...counts.map(() => colours()[0])] },
        hovertemplate: "%{y} channels with norm %{x}<extra></extra>" }],
        { xaxis: { title: { text: "norm of input channel" }, type: "category" }, yaxis: whole("channels", [zero, ...counts]), bargap: 0.05 });
    }
  }

  function show(value) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
  }

  /* A metric as elsewhere on the page: three places of a fraction. */
  const figure = (name, value) => (data.fractions.includes(name) ? value.toFixed(3) : show(value));

  /* Rings the network in all scatter plots and draws its line. */
  function choose(i) {
    for (const box of document.querySelectorAll(".plot")) {
      const ring = (box.data || []).findIndex((trace) => trace.name === "chosen");
      if (ring < 0) continue;
      const [x, y] = [box.dataset.x, box.dataset.metric || box.dataset.y];
      const at = i === undefined ? null : column(x)[i];
      Plotly.restyle(box, { x: [at === null ? [] : [at]], y: [at === null ? [] : [column(y)[i]]] }, [ring]);
    }
    const lines = find("parallel");
    if (lines && lines.data) Plotly.restyle(lines, { x: [[...data.axes.keys()]], y: [i === undefined ? [] : parallel.path(i)] }, [lines.data.length - 1]);
  }

  /* Fades networks below a value of a metric; none for null. */
  function fade(metric, least) {
    for (const box of document.querySelectorAll(".plot[data-x]")) {
      (box.data || []).forEach((trace, k) => {
        if (!trace.customdata) return;
        const on = points.front[trace.customdata[0]];
        const kept = (i) => least === null || column(metric)[i] >= least;
        const change = { "marker.opacity": [trace.customdata.map((i) => (kept(i) ? (on ? 1 : 0.45) : 0.08))] };
        const names = { x: box.dataset.x, y: box.dataset.metric || box.dataset.y };
        for (const [axis, shown] of on ? Object.entries(names) : []) {
          const made = bars(shown, trace.customdata, kept);
          if (made) Object.assign(change, { [`error_${axis}.array`]: [made.array], [`error_${axis}.arrayminus`]: [made.arrayminus] });
        }
        Plotly.restyle(box, change, [k]);
      });
    }
  }

  return { data, points, index, legend, column, label, show, pairs, cost, importance, parallel, slices, differences, figure, member, choose, fade, dark };
})();
