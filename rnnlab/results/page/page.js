'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const config = {
    displaylogo: false, showSendToCloud: false, responsive: true,
    modeBarButtonsToRemove: ['lasso2d', 'select2d'],
  };
  const splits = {train: '#8c8c8c', validation: '#0072b2', test: '#d55e00'};
  const panel = document.getElementById('panel');
  const plots = document.querySelectorAll('.plot');
  const visible = new Set();
  const stale = new Set(plots); // pictures that are not as they should be
  let chosen = null;

  // The look of all pictures, from the colours of the style sheet.
  function template() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = {
      gridcolor: colour('--line'), linecolor: colour('--line'), zeroline: false,
      automargin: true, title: {standoff: 8}, fixedrange: matchMedia('(pointer: coarse)').matches,
    };
    return {layout: {
      paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
      font: {color: colour('--ink'), family: getComputedStyle(document.body).fontFamily, size: 12},
      xaxis: axis, yaxis: axis, margin: {l: 48, r: 16, t: 28, b: 40}, hovermode: 'closest',
      hoverlabel: {
        bgcolor: colour('--soft'), bordercolor: colour('--line'), font: {color: colour('--ink')},
      },
      legend: {
        orientation: 'h', x: 0, y: 0, xref: 'container', yref: 'container', yanchor: 'bottom',
      },
      modebar: {
        bgcolor: 'rgba(0,0,0,0)', color: colour('--muted'), activecolor: colour('--accent'),
      },
    }};
  }

  // A trace whose colours differ in the dark has the other ones in `meta`.
  function coloured(trace) {
    if (!trace.meta) return trace;
    const shade = trace.meta[dark.matches ? 'dark' : 'light'];
    if (Array.isArray(shade)) return {...trace, line: {...trace.line, colorscale: shade}};
    const own = {...trace, line: {...trace.line, color: shade}};
    if (trace.fill) own.fillcolor = shade + '38';
    if (trace.marker) own.marker = {...trace.marker, color: shade};
    return own;
  }

  function draw(div) {
    const figure = data.figures[div.dataset.figure];
    const layout = {...figure.layout, template: template(), uirevision: 'kept'}; // keeps a zoom
    const first = !div.on;
    Plotly.react(div, figure.data.map(coloured).map(marked), layout, config);
    if (first) div.on('plotly_click', (event) => choose(event.points[0].customdata));
  }

  // A picture is drawn when it is seen.
  function refresh() {
    for (const div of visible) if (stale.delete(div)) draw(div);
  }

  const clickable = (trace) => trace.mode && trace.mode.includes('markers') && trace.customdata;

  // The points of the chosen item stay as they are, all others of such a trace fade.
  function marked(trace) {
    if (!clickable(trace)) return trace;
    const at = trace.customdata.flatMap((key, index) => (String(key) === chosen ? [index] : []));
    const selected = {marker: {opacity: 1, size: 12}}, unselected = {marker: {opacity: 0.25}};
    return {...trace, selected, unselected, selectedpoints: chosen === null ? null : at};
  }

  // A row of a table, whose first cell heads it.
  function rowOf(cells, kind = 'td') {
    const made = document.createElement('tr');
    made.append(...cells.map((text, at) => {
      const cell = document.createElement(at ? kind : 'th');
      cell.textContent = text;
      if (cell.matches('th')) cell.scope = kind === 'th' ? 'col' : 'row';
      return cell;
    }));
    return made;
  }

  function choose(key) {
    if (key === undefined || key === null || !(key in data.items)) return;
    chosen = String(key);
    const [name, values] = data.items[chosen];
    document.getElementById('chosen').textContent = name;
    const cells = data.columns.map((column, at) => [column, values[at]]);
    const filled = cells.filter(([, value]) => value !== '');
    document.getElementById('values').replaceChildren(...filled.map((cells) => rowOf(cells)));
    show(true);
  }

  function show(open) {
    panel.classList.toggle('open', open);
    document.getElementById('close').hidden = !open;
    document.getElementById('hint').hidden = open;
    for (const row of document.querySelectorAll('tr[data-item]')) {
      if (row.dataset.item === chosen) row.setAttribute('aria-current', 'true');
      else row.removeAttribute('aria-current');
    }
    drawCurve();
    for (const div of plots) {
      if (data.figures[div.dataset.figure].data.some(clickable)) stale.add(div);
    }
    refresh();
    panel.scrollTop = 0;
  }

  function close() {
    const button = document.querySelector('tr[aria-current] button');
    chosen = null;
    document.getElementById('chosen').textContent = 'Nothing chosen';
    document.getElementById('values').replaceChildren();
    show(false);
    if (button && panel.contains(document.activeElement)) button.focus();
  }

  // A panel for each metric, in it a line for each split.
  function drawCurve() {
    const div = document.getElementById('curve');
    div.hidden = document.getElementById('numbers').hidden = chosen === null;
    if (div.hidden) return;
    const [, , x, ys] = data.items[chosen];
    listCurve(x, data.lines.map(([metric, split], at) => [`${split} ${metric}`, ys[at]]));
    const metrics = [...new Set(data.lines.map(([metric]) => metric))];
    const fractions = data.lines.filter(([, , fraction]) => fraction).map(([metric]) => metric);
    const traces = data.lines.map(([metric, split], at) => {
      const axis = metrics.indexOf(metric) + 1;
      return {
        x, y: ys[at], name: split, mode: 'lines+markers', yaxis: 'y' + axis, marker: {size: 4},
        line: {color: splits[split]}, legendgroup: split, showlegend: axis === 1,
      };
    }).filter((trace) => trace.y.some((value) => value !== null));
    const layout = {
      template: template(), xaxis: {title: {text: 'epoch'}, anchor: 'y' + metrics.length},
      margin: {l: 48, r: 8, t: 24, b: 40},
      legend: {xref: 'paper', yref: 'paper', y: 1.02, yanchor: 'bottom'},
    };
    metrics.forEach((metric, at) => {
      const height = 1 / metrics.length;
      layout['yaxis' + (at + 1)] = {
        title: {text: metric}, domain: [1 - (at + 1) * height + 0.03, 1 - at * height - 0.03],
        tickformat: fractions.includes(metric) ? '~%' : '',
        gridcolor: template().layout.yaxis.gridcolor,
      };
    });
    Plotly.react(div, traces, layout, {displayModeBar: false, responsive: true});
  }

  // The numbers of the curve, a row for each epoch.
  function listCurve(x, lines) {
    const known = lines.filter(([, values]) => values.some((value) => value !== null));
    const head = rowOf(['epoch', ...known.map(([name]) => name)], 'th');
    const rows = x.map((epoch, at) => rowOf([
      +epoch.toPrecision(4), ...known.map(([, values]) => values[at] ?? '-'),
    ]));
    document.getElementById('points').replaceChildren(head, ...rows);
  }

  document.addEventListener('click', (event) => {
    const row = event.target.closest('tr[data-item]');
    if (row) choose(row.dataset.item);
  });

  // One row of a table is in the order of the Tab key; arrows move among them.
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && chosen !== null) close();
    const row = event.target.closest('tr[data-item]');
    if (!row) return;
    const rows = row.parentElement;
    const next = {
      ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling,
      Home: rows.firstElementChild, End: rows.lastElementChild,
    }[event.key];
    if (!next) return;
    event.preventDefault();
    row.querySelector('button').tabIndex = -1;
    next.querySelector('button').tabIndex = 0;
    next.querySelector('button').focus();
  });
  document.getElementById('close').addEventListener('click', close);

  const observer = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) {
      if (isIntersecting) visible.add(target);
      else visible.delete(target);
    }
    refresh();
  }, {rootMargin: '300px'});
  plots.forEach((div) => observer.observe(div));
  addEventListener('beforeprint', () => plots.forEach(draw));
  dark.addEventListener('change', () => {
    plots.forEach((div) => stale.add(div));
    refresh();
    drawCurve();
  });
})();
