"""The 202 EnMAP bands that SpectralEarth was pretrained on, in their order, and where a sensor covers them.

EnMAP has 224 bands; the 22 around 1.4 and 1.8 micrometres, where water vapour takes the light, were left out: 1283 to
1508 nm and 1728 to 1959 nm. Which bands these are follows from their number (202) and from the list that users of the
same data publish; the centres are those of the tiles of `enmap_potsdam` and differ between acquisitions by 0.3 nm.
The two detectors overlap: after the 91st band the list steps back by 91 nm. Plain data, imported at plan time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

# fmt: off
ENMAP_202_NM = (
    418.24, 423.874, 429.294, 434.528, 439.603, 444.549, 449.391, 454.159, 458.884, 463.584, 468.265, 472.934,
    477.599, 482.265, 486.941, 491.633, 496.349, 501.094, 505.87, 510.678, 515.519, 520.397, 525.313, 530.268,
    535.265, 540.305, 545.391, 550.525, 555.71, 560.947, 566.239, 571.587, 576.995, 582.464, 587.997, 593.596,
    599.267, 605.011, 610.833, 616.737, 622.732, 628.797, 634.919, 641.1, 647.341, 653.643, 660.007, 666.435,
    672.927, 679.485, 686.11, 692.804, 699.567, 706.401, 713.307, 720.282, 727.324, 734.431, 741.601, 748.833,
    756.124, 763.472, 770.876, 778.333, 785.843, 793.402, 801.01, 808.665, 816.367, 824.112, 831.901, 839.731,
    847.601, 855.509, 863.455, 871.433, 879.442, 887.478, 895.537, 903.617, 911.715, 919.827, 927.951, 936.082,
    944.217, 952.355, 960.495, 968.638, 976.783, 984.932, 993.083, 902.257, 911.872, 921.624, 931.512, 941.53,
    951.677, 961.948, 972.341, 982.851, 993.475, 1004.21, 1015.05, 1026, 1037.05, 1048.19, 1059.42, 1070.74,
    1082.14, 1093.62, 1105.17, 1116.79, 1128.47, 1140.2, 1151.98, 1163.81, 1175.67, 1187.56, 1199.48, 1211.42,
    1223.37, 1235.34, 1247.31, 1259.3, 1271.29, 1519.22, 1530.64, 1542.02, 1553.36, 1564.65, 1575.9, 1587.1,
    1598.26, 1609.36, 1620.43, 1631.44, 1642.41, 1653.33, 1664.2, 1675.03, 1685.8, 1696.53, 1707.2, 1717.83,
    1967.95, 1977.37, 1986.74, 1996.07, 2005.36, 2014.61, 2023.82, 2032.99, 2042.11, 2051.19, 2060.24, 2069.24,
    2078.21, 2087.13, 2096.01, 2104.86, 2113.67, 2122.44, 2131.17, 2139.87, 2148.52, 2157.15, 2165.73, 2174.28,
    2182.79, 2191.27, 2199.71, 2208.12, 2216.5, 2224.84, 2233.14, 2241.42, 2249.66, 2257.86, 2266.04, 2274.18,
    2282.29, 2290.37, 2298.42, 2306.44, 2314.42, 2322.37, 2330.29, 2338.19, 2346.05, 2353.88, 2361.68, 2369.45,
    2377.19, 2384.9, 2392.58, 2400.23, 2407.85, 2415.45, 2423.01, 2430.55, 2438.05, 2445.53,
)
# fmt: on
BEYOND_NM = 5.0
"""A grid band so little beyond the outermost band of a sensor is covered by that band: less than one step."""


def covered_samples(wavelengths_nm: Sequence[float]) -> range:
    """The longest run of neighbouring bands of the grid that lie inside of a sensor's range.

    A run, because the model looks at neighbours: a sensor that ends at 957 nm also covers a few bands of the second
    detector, which do not follow on those of the first that it covers.
    """
    low, high = min(wavelengths_nm) - BEYOND_NM, max(wavelengths_nm) + BEYOND_NM
    inside = [place for place, centre in enumerate(ENMAP_202_NM) if low <= centre <= high]
    longest = range(0)
    for _, group in itertools.groupby(enumerate(inside), key=lambda pair: pair[1] - pair[0]):
        places = [place for _, place in group]
        if len(places) > len(longest):
            longest = range(places[0], places[-1] + 1)
    return longest


def interpolation_weights(wavelengths_nm: Sequence[float]) -> list[dict[int, float]]:
    """Linear interpolation onto the covered samples: for each of them its bands, by place in the cube, and weights.

    Bands can be in any order; those with the same centre count as their mean. Nothing is extrapolated: a sample beyond
    the outermost band (by `BEYOND_NM` at most) takes that band's value.
    """
    places: dict[float, list[int]] = {}
    for place, centre in enumerate(wavelengths_nm):
        places.setdefault(float(centre), []).append(place)
    centres = sorted(places)
    weights = []
    for sample in covered_samples(wavelengths_nm):
        target = min(max(ENMAP_202_NM[sample], centres[0]), centres[-1])
        above = next(number for number, centre in enumerate(centres) if centre >= target)
        below = above if centres[above] == target else above - 1
        gap = centres[above] - centres[below]
        share = (target - centres[below]) / gap if gap else 1.0
        shares = {below: 1 - share, above: share}  # one entry where the sample is a band
        weights.append(
            {place: share / len(places[centres[n]]) for n, share in shares.items() for place in places[centres[n]]}
        )
    return weights
