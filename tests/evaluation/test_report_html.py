"""The HTML page is well-formed, needs nothing else, hides no warning, and shows what was measured."""

import base64
import re
from html.parser import HTMLParser

import pytest

from seedvr2.evaluation.report_html import html_page
from seedvr2.evaluation.results import completed
from tests.evaluation.report_samples import HARMFUL, made_up, png, swept

VOID = {"meta", "img", "br", "link", "input", "hr"}
DRAWN = {"line", "circle", "polyline"}  # closed by themselves, inside SVG


class Page(HTMLParser):
    """Reads a page, failing on any end without its start; keeps attributes, and texts by element."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.attributes, self.texts, self.sizes = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.sizes.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in DRAWN
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.sizes.append(tag)

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def having(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def page(results) -> Page:
    return Page(html_page(completed(results)))


@pytest.mark.parametrize("results", [made_up(), swept(), made_up(("x",), ("c",)), {"methods": {"x": {"clips": {}}}}])
def test_page_is_well_formed_and_refers_to_nothing_outside(results):
    text = html_page(completed(results))
    found = Page(text)
    assert all(address.startswith("data:image/png;base64,") for address in found.having("src"))
    anchors = set(found.having("id"))
    assert found.having("href")
    assert all(address[0] == "#" and address[1:] in anchors for address in found.having("href"))
    assert not {"link", "iframe", "object", "embed", "base"} & set(found.sizes)
    assert found.sizes.count("script") == 1
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", text)


def test_foreign_names_are_escaped_and_read_back_whole():
    found = page(made_up())
    assert ("th", HARMFUL) in found.texts
    assert ("figcaption", HARMFUL) in found.texts
    assert f"{HARMFUL}, {HARMFUL}" in found.having("alt")
    assert ("td", "pyiqa <is> not installed") in found.texts


@pytest.mark.parametrize("mark", ["partial", "registered"])
def test_marks_stand_in_a_banner_above_everything(mark):
    plain, marked = made_up(), made_up() | {mark: True}
    banner = f'<p class="banner">{mark.capitalize()}:'
    assert banner not in html_page(completed(plain))
    text = html_page(completed(marked))
    assert text.index("<h1>") < text.index(banner) < text.index("<table")


def test_conditions_stand_at_the_top():
    text = html_page(completed(made_up()))
    top = text[: text.index("<nav>")]
    for condition in (
        "youhq40",
        "720p",
        "aligned",
        "sha256:c0ffee",
        "seedvr2: 0.1",
        "two cores",
        "seedvr2.eval --bench",
    ):
        assert condition in top


def test_the_best_mean_is_bold_by_its_better_side():
    text = html_page(completed(made_up()))
    means = text[text.index('id="means"') : text.index('id="paired-comparison"')]
    best = re.findall(r'<td class="best"[^>]*>([\d.]+)', means)
    assert best == ["25.00", "0.3100"]  # PSNR highest, LPIPS lowest, nothing where neither side is better
    assert "[21.00, 22.00]" in means


def test_methods_keep_their_order():
    text = html_page(completed(made_up(("zebra", "mole", "ant"))))
    head = re.search(r'id="means".*?<thead>(.*?)</thead>', text, re.DOTALL).group(1)
    assert re.findall(r">([a-z]+)</th>", head) == ["metric", "zebra", "mole", "ant"]


def test_pictures_are_those_given_and_missing_ones_are_named(tmp_path):
    results = made_up(clips=("c", "d"))
    place = tmp_path / "crop.png"
    place.write_bytes(png(77))
    results["pictures"] = {"c": {"methods": {"bytes": png(5), "path": place, "lost": "gone<.png"}}}
    results["profiles"] = {}
    found = page(results)
    contents = [base64.b64decode(address.split(",")[1]) for address in found.having("src")]
    assert contents == [png(5), png(77)]
    assert ("div", "no picture: gone<.png is missing or holds none") in found.texts


def test_crops_come_worst_first_and_all_come():
    clips = [f"clip{i}" for i in range(8)]
    text = html_page(completed(made_up(clips=clips)))
    assert re.findall(r"<h3>(clip\d)</h3><p", text) == clips[::-1]  # a higher number has a higher LPIPS
    assert "3 more clips" in text


def test_the_papers_rows_are_marked_unless_comparable():
    found = page(made_up())
    assert ("caption", "Table 1 of the paper — not comparable") in found.texts
    assert ("caption", "Table 4 of the paper — not comparable") in found.texts
    assert ("td", "0.284") in found.texts  # SeedVR2-3B, LPIPS
    comparable = page(made_up() | {"comparable": True})
    assert ("caption", "Table 1 of the paper") in comparable.texts
    own = html_page(completed(made_up() | {"bench": {"name": "folder"}}))
    assert "Table 1 of the paper" not in own


def test_shifted_clips_are_listed_and_aligned_ones_counted():
    results = made_up(clips=("c", "d"))
    assert ("p", "6 of 6 clips lie exactly on the ground truth; offsets are whole pixels and frames.") in page(
        results
    ).texts
    results["offsets"]["zebra"]["d"] = {"down": -2, "right": 0, "frames": 1, "confidence": 0.875}
    texts = [text for _, text in page(results).texts]
    start = texts.index("confidence")
    assert texts[start + 1 : start + 7] == ["zebra", "d", "-2", "0", "+1", "0.88"]
    assert any(text.startswith("5 of 6 clips") for text in texts)


def test_a_sweep_is_drawn_with_a_point_for_each_setting():
    assert page(made_up()).sizes.count("circle") == 0
    found = page(swept(settings=(8, 1, 2)))
    assert found.sizes.count("circle") == 2 * 3  # PSNR and LPIPS; no chart where the sweep has no value
    assert ("span", "slow & steady") in found.texts
    curves = [value for tag, name, value in found.attributes if (tag, name) == ("polyline", "points")]
    for curve, rising in zip(curves, (True, False), strict=True):
        points = [tuple(map(float, point.split(","))) for point in curve.split()]
        across, down = zip(*points, strict=True)
        assert list(across) == sorted(across)
        assert list(down) == sorted(down, reverse=rising)  # pixels count downwards


def test_speed_is_laid_out_as_table_6():
    texts = [text for _, text in page(made_up()).texts]
    assert texts[texts.index("seconds per clip") + 1 :][:3] == ["3.00"] * 3
    assert texts[texts.index("seconds per frame") + 1 :][:3] == ["0.750"] * 3
    assert texts[texts.index("peak memory (MB)") + 1 :][:3] == ["102", "202", "302"]
    assert {"269.0", "8239.6", "Table 6 of the paper — not comparable"} <= set(texts)
