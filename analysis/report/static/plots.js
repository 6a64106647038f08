"use strict";
/* What the scripts of the sections draw with: the page's data, colours, axes and traces. */
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

  /* The range of the front with some air: networks far from it lie outside until the reader zooms out. */
  function windowOf(name) {
    const values = all.filter((i) => points.front[i] && column(name)[i] !== null)
      .flatMap((i) => [column(name)[i], ...((data.intervals[name] || {})[points.id[i]] || [])]);
    if (!values.length) return {};
    const low = Math.min(...values), high = Math.max(...values);
    const air = 0.1 * (high - low) || 0.05 * (Math.abs(high) || 1);
    return { range: [low - air, high + air] };
  }

  /* One legend for all scatter plots: glyphs as the plots draw them. */
  function legend() {
    const GLYPHS = ["\u25cf", "\u25a0", "\u25c6", "\u25b2", "\u271a", "\u2716", "\u2605", "\u2b1f"];
    const items = data.kinds.map((kind, k) => [GLYPHS[k % 8], colours()[k % 8], kind]);
    if (data.attainment.length) items.push(["\u2501", css("--accent"), "25, 50, 75 % of seed sets"]);
    if (((data.sections.front || {}).paper || []).length) items.push(["\u2606", css("--soft"), "the paper's rows"]);
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

  /* An axis of whole numbers: no tick is a fraction. */
  const whole = (title, values) => ({ title: { text: title }, dtick: Math.max(0, ...values) < 8 ? 1 : undefined });

  function show(value) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
  }

  /* A metric as elsewhere on the page: three decimals of a fraction. */
  const figure = (name, value) => (data.fractions.includes(name) ? value.toFixed(3) : show(value));

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

  /* Marks network i with a ring in all scatter plots; none when undefined. */
  function ring(i) {
    for (const box of document.querySelectorAll(".plot")) {
      const trace = (box.data || []).findIndex((one) => one.name === "chosen");
      if (trace < 0) continue;
      const [x, y] = [box.dataset.x, box.dataset.metric || box.dataset.y];
      const at = i === undefined ? null : column(x)[i];
      Plotly.restyle(box, { x: [at === null ? [] : [at]], y: [at === null ? [] : [column(y)[i]]] }, [trace]);
    }
  }

  return { data, points, all, index, dark, SYMBOLS, colours, css, pick, column, label, show, figure, draw, scatter, windowOf, whole, legend, ring, fade };
})();
