"""The paper's tables, against cells and sums read from the paper by hand."""

import pytest

from seedvr2.errors import UserError
from seedvr2.evaluation.paper import BENCHES, paper_rows, paper_speed

CELLS = [  # table, benchmark, method, metric, value
    (1, "spmcs", "RealViformer", "psnr", 24.19),
    (1, "spmcs", "SeedVR2-7B", "dists", 0.134),
    (1, "udm10", "SeedVR2-3B", "ssim", 0.784),
    (1, "udm10", "STAR", "lpips", 0.359),
    (1, "reds30", "MGLD-VSR", "dists", 0.097),
    (1, "youhq40", "SeedVR2-3B", "lpips", 0.284),
    (1, "youhq40", "UAV", "psnr", 21.32),
    (1, "videolq", "VEnhancer", "musiq", 42.66),
    (1, "aigc28", "SeedVR-7B", "clipiqa", 0.453),
    (1, "aigc28", "SeedVR2-3B", "dover", 15.77),
    (4, "spmcs", "Bicubic", "dover", 0.949),
    (4, "udm10", "SeedVR2-7B", "vmaf", 52.13),
    (4, "reds30", "UAV", "warp_error", 5.366),
    (4, "reds30", "Bicubic", "clipiqa", 0.2538),
    (4, "youhq40", "SeedVR-7B", "musiq", 69.68),
    (4, "youhq40", "SeedVR2-3B", "niqe", 3.722),
    (5, "videolq", "Progressive distillation", "niqe", 5.365),
    (5, "aigc28", "Progressive distillation", "dover", 13.11),
    (7, "videolq", "DOVE-5B", "clipiqa", 0.341),
    (7, "aigc28", "DOVE-5B", "musiq", 62.62),
]
FULL_REFERENCE, NO_REFERENCE = {"psnr", "ssim", "lpips", "dists"}, {"niqe", "musiq", "clipiqa", "dover"}


@pytest.mark.parametrize(("table", "bench", "method", "metric", "value"), CELLS)
def test_cells_are_as_printed(table, bench, method, metric, value):
    rows = [row for row in paper_rows(bench) if (row.table, row.method) == (table, method)]
    assert len(rows) == 1
    assert rows[0].values[metric] == value == float(rows[0].printed[metric])


@pytest.mark.parametrize("bench", BENCHES)
def test_tables_have_the_metrics_and_methods_of_the_paper(bench):
    synthetic = bench not in ("videolq", "aigc28")
    sizes = {1: 8, 4: 9} if synthetic else {1: 8, 5: 2, 7: 2}
    rows = paper_rows(bench)
    assert {table: sum(row.table == table for row in rows) for table in sizes} == sizes
    assert len(rows) == sum(sizes.values())
    for row in rows:
        extra = {"warp_error", "vmaf"} if row.table == 4 else set()
        expected = FULL_REFERENCE if synthetic and row.table == 1 else NO_REFERENCE | extra
        assert row.values.keys() == expected == row.printed.keys()


def test_bicubic_has_the_lowest_warping_error_everywhere_as_the_text_says():
    found = []
    for bench in ("spmcs", "udm10", "reds30", "youhq40"):
        errors = {row.method: row.values["warp_error"] for row in paper_rows(bench) if row.table == 4}
        assert min(errors, key=errors.get) == "Bicubic"
        found.append(errors["Bicubic"])
    assert found == [0.395, 0.506, 0.852, 0.606]


@pytest.mark.parametrize("bench", ["videolq", "aigc28"])
def test_our_3b_row_is_the_same_in_every_table(bench):
    rows = [row.values for row in paper_rows(bench) if row.method == "SeedVR2-3B"]
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]


def test_sums_of_rows():
    psnr = sum(row.values["psnr"] for row in paper_rows("youhq40") if row.table == 1)
    vmaf = sum(row.values["vmaf"] for row in paper_rows("reds30") if row.table == 4)
    assert psnr == pytest.approx(23.26 + 22.62 + 21.32 + 18.68 + 22.15 + 20.60 + 22.10 + 22.46)
    assert vmaf == pytest.approx(9.21 + 28.32 + 38.05 + 28.16 + 12.05 + 18.88 + 43.28 + 41.73 + 39.93)


def test_speeds_are_those_of_table_6():
    speeds = {row.method: row.values for row in paper_speed()}
    assert len(speeds) == 7
    assert speeds["SeedVR2-3B"] == {"parameters": 3391.5, "seconds": 269.0}
    assert speeds["SeedVR2-7B"] == {"parameters": 8239.6, "seconds": 299.4}
    assert speeds["STAR"] == {"parameters": 2041.0, "seconds": 2326.0}


def test_own_folders_have_no_rows_and_unknown_names_are_refused():
    assert paper_rows("folder") == []
    with pytest.raises(UserError, match=r"'vid4'.*youhq40"):
        paper_rows("vid4")
