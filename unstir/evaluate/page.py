"""The report as one page of HTML: no script, nothing loaded, light or dark as the reader's system is."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from unstir.evaluate.drawn import ANCHORS, curve, key, scale
from unstir.evaluate.numerals import decimals, numeral, told

_STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfa; --card: #fff; --ink: #1d2126; --soft: #626b76; --rule: #e3e5e1;
  --accent: #1f6feb; --span: #1f6feb40; --mark: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1b1f23; --ink: #e6e8ea; --soft: #97a1ac;
  --rule: #2e343a; --accent: #6ea8ff; --span: #6ea8ff45; --mark: #e0b252; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }
h1 { font-size: 2rem; line-height: 1.15; letter-spacing: -.02em; font-weight: 650; margin: 0; text-wrap: balance; }
h2 { font-size: 1.125rem; font-weight: 620; letter-spacing: -.005em; margin: 3rem 0 .25rem; }
p { max-width: 42rem; margin: .25rem 0 .75rem; color: var(--soft); }
.lead { font-size: 1.0625rem; max-width: 46rem; margin: .75rem 0 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem 1.5rem;
  margin: 2rem 0 0; padding: 1.25rem 0; border: solid var(--rule); border-width: 1px 0; }
dt { font-size: .75rem; color: var(--soft); }
dd { margin: 0; font-size: .9375rem; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: .75rem -1.5rem 0; padding: 0 1.5rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
th { font-weight: 400; font-size: .75rem; color: var(--soft); vertical-align: bottom; }
tbody th { font-size: inherit; color: inherit; white-space: normal; vertical-align: middle; min-width: 8rem; }
td.value { font-weight: 650; }
td.span, td.anchor { color: var(--soft); }
td.scale { width: 11rem; padding-left: 1rem; padding-right: 1rem; }
.none { color: var(--soft); opacity: .6; }
sup { font-size: .7em; line-height: 0; }
svg { display: block; }
svg.key { display: inline-block; vertical-align: -3px; margin-right: .25rem; }
svg text { font-size: 11px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.rail, .grid { stroke: var(--rule); fill: none; }
.span { stroke: var(--span); stroke-width: 8; stroke-linecap: round; fill: none; }
.mark { stroke: var(--mark); stroke-width: 1.5; fill: none; }
.hollow { fill: var(--paper); }
.dot { fill: var(--accent); }
.line { stroke: var(--accent); stroke-width: 1.75; stroke-linejoin: round; stroke-linecap: round; fill: none; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 2rem 1.5rem;
  margin-top: 1rem; }
figure { margin: 0; min-width: 0; }
.curves figcaption { max-width: 24rem; display: flex; justify-content: space-between; gap: 1rem; font-size: .875rem;
  margin-bottom: .35rem; font-variant-numeric: tabular-nums; }
.curves figcaption b { color: var(--accent); font-weight: 620; white-space: nowrap; }
svg.curve { width: 100%; max-width: 24rem; height: auto; }
.figures figure { margin: 1.5rem 0 2.5rem; }
.figures figcaption { max-width: 42rem; font-size: .9375rem; color: var(--soft); margin-top: .6rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--rule);
  border-radius: 6px; }
img.small { image-rendering: pixelated; }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--rule); font-size: .8125rem;
  color: var(--soft); }
@media print { main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""

_SIGHT = 384
"""px that a picture is enlarged to at most, pixel by pixel, when it is small."""


def page(said: Mapping[str, Any], pngs: Sequence[bytes]) -> str:
    """The page.

    said: what report.json holds, as `report.write_report` writes it.  pngs: its figures, encoded, in the same order.
    """
    title = escape(said["title"])
    lead = "\n".join(f'<p class="lead">{escape(line)}</p>' for line in said["summary"].splitlines())
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        # Nothing in the page may run or load, whatever a caption says.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; ',
        "style-src 'unsafe-inline'\">\n",
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{lead}\n",
        _settings(said["settings"]),
        *(_table(table) for table in said["tables"]),
        _curves(said["curves"]),
        _figures(said["figures"], pngs),
        "<footer>Rounded for reading; rest the pointer on a number to see all of it. "
        "The same numbers are in report.json.</footer>\n</main>\n</body>\n</html>\n",
    ]
    return "".join(parts)


def _settings(settings: Mapping[str, object]) -> str:
    if not settings:
        return ""
    entries = "".join(f"<div><dt>{escape(name)}</dt><dd>{told(value)}</dd></div>\n" for name, value in settings.items())
    return f"<dl>\n{entries}</dl>\n"


def _table(table: Mapping[str, Any]) -> str:
    rows = table["rows"]
    anchors = [name for name in ANCHORS if any(row.get(name) is not None for row in rows)]
    spans = any(row.get("interval") is not None for row in rows)
    note = f"<p>{escape(table['note'])}</p>\n" if table["note"] else ""
    heads = ["<th></th>", '<th scope="col">value</th>']
    if spans:
        heads.append('<th scope="col">95 % interval</th>')
    if spans or anchors:
        heads.append("<th></th>")
    heads += [f'<th scope="col">{key(name)}{name}</th>' for name in anchors]
    body = "".join(_row(row, anchors, spans) for row in rows)
    return (
        f"<section>\n<h2>{escape(table['title'])}</h2>\n{note}"
        f'<div class="wide"><table>\n<thead><tr>{"".join(heads)}</tr></thead>\n<tbody>\n{body}</tbody>\n'
        "</table></div>\n</section>\n"
    )


def _row(row: Mapping[str, Any], anchors: Sequence[str], spans: bool) -> str:
    value, interval = row["value"], row.get("interval")
    places = decimals(value, interval)
    cells = [f'<th scope="row">{escape(row["name"])}</th>', f'<td class="value">{numeral(value, places)}</td>']
    if spans:
        bounds = " to ".join(numeral(bound, places) for bound in interval or []) or numeral(None)
        cells.append(f'<td class="span">{bounds}</td>')
    if spans or anchors:
        cells.append(f'<td class="scale">{scale(row)}</td>')
    cells += [f'<td class="anchor">{numeral(row.get(name), places)}</td>' for name in anchors]
    return f"<tr>{''.join(cells)}</tr>\n"


def _curves(curves: Sequence[Mapping[str, Any]]) -> str:
    if not curves:
        return ""
    drawn = []
    for one in curves:
        last = next((y for y in reversed(one["ys"]) if y is not None), None)
        head = f"<figcaption><span>{escape(one['name'])}</span><b>{numeral(last)}</b></figcaption>"
        drawn.append(f"<figure>{head}{curve(one['name'], one['xs'], one['ys'])}</figure>\n")
    return f'<section>\n<h2>Curves</h2>\n<div class="curves">\n{"".join(drawn)}</div>\n</section>\n'


def _figures(figures: Sequence[Mapping[str, Any]], pngs: Sequence[bytes]) -> str:
    if not figures:
        return ""
    shown = []
    for figure, png in zip(figures, pngs, strict=True):
        width, height = figure["size"]
        times = max(1, _SIGHT // max(width, height))
        small = ' class="small"' if times > 1 else ""
        caption = escape(figure["caption"])
        source = base64.b64encode(png).decode()
        shown.append(
            f'<figure><img{small} width="{width * times}" height="{height * times}" alt="{caption}" '
            f'src="data:image/png;base64,{source}"><figcaption>{caption}</figcaption></figure>\n'
        )
    return f'<section class="figures">\n<h2>Figures</h2>\n{"".join(shown)}</section>\n'
