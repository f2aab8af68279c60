"""HTML tables of the comparison: all cells, and class by class. Everything that comes from data is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dashboards._marks import Row

_HEADERS = (
    ("data set", ""),
    ("labels", ""),
    ("strategy", ""),
    ("{metric} x100", "n"),
    ("seeds", "n"),
    ("gain init", "n"),
    ("gain full", "n"),
    ("transfer", ""),
    ("trained", "n"),
    ("device s", "n"),
    ("split", ""),
)
_REGIONS = (("OA border", "n"), ("OA interior", "n"))


def cells_table(rows: Sequence[Row], *, metric_title: str) -> str:
    """Every cell of the comparison, sortable; a cell without a mean shows its state and reason instead."""
    has_regions = any(row["oa_border"] is not None for row in rows)
    headers = (*_HEADERS[:5], *(_REGIONS if has_regions else ()), *_HEADERS[5:])
    header = "".join(
        f'<th scope="col"{_class(kind)}><button type="button">{escape(name.format(metric=metric_title))}</button></th>'
        for name, kind in headers
    )
    best = {row["dataset"]: 0.0 for row in rows}
    for row in rows:
        best[row["dataset"]] = max(best[row["dataset"]], row["mean"] or 0.0)
    groups = list(dict.fromkeys(map(_group, rows)))
    names = list(best)
    groups.sort(key=lambda group: (names.index(group[0]), group[1] == "random"))
    ordered = sorted(rows, key=lambda row: groups.index(_group(row)))
    body = "".join(_line(row, best[row["dataset"]], has_regions=has_regions) for row in ordered)
    table = f'<table class="sortable" id="cells"><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>'
    return f'{_tools(rows)}<div class="scroll">{table}</div>'


def classes_table(rows: Sequence[Row]) -> str:
    """IoU of every class (rows) by strategy (columns) of one data set and label budget."""
    names = list(dict.fromkeys(name for row in rows for name in row["class_iou"]))
    head = "".join(
        f'<th scope="col" class="n wrap">{escape(row["title"])}<br>{escape(row["details"])}</th>' for row in rows
    )
    lines = []
    for name in names:
        numbers = "".join(_class_score(row["class_iou"].get(name)) for row in rows)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{numbers}</tr>')
    header, body = f"<thead><tr><th>class</th>{head}</tr></thead>", f"<tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table>{header}{body}</table></div>'


def short_count(number: int | None) -> str:
    """4652008 is "4.65M", None is a dash."""
    if number is None:
        return "–"
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)


def shared_table(stages: Sequence[Row]) -> str:
    """Shared stages with their device seconds, each told once."""
    header = "".join(
        f'<th scope="col"{_class(kind)}>{name}</th>'
        for name, kind in (
            ("stage", ""),
            ("made from", ""),
            ("runs", "n"),
            ("device s", "n"),
            ("cells that use it", "n"),
        )
    )
    lines = "".join(
        f'<tr><td class="wide">{escape(stage["name"])}</td><td>{escape(stage["dataset"])}</td>'
        f'<td class="n">{stage["runs"]}</td><td class="n">{stage["device_s"]:,.0f}</td>'
        f'<td class="n">{"–" if stage["cells"] is None else stage["cells"]}</td></tr>'
        for stage in stages
    )
    return f'<div class="scroll"><table><thead><tr>{header}</tr></thead><tbody>{lines}</tbody></table></div>'


def _tools(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(row["dataset"] for row in rows))
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in names)
    search = '<input id="search" type="search" placeholder="filter: frozen 10%" aria-label="filter">'
    first = '<option value="">all data sets</option>'
    return f'<div class="tools">{search}<select id="dataset" aria-label="data set">{first}{options}</select></div>'


def _line(row: Row, best: float, *, has_regions: bool) -> str:
    budget = f"{row['budget_kind'] or ''} {row['budget_value'] or 0:012.4f}"
    generated = (
        ' <span class="badge" title="files written by data imitate: no result of the real data set">GENERATED</span>'
    )
    derived = ' <span class="badge" title="labels come from a model: in no choice and no aggregate">derived</span>'
    badges = {"derived": derived, "generated": generated}
    parts = (
        _cell(escape(row["dataset"]) + badges.get(row["labels"], ""), row["dataset"]),
        _cell(escape(row["label_budget"]) + _labels(row), budget),
        _strategy(row),
        _score(row, best),
        _cell(f"{len(row['values'])}/{row['seeds_expected']}", len(row["values"]), "n"),
        *((_region(row["oa_border"]), _region(row["oa_interior"])) if has_regions else ()),
        _gain(row["gain_same_regime"]),
        _gain(row["gain_full"]),
        _cell(
            f"{escape(row['transfer'] or '–')}<small>leakage {_flag(row['leakage'], 'none')}</small>", row["transfer"]
        ),
        _parameters(row),
        _device(row),
        _split(row),
    )
    return f'<tr data-dataset="{escape(row["dataset"])}">{"".join(parts)}</tr>'


def _group(row: Row) -> tuple[str, str | None, str]:
    return row["dataset"], row["split"], row["label_budget"]


def _region(score: float | None) -> str:
    return _cell("–", None, "n") if score is None else _cell(f"{100 * score:.1f}", f"{score:.6f}", "n")


def _strategy(row: Row) -> str:
    star = ' <span class="star" title="best of its data set and label budget on validation labels">*</span>'
    name = f"{escape(row['title'])}{star if row['chosen'] else ''}<small>{escape(row['details'])}</small>"
    reason = f"<small>{escape(row['reason'])}</small>" if row["mean"] is None and row["reason"] else ""
    label = escape(row["strategy"])
    return f'<td class="wrap" data-sort="{label}" title="{label}">{name}{reason}</td>'


def _parameters(row: Row) -> str:
    if row["parameters_trained"] is None:
        return _cell("–", None, "n")
    total = f"<small>of {short_count(row['parameters_total'])}</small>"
    bands = "" if row["bands_used"] is None else f"<small>{row['bands_used']} bands</small>"
    return _cell(short_count(row["parameters_trained"]) + total + bands, row["parameters_trained"], "n")


def _split(row: Row) -> str:
    """The split, and the share of test pixels inside or touching a training neighbourhood."""
    split = _flag(row["split"], "block", "images")
    audit = row["audit"] or {}
    seen, touching = audit.get("own_spectrum_share"), audit.get("overlapping_footprint_share")
    found = [f"{seen:.0%} seen"] if seen is not None else []
    found += [f"{touching:.0%} touch"] if touching is not None else []
    title = ' title="test pixels whose own spectrum, or whose neighbourhood, was in training"' if found else ""
    return _cell(f"<span{title}>{split}<small>{', '.join(found)}</small></span>", row["split"])


def _score(row: Row, best: float) -> str:
    if row["mean"] is None:
        return f'<td class="n" data-sort=""><span class="badge">{escape(row["state"])}</span></td>'
    spread = "" if row["spread"] is None else f" ±{100 * row['spread']:.1f}"
    width = 100 * max(row["mean"], 0.0) / best if best > 0 else 0.0
    seeds = ", ".join(f"seed {seed}: {100 * value:.1f}" for seed, value in row["values"].items())
    return (
        f'<td class="n score" data-sort="{row["mean"]:.6f}" title="{escape(seeds)}" '
        f'style="background-size:{width:.0f}% 3px">{100 * row["mean"]:.1f}{spread}</td>'
    )


def _gain(gain: Row | None) -> str:
    if gain is None:
        return _cell("–", None, "n")
    spread = "" if gain["spread"] is None else f" ±{100 * gain['spread']:.1f}"
    # colour only where the difference is larger than its own spread: one seed shows no direction
    is_clear = gain["spread"] is not None and abs(gain["mean"]) > gain["spread"]
    tone = ("up" if gain["mean"] > 0 else "down") if is_clear else ""
    words = f"over {gain['control']}, {gain['pairs']} pairs"
    if gain.get("interval"):
        low, high = (100 * end for end in gain["interval"])
        words += f", 95% interval {low:+.1f} to {high:+.1f}"
    if gain.get("verdict"):
        words += f", p = {gain['p_adjusted']:.2g} after Holm: {gain['verdict']}"
    mark = {"better": "▲", "worse": "▼", "equivalent": "="}.get(gain.get("verdict") or "", "")
    text = f'<span class="{tone}" title="{escape(words)}">{100 * gain["mean"]:+.1f}{spread}{mark}</span>'
    return _cell(text, f"{gain['mean']:.6f}", "n")


def _device(row: Row) -> str:
    if not row["device_s"]:
        return _cell("–", None, "n")
    total = sum(row["device_s"].values())
    shared = ""
    if row["shared_s"]:
        words = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in row["shared_s"].items())
        title = escape(f"{words}; shared with other cells")
        shared = f'<small title="{title}">+ {sum(row["shared_s"].values()):,.0f} shared</small>'
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in row["device_s"].items())
    return _cell(f'<span title="{escape(stages)}">{total:,.0f}</span>{shared}', f"{total:.3f}", "n")


def _labels(row: Row) -> str:
    if row["labels_train"] is None:
        return ""
    trained = ""
    if row["classes"] and row["classes_trained"] is not None and row["classes_trained"] < row["classes"]:
        trained = f", {row['classes_trained']} of {row['classes']} classes"
    return f"<small>{row['labels_train']:,.0f} + {row['labels_validation'] or 0:,.0f} val{trained}</small>"


def _flag(value: str | None, *harmless: str) -> str:
    text = escape(value or "–")
    return text if value is None or value in harmless else f'<span class="badge">{text}</span>'


def _class_score(iou: float | None) -> str:
    if iou is None:
        return '<td class="n">–</td>'
    return f'<td class="n score" style="background-size:{100 * iou:.0f}% 3px">{100 * iou:.1f}</td>'


def _cell(html: str, sort: object, kind: str = "") -> str:
    return f'<td{_class(kind)} data-sort="{escape("" if sort is None else str(sort))}">{html}</td>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
