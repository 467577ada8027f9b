"""Colour profiles made by hand: of screens, by primaries and gamma, and of four inks."""

import struct

import numpy as np

SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))
"""Red, green and blue, XYZ under D50."""
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71187, 0.0), (0.03134, 0.00009, 0.82491))
SWAPPED = (SRGB[1], SRGB[0], SRGB[2])
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
D50 = (0.9642, 1.0, 0.8249)

INKS = {
    "": (100, 0, 0), "C": (58, -36, -48), "M": (50, 74, -4), "Y": (92, -5, 91),
    "CM": (28, 20, -44), "CY": (52, -64, 27), "MY": (49, 68, 46), "CMY": (24, 0, 0),
}  # fmt: skip
"""What inks on paper look like, in Lab, roughly those of SWOP."""


def _fixed(values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(kind, space, connection, tags):
    tags = {"desc": _text(), "cprt": b"text\0\0\0\0none\0", "wtpt": _xyz(D50), **tags}
    table, body = struct.pack(">L", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name.encode() + struct.pack(">LL", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(">L4sL", start + len(body), b"test", 0x02400000)
    head += (kind + space + connection).encode() + struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
    head += b"acsp" + bytes(24) + struct.pack(">L", 0) + _fixed(D50)
    return head.ljust(128, b"\0") + table + body


def _text():
    return b"desc\0\0\0\0" + struct.pack(">L", 5) + b"test\0" + bytes(78)


def _xyz(values):
    return b"XYZ \0\0\0\0" + _fixed(values)


def _curve(gamma):
    if isinstance(gamma, tuple):
        return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(gamma)
    return b"curv\0\0\0\0" + struct.pack(">LH", 1, round(gamma * 256))


def screen_profile(primaries, gamma=SRGB_CURVE):
    """A profile of RGB by `primaries`; `gamma` is a number or the five of a parametric curve."""
    points = {f"{name}XYZ": _xyz(point) for name, point in zip("rgb", primaries, strict=True)}
    curves = {f"{name}TRC": _curve(gamma) for name in "rgb"}
    return _profile("mntr", "RGB ", "XYZ ", points | curves)


def grey_profile(gamma):
    """A profile of grey."""
    return _profile("mntr", "GRAY", "XYZ ", {"kTRC": _curve(gamma)})


def ink_profile():
    """A profile of CMYK with inks as in `INKS`; black makes them dark and pale."""
    nodes = []
    for corner in np.ndindex(2, 2, 2, 2):
        names = "".join(name for name, is_there in zip("CMY", corner[:3], strict=True) if is_there)
        light, a, b = np.array(INKS[names]) * (0.15 if corner[3] else 1)
        nodes.append((round(light * 2.55), round(a) + 128, round(b) + 128))
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(np.eye(3).ravel())
    table += ramp * 4 + bytes(np.array(nodes, np.uint8).ravel()) + ramp * 3
    return _profile("prtr", "CMYK", "Lab ", {"A2B0": table})
