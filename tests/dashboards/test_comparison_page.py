"""The comparison page: says what was measured, escapes what it is given, and loads nothing from anywhere."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_results import EFFNET, made_cell, made_expected, made_few_shot, made_run, made_stage, made_sweep

from dashboards.comparison import DashboardError, render
from orchestrator.analysis.results import results_table, write_parquet
from orchestrator.analysis.shared_stages import shared_stages
from orchestrator.analysis.summary import compare, comparison_data
from orchestrator.ledger.records import RunRow


def _page(
    folder: Path, runs: list[RunRow], *, extra: list[Any] | None = None, sweep: dict[str, Any] | None = None
) -> str:
    return _file(folder, runs, extra=extra, sweep=sweep).read_text(encoding="utf-8")


def _file(
    folder: Path,
    runs: list[RunRow],
    *,
    extra: list[Any] | None = None,
    sweep: dict[str, Any] | None = None,
    metric: str = "miou",
) -> Path:
    table = results_table(runs)
    rows = compare(table, metric=metric) + (compare(table, metric=metric, expected=extra) if extra else [])
    comparison = comparison_data(rows, shared_stages(table))
    results = write_parquet(table, folder / "results.parquet", comparison=comparison, sweep=sweep)
    return render(results, folder / "out" / "comparison.html")


class _Collector(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "line", "circle", "polygon", "polyline", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polygon", "polyline"):
            assert self.open.pop() == tag


def test_every_tag_of_the_page_is_closed(tmp_path: Path) -> None:
    collector = _Collector()
    collector.feed(_page(tmp_path, made_sweep(), extra=[made_expected()]))
    assert collector.open == []


def test_the_page_shows_every_cell_with_score_spread_and_seeds(tmp_path: Path) -> None:
    page = _page(tmp_path, made_sweep())
    assert page.count("<tr data-dataset=") == 13
    row = compare(results_table(made_sweep()))[0]
    assert row.mean is not None
    assert row.spread is not None
    assert f"{100 * row.mean:.1f} ±{100 * row.spread:.1f}" in page
    assert "2/2" in page


def test_curves_have_axis_words_spread_bars_and_a_legend(tmp_path: Path) -> None:
    page = _page(tmp_path, made_sweep())
    assert "test mIoU x100" in page
    assert "labelled pixels used" in page
    assert 'class="legend"' in page
    assert page.count('class="plot"') == 3


def test_controls_are_drawn_dashed_in_the_colour_of_their_architecture(tmp_path: Path) -> None:
    page = _page(tmp_path, made_cell(f"{EFFNET}[regime=full]", (0.7, 0.8)) + made_cell("in_domain/unet", (0.6, 0.7)))
    assert "stroke-dasharray" not in page
    assert "stroke-dasharray" in _page(tmp_path, made_sweep())


def test_names_that_look_like_markup_are_shown_as_text(tmp_path: Path) -> None:
    evil = '"><img src=x onerror=alert(2)>'
    runs = made_cell("in_domain/unet", (0.7, 0.8), dataset=evil, budget="10%")
    page = _page(tmp_path, runs, sweep={"name": f"<b>{evil}", "description": "$name </style><script>alert(3)</script>"})
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    collector = _Collector()
    collector.feed(page)
    names = [tag for tag, _ in collector.tags]
    assert names.count("script") == 1
    assert "img" not in names
    assert not any(key.startswith("on") for _, attributes in collector.tags for key in attributes)


def test_the_page_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    page = _page(tmp_path, made_sweep())
    assert re.findall(r"https?:|//[a-z]|url\(|@import|src=", page.replace("default-src", "")) == []
    collector = _Collector()
    collector.feed(page)
    assert [attributes["href"] for tag, attributes in collector.tags if tag == "link"] == ["data:,"]
    policy = next(a["content"] for tag, a in collector.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_a_blocked_cell_shows_its_reason_and_no_number(tmp_path: Path) -> None:
    page = _page(tmp_path, made_sweep(), extra=[made_expected()])
    line = next(part for part in page.split("<tr ") if "spectf" in part and "blocked" in part)
    assert "needs band centres in nm, and indian_pines has none" in line
    assert "±" not in line


def test_a_sweep_without_a_finished_cell_still_has_a_page(tmp_path: Path) -> None:
    page = _page(tmp_path, [made_run("in_domain/unet", state="failed")])
    assert ">failed<" in page
    assert 'class="plot"' not in page


def test_an_empty_sweep_still_has_a_page(tmp_path: Path) -> None:
    assert "The grid has no cells" in _page(tmp_path, [])


def test_one_seed_shows_a_mean_without_a_spread(tmp_path: Path) -> None:
    page = _page(tmp_path, made_cell("in_domain/unet", (0.7,)))
    line = next(part for part in page.split("<tr ") if "unet" in part and "td" in part)
    assert "±" not in line


def test_what_makes_numbers_doubtful_is_flagged(tmp_path: Path) -> None:
    runs = made_cell("in_domain/unet", (0.7, 0.8), tags={"hsfm.split": "random", "hsfm.leakage": "possible"})
    runs += made_cell("in_domain/unet", (0.9, 0.9), dataset="samson", tags={"hsfm.labels": "derived"})
    page = _page(tmp_path, runs)
    for flag in ("random", "possible", "derived"):
        assert re.search(f'class="badge"[^>]*>{flag}<', page)
    assert "labels derived from a model" in page


def _few_shot_page(folder: Path, *splits: str) -> str:
    curves = {"in_domain/svm_rbf": {1: (0.3, 0.4), 3: (0.4, 0.5), 5: (0.5, 0.6), 20: (0.6, 0.7)}}
    runs = [run for split in splits for run in made_few_shot(curves, split=split)]
    return _file(folder, runs + [made_stage(f"pretrain of {EFFNET}")], metric="oa").read_text(encoding="utf-8")


def test_two_splits_of_one_scene_are_two_figures_and_the_random_one_is_flagged(tmp_path: Path) -> None:
    page = _few_shot_page(tmp_path, "block", "random")
    curves = page.partition("How scores grow")[2].partition("</section>")[0]
    assert curves.count("<figure>") == 2
    assert curves.count("random split, leaks") == 1
    collector = _Collector()
    collector.feed(page)
    assert collector.open == []


def test_labels_a_class_stand_on_a_log2_axis(tmp_path: Path) -> None:
    page = _few_shot_page(tmp_path, "block")
    at = {k: float(re.findall(rf'x="([0-9.]+)"[^>]*>{k}-shot<', page)[0]) for k in (1, 3, 5, 20)}
    whole = at[20] - at[1]
    for k in (3, 5):
        assert (at[k] - at[1]) / whole == pytest.approx(math.log2(k) / math.log2(20), abs=1e-3)


def test_published_scores_have_a_panel_of_their_own_that_says_which_test_set_is_another(tmp_path: Path) -> None:
    both = _few_shot_page(tmp_path, "block", "random")
    assert "ours, random split: the same kind of test pixels" in both
    assert "ours, block split: ANOTHER TEST SET" in both
    assert "best-test checkpoint · whole-scene statistics · copied" in both
    table = both.partition("<h2>All cells</h2>")[2]
    assert "DCFSL" in both
    assert "DCFSL" not in table
    assert '<span class="badge">other test set</span>' in _few_shot_page(tmp_path, "block")


def test_borders_and_shared_seconds_have_their_places(tmp_path: Path) -> None:
    page = _few_shot_page(tmp_path, "block")
    header = page.partition('id="cells"')[2].partition("</thead>")[0]
    assert re.findall(r'<button type="button">(OA border|OA interior)<', header) == ["OA border", "OA interior"]
    assert f"pretrain of {EFFNET}" in page.partition("What cells share")[2]
    assert 'type="button">OA border<' not in _page(tmp_path, made_sweep())
    assert "What cells share" not in _page(tmp_path, made_sweep())


def test_captions_speak_of_pretrained_models(tmp_path: Path) -> None:
    page = _page(tmp_path, made_sweep())
    assert "pretrained model" in page
    assert "foundation" not in page.lower()


def test_the_footer_says_where_the_numbers_come_from(tmp_path: Path) -> None:
    footer = _page(tmp_path, made_sweep()).partition("<footer>")[2]
    for part in ("torch 2.14.1", "0123456789abcdef", "indian_pines, digest feedfacecafebeef", "train"):
        assert part in footer


@pytest.mark.parametrize("case", ["absent", "damaged", "no comparison"])
def test_a_file_that_cannot_be_shown_is_refused_with_what_to_do(tmp_path: Path, case: str) -> None:
    path = tmp_path / "results.parquet"
    if case == "damaged":
        path.write_bytes(b"PAR1")
    elif case == "no comparison":
        pq.write_table(results_table([]), path)
    with pytest.raises(DashboardError, match="hsfm-sweep report"):
        render(path, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    driver_path, chromium_path = shutil.which("chromedriver"), shutil.which("chromium")
    if driver_path is None or chromium_path is None:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium_path
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for flag in (*flags.split(), "disable-component-update", "disable-sync", f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    yield driver
    driver.quit()


@pytest.mark.browser
def test_a_browser_sorts_and_filters_the_table_without_an_error(browser: Any, tmp_path: Path) -> None:
    path = _file(tmp_path, made_sweep(), extra=[made_expected()])
    browser.get(path.as_uri())

    def cells(column: int) -> list[str]:
        script = "return [...document.querySelectorAll('#cells tbody tr')].filter(r => !r.hidden)"
        return list(browser.execute_script(f"{script}.map(r => r.cells[{column}].innerText)"))

    score = browser.find_elements("css selector", "#cells th button")[3]
    score.click()
    downwards = [float(text.split(" ")[0]) for text in cells(3) if "±" in text]
    assert downwards == sorted(downwards, reverse=True)
    assert cells(3)[-1] == "blocked"
    score.click()
    upwards = [float(text.split(" ")[0]) for text in cells(3) if "±" in text]
    assert upwards == sorted(upwards)
    assert cells(3)[-1] == "blocked"
    browser.find_element("id", "search").send_keys("frozen 5-shot")
    assert len(cells(0)) == 2
    assert browser.get_log("browser") == []
