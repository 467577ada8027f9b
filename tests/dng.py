"""Camera raw files made by hand: uncompressed DNG with an RGGB mosaic and, if wanted, a preview."""

import struct

import numpy as np

LETTERS = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B"}
RATIONALS = {5: "<II", 10: "<ii"}


def mosaic(picture):
    """What a sensor would have seen of an RGB uint8 picture, `(h, w)` uint16."""
    linear = ((np.asarray(picture) / 255) ** 2.2 * 65535).astype("<u2")
    seen = linear[..., 1].copy()
    seen[::2, ::2], seen[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    return seen


def directory(tags, start):
    """A TIFF directory at byte `start`; `tags` are `{tag: (type, values)}`."""
    rows, more = b"", b""
    after = start + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        if kind in RATIONALS:
            data = b"".join(struct.pack(RATIONALS[kind], *pair) for pair in values)
        else:
            data = struct.pack(f"<{len(values)}{LETTERS[kind]}", *values)
        rows += struct.pack("<HHI", tag, kind, len(values))
        if len(data) <= 4:
            rows += data.ljust(4, b"\0")
        else:
            rows += struct.pack("<I", after + len(more))
            more += data + b"\0" * (len(data) % 2)
    return struct.pack("<H", len(tags)) + rows + struct.pack("<I", 0) + more


def make_dng(seen, preview=None, size=(0, 0), orientation=1, taken=None, edited=None):
    """A DNG file of a mosaic `(h, w)`; `preview` is a JPEG file of `size` (width, height)."""
    height, width = seen.shape
    raw, first = seen.tobytes(), 8

    def inner(offset):
        tags = {
            254: (4, [0]), 256: (4, [width]), 257: (4, [height]), 258: (3, [16]), 259: (3, [1]),
            262: (3, [32803]), 273: (4, [offset]), 277: (3, [1]), 278: (4, [height]),
            279: (4, [len(raw)]), 33421: (3, [2, 2]), 33422: (1, [0, 1, 1, 2]), 50717: (4, [65535]),
        }  # fmt: skip
        return directory(tags, first)

    raw_at = first + len(inner(0))
    preview_at = raw_at + len(raw)
    jpeg = preview or b""
    jpeg += b"\0" * (len(jpeg) % 2)
    name = (2, b"Test\0")
    unit = [(int(i == j), 1) for i in range(3) for j in range(3)]
    outer = {
        271: name, 272: name, 274: (3, [orientation]), 330: (4, [first]), 50706: (1, [1, 4, 0, 0]),
        50708: name, 50721: (10, unit), 50728: (5, [(1, 1)] * 3),
    }  # fmt: skip
    for tag, date in {306: edited, 36867: taken}.items():
        if date:
            outer[tag] = (2, date.encode() + b"\0")
    if preview:
        outer |= {
            254: (4, [1]), 256: (4, [size[0]]), 257: (4, [size[1]]), 258: (3, [8] * 3),
            259: (3, [7]), 262: (3, [6]), 273: (4, [preview_at]), 277: (3, [3]),
            278: (4, [size[1]]), 279: (4, [len(preview)]),
        }  # fmt: skip
    at = preview_at + len(jpeg)
    head = b"II*\0" + struct.pack("<I", at)
    return head + inner(raw_at) + raw + jpeg + directory(outer, at)
