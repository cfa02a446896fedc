"""The inverse normal CDF of a 32-bit word, the same bits everywhere.

Multiply in float, add in integers: no floating-point product is ever added to anything, so no
compiler, vector width or fused multiply-add can change a result. Each step is one correctly
rounded IEEE operation or an integer one. docs/spec/stream.md states it in full.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isometry.errors import ArgumentError

__all__ = ["COEFFICIENTS", "UNIT", "magnitude", "quantile"]

UNIT = 2.0**-27  # what one step of the integer magnitude is worth, in sigmas
SIGN = np.uint32(0x80000000)

# Row s = 2 * octave + half, of f = float32(v): c0 ... c5 in units of 2^-27, powers of t. Found by
# tools/fit_quantile.py; any change is a new stream version. The last row is f = 2^31, p = 1/2:
# no zero is ever drawn.
# fmt: off
COEFFICIENTS: tuple[tuple[int, int, int, int, int, int], ...] = (
    (831506914, -16911649, 6598345, -3476564, 2163014, -1399735),
    (824364798, -12179473, 3393833, -1277572, 555013, -254472),
    (816728915, -17203105, 6706393, -3532167, 2197062, -1421519),
    (809462692, -12392867, 3450282, -1298318, 563891, -258494),
    (801691827, -17509928, 6819832, -3590477, 2232741, -1444335),
    (794294897, -12617704, 3509591, -1320090, 573200, -262710),
    (786381745, -17833506, 6939122, -3651719, 2270183, -1468265),
    (778846908, -12855035, 3572010, -1342975, 582977, -267137),
    (770783488, -18175404, 7064775, -3716144, 2309538, -1493401),
    (763102865, -13106048, 3637816, -1367068, 593262, -271790),
    (754880428, -18537404, 7197372, -3784033, 2350971, -1519849),
    (747045366, -13372100, 3707322, -1392479, 604099, -276691),
    (738654288, -18921535, 7337567, -3855705, 2394668, -1547723),
    (730655254, -13654736, 3780883, -1419332, 615540, -281860),
    (722084910, -19330124, 7486104, -3931518, 2440842, -1577156),
    (713911355, -13955738, 3858904, -1447764, 627640, -287323),
    (705149968, -19765851, 7643830, -4011882, 2489731, -1608295),
    (696790178, -14277160, 3941847, -1477935, 640466, -293110),
    (687824637, -20231825, 7811719, -4097261, 2541608, -1641310),
    (679265538, -14621395, 4030244, -1510027, 654091, -299251),
    (670081178, -20731674, 7990890, -4188192, 2596785, -1676392),
    (661308112, -14991241, 4124707, -1544248, 668601, -305786),
    (651888446, -21269660, 8182643, -4285292, 2655620, -1713764),
    (642884888, -15389998, 4225952, -1580840, 684094, -312755),
    (633211275, -21850827, 8388493, -4389276, 2718528, -1753681),
    (623958487, -15821591, 4334811, -1620085, 700684, -320210),
    (614009722, -22481198, 8610215, -4500981, 2785991, -1796438),
    (604486314, -16290722, 4452269, -1662311, 718502, -328208),
    (594238111, -23168031, 8849912, -4621388, 2858574, -1842382),
    (584419494, -16803087, 4579490, -1707908, 737706, -336815),
    (573843822, -23920160, 9110087, -4751658, 2936942, -1891919),
    (563701502, -17365658, 4717870, -1757335, 758481, -346111),
    (552765736, -24748464, 9393743, -4893179, 3021885, -1945531),
    (542266394, -17987068, 4869090, -1811144, 781045, -356193),
    (530932198, -25666510, 9704525, -5047614, 3114348, -2003791),
    (520036478, -18678161, 5035197, -1870003, 805662, -367173),
    (508258315, -26691467, 10046887, -5216987, 3215473, -2067389),
    (496919192, -19452765, 5218708, -1934723, 832655, -379188),
    (484642304, -27845422, 10426336, -5403772, 3326648, -2137165),
    (472802838, -20328831, 5422749, -2006305, 862413, -392406),
    (459960436, -29157340, 10849751, -5611034, 3449585, -2214143),
    (447550624, -21330138, 5651247, -2085991, 895423, -407032),
    (434059877, -30666049, 11325819, -5842607, 3586408, -2299596),
    (420992094, -22488954, 5909183, -2175348, 932291, -423325),
    (406748261, -32424977, 11865617, -6103342, 3739791, -2395114),
    (392910455, -23850325, 6202936, -2276366, 973783, -441607),
    (377777938, -34509964, 12483374, -6399445, 3913131, -2502710),
    (363023078, -25479313, 6540712, -2391604, 1020880, -462288),
    (346821253, -37032825, 13197359, -6738937, 4110799, -2624963),
    (330950169, -27473933, 6932979, -2524385, 1074847, -485895),
    (313429690, -40166362, 14030536, -7132263, 4338462, -2765206),
    (296161514, -29989847, 7392529, -2679045, 1137334, -513117),
    (276962044, -44194220, 15009354, -7593090, 4603519, -2927787),
    (257879338, -33291874, 7932486, -2861278, 1210492, -544850),
    (236447419, -49620732, 16153752, -8139539, 4915598, -3118390),
    (214883748, -37874592, 8554923, -3078867, 1297095, -582263),
    (190293531, -57448497, 17425891, -8798887, 5286759, -3344393),
    (165068851, -44794689, 9192523, -3346536, 1400310, -626875),
    (135558608, -70035452, 18449057, -9654275, 5725088, -3615955),
    (104209568, -56847703, 9346473, -3748172, 1514505, -681820),
    (65602483, -94780116, 16350698, -11632488, 5981322, -4022778),
    (21113885, -85155665, 4248927, -5994870, 1045057, -962276),
    (3, 0, 0, 0, 0, 0),
)
# fmt: on

_FIRST = 2 * 127  # bits >> 22 of float32(1): the segment of v = 1
_COLUMNS = [
    np.array([row[d] for row in COEFFICIENTS], dtype=np.int32) for d in range(len(COEFFICIENTS[0]))
]
_LEADING = _COLUMNS[-1].astype(np.float32)  # exact: |c5| < 2^24


def quantile(words: ArrayLike) -> NDArray[np.float32]:
    """The standard normal that each 32-bit word stands for.

    z = -sign * Phi^-1(v / 2^32), v = (w mod 2^31) | 1, sign = -1 where bit 31 of w is set: v is
    the midpoint of a cell of width 2, so |z| lies in [2.2e-8, 6.2302], and no word gives zero.

    Args:
        words: uint32, any shape.

    Returns:
        float32, the same shape. |error| <= 3.4e-7, Kolmogorov-Smirnov distance <= 9.1e-8; for
        each sign |z| never rises with v.

    Raises:
        ArgumentError: the words are not uint32.

    Example:
        >>> import numpy as np
        >>> from isometry.stream import quantile
        >>> [f"{z:.4f}" for z in quantile(np.array([0x40000000, 0xC0000000], dtype=np.uint32))]
        ['0.6745', '-0.6745']

    Source: Wichura 1988 (AS 241) and all of its kind compute the same function with a logarithm
    and a square root, whose bits differ between libraries. torch, JAX and cuRAND use erfinv or
    Box-Muller, and agree with no one, themselves on another device included.
    """
    array = np.asarray(words)
    if array.dtype != np.uint32:
        raise ArgumentError(
            f"words of dtype {array.dtype}: expected uint32; write quantile(words.astype('uint32'))"
        )
    flat = array.reshape(-1)
    z = magnitude((flat & ~SIGN) | np.uint32(1))
    z *= np.float32(UNIT)
    return with_sign(z, flat).reshape(array.shape)


def magnitude(v: NDArray[np.uint32]) -> NDArray[np.float32]:
    """|z| in units of 2^-27 for v odd in [1, 2^31): the integer of the Horner sum, as float32."""
    bits = v.astype(np.float32).view(np.uint32)
    segment = ((bits >> np.uint32(22)) - np.uint32(_FIRST)).astype(np.intp)
    t = ((bits & np.uint32(0x3FFFFF)) | np.uint32(0x3F800000)).view(np.float32)
    t -= np.float32(1.25)
    a = _LEADING.take(segment)
    for column in reversed(_COLUMNS[:-1]):
        a *= t
        total = a.astype(np.int32)  # truncates toward zero
        total += column.take(segment)
        a = total.astype(np.float32)  # rounds to nearest even
    return a


def with_sign(z: NDArray[np.float32], words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """z with its sign bit flipped where bit 31 of the word is set; in place."""
    bits = z.view(np.uint32)
    bits ^= words & SIGN
    return z
