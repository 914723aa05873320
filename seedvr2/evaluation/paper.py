"""The numbers that the SeedVR2 paper prints: Tables 1, 4, 5 and 7 by benchmark, and the speeds of Table 6.

Names of metrics are ours where they mean the same quantity. The paper leaves open the colour space of PSNR and SSIM,
the network of LPIPS, the flow behind E*_warp (its arrow points up, but lower is better: the text praises bicubic's
0.395), and does not publish its degraded inputs. Whether a row may be compared with ours is for the caller to say.
The paper spells RealViformer "RealVifomer".
"""

from typing import NamedTuple

from seedvr2.errors import UserError


class Row(NamedTuple):
    """One method's row: number of the paper's table, name of the method, {metric: value}, and the same as printed."""

    table: int
    method: str
    values: dict[str, float]
    printed: dict[str, str]


BENCHES = ("spmcs", "udm10", "reds30", "youhq40", "videolq", "aigc28")
NO_ROWS = ("folder",)  # a benchmark of the user's own, about which the paper says nothing

_OURS = ("SeedVR2-3B", "SeedVR2-7B")
_METHODS = ("RealViformer", "MGLD-VSR", "UAV", "VEnhancer", "STAR", "SeedVR-7B", *_OURS)
_TABLE_1 = """
spmcs   psnr    24.19 23.41 21.69 18.20 22.58 20.78 22.97 22.90
spmcs   ssim    0.663 0.633 0.519 0.507 0.609 0.575 0.646 0.638
spmcs   lpips   0.378 0.369 0.508 0.455 0.420 0.395 0.306 0.322
spmcs   dists   0.186 0.166 0.229 0.194 0.229 0.166 0.131 0.134
udm10   psnr    26.70 26.11 24.62 21.48 24.66 24.29 25.61 26.26
udm10   ssim    0.796 0.772 0.712 0.691 0.747 0.731 0.784 0.798
udm10   lpips   0.285 0.273 0.323 0.349 0.359 0.264 0.218 0.203
udm10   dists   0.166 0.144 0.178 0.175 0.195 0.124 0.106 0.101
reds30  psnr    23.34 22.74 21.44 19.83 22.04 21.74 21.90 22.27
reds30  ssim    0.615 0.578 0.514 0.545 0.593 0.596 0.598 0.606
reds30  lpips   0.328 0.271 0.397 0.508 0.487 0.340 0.350 0.337
reds30  dists   0.154 0.097 0.181 0.229 0.229 0.122 0.135 0.127
youhq40 psnr    23.26 22.62 21.32 18.68 22.15 20.60 22.10 22.46
youhq40 ssim    0.606 0.576 0.503 0.509 0.575 0.546 0.595 0.600
youhq40 lpips   0.362 0.356 0.404 0.449 0.451 0.323 0.284 0.274
youhq40 dists   0.193 0.166 0.196 0.175 0.213 0.134 0.122 0.110
videolq niqe    4.153 3.864 4.079 5.122 5.915 4.933 4.687 4.948
videolq musiq   54.65 53.49 52.90 42.66 40.50 48.35 51.09 45.76
videolq clipiqa 0.411 0.333 0.386 0.269 0.243 0.258 0.295 0.257
videolq dover   7.035 8.109 6.975 7.985 6.891 7.416 8.176 7.236
aigc28  niqe    3.994 4.049 4.541 4.176 5.004 4.294 3.801 4.015
aigc28  musiq   62.82 60.98 62.79 60.99 55.59 56.90 62.99 59.97
aigc28  clipiqa 0.647 0.570 0.653 0.461 0.435 0.453 0.561 0.497
aigc28  dover   11.66 14.27 13.09 15.31 14.82 14.77 15.77 15.55
"""
_TABLE_4 = """
spmcs   niqe    9.105  3.431  3.315  3.272  4.328  5.659  3.671  3.862  3.668
spmcs   musiq   24.65  62.09  65.25  65.01  54.94  37.74  70.03  63.52  63.37
spmcs   clipiqa 0.3448 0.4239 0.4948 0.5074 0.3341 0.2346 0.4690 0.4736 0.4367
spmcs   dover   0.9490 7.664  8.471  6.237  7.807  3.728  10.02  9.754  9.333
spmcs   warp_error  0.395  0.655  1.414  2.188  0.768  0.479  1.797  0.715  0.845
spmcs   vmaf    5.24   20.43  34.47  27.19  16.96  14.13  43.05  39.96  39.86
udm10   niqe    8.625  3.922  3.814  3.494  4.883  5.273  4.025  4.545  4.518
udm10   musiq   22.70  55.60  58.01  58.31  46.37  38.62  62.49  56.59  53.28
udm10   clipiqa 0.3377 0.3972 0.4430 0.4583 0.3035 0.2338 0.4404 0.3695 0.3459
udm10   dover   1.592  7.259  7.717  9.238  8.087  5.374  10.63  9.652  8.907
udm10   warp_error  0.506  0.630  1.412  1.558  0.771  0.775  1.953  0.777  0.830
udm10   vmaf    12.40  36.24  45.85  29.45  19.76  21.37  52.76  52.19  52.13
reds30  niqe    9.058  3.032  2.550  2.561  4.615  5.548  3.462  4.034  3.825
reds30  musiq   19.43  58.60  62.28  56.39  37.95  30.08  57.80  50.90  50.79
reds30  clipiqa 0.2538 0.3920 0.4442 0.3978 0.2445 0.2109 0.3019 0.2601 0.2622
reds30  dover   1.459  5.229  6.544  5.234  5.549  3.843  6.795  6.365  6.002
reds30  warp_error  0.852  1.619  3.897  5.366  2.131  1.841  4.854  4.010  4.084
reds30  vmaf    9.21   28.32  38.05  28.16  12.05  18.88  43.28  41.73  39.93
youhq40 niqe    9.241  3.172  3.255  3.000  4.161  5.470  3.288  3.722  3.378
youhq40 musiq   24.78  61.88  63.95  64.45  54.18  37.40  69.68  63.34  66.01
youhq40 clipiqa 0.3162 0.4376 0.5085 0.4710 0.3518 0.2466 0.5132 0.4649 0.4687
youhq40 dover   1.276  9.483  10.50  9.957  11.44  3.817  13.42  13.34  12.98
youhq40 warp_error  0.606  0.996  2.057  3.249  1.284  0.785  3.210  1.376  1.725
youhq40 vmaf    4.82   20.34  30.74  16.29  12.25  13.02  34.56  36.49  34.07
"""
_TABLE_5 = """
videolq niqe    5.365 4.687
videolq musiq   45.57 51.09
videolq clipiqa 0.230 0.295
videolq dover   6.609 8.176
aigc28  niqe    4.857 3.801
aigc28  musiq   58.85 62.99
aigc28  clipiqa 0.416 0.561
aigc28  dover   13.11 15.77
"""
_TABLE_7 = """
videolq niqe    5.079 4.687
videolq musiq   50.91 51.09
videolq clipiqa 0.341 0.295
videolq dover   8.389 8.176
aigc28  niqe    4.486 3.801
aigc28  musiq   62.62 62.99
aigc28  clipiqa 0.610 0.561
aigc28  dover   16.13 15.77
"""
_TABLES = (
    (1, _METHODS, _TABLE_1),
    (4, ("Bicubic", *_METHODS), _TABLE_4),
    (5, ("Progressive distillation", "SeedVR2-3B"), _TABLE_5),
    (7, ("DOVE-5B", "SeedVR2-3B"), _TABLE_7),
)
# Generator's parameters in millions, and seconds per video of 100 x 768 x 1344 (frames, height, width).
_TABLE_6 = {
    "VEnhancer": (2044.8, 2029.2),
    "UAV": (691.0, 1284.5),
    "MGLD-VSR": (1430.8, 1181.0),
    "STAR": (2041.0, 2326.0),
    "SeedVR-7B": (8239.6, 1284.8),
    "SeedVR2-3B": (3391.5, 269.0),
    "SeedVR2-7B": (8239.6, 299.4),
}
SPEED_SIZE = (100, 768, 1344)  # frames, height, width of Table 6; the diffusion baselines take 50 steps, SeedVR2 one


def paper_rows(bench: str) -> list[Row]:
    """The paper's rows on a benchmark, by table and then in the paper's order; none for the user's own folders.

    Raises UserError for a benchmark without a name of BENCHES or NO_ROWS.
    """
    if bench in NO_ROWS:
        return []
    if bench not in BENCHES:
        raise UserError(f"the benchmark {bench!r} is unknown; use one of {', '.join((*BENCHES, *NO_ROWS))}")
    rows = []
    for table, methods, text in _TABLES:
        lines = [line.split() for line in text.strip().splitlines()]
        columns = {metric: values for name, metric, *values in lines if name == bench}
        if columns:
            per_method = zip(*columns.values(), strict=True)
            for method, values in zip(methods, per_method, strict=True):
                printed = dict(zip(columns, values, strict=True))
                rows.append(Row(table, method, {metric: float(text) for metric, text in printed.items()}, printed))
    return rows


def paper_speed() -> list[Row]:
    """Table 6: {"parameters": millions in the generator, "seconds": per video of SPEED_SIZE}."""
    rows = []
    for name, (size, time) in _TABLE_6.items():
        values = {"parameters": size, "seconds": time}
        rows.append(Row(6, name, values, {part: f"{value:.1f}" for part, value in values.items()}))
    return rows
