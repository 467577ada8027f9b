"""A file → upright RGB, in processes of their own."""

from batchage.decode.budget import ByteBudget, decoded_bytes
from batchage.decode.pictures import decode, to_rgb
from batchage.decode.raw import RAW_SUFFIXES, is_raw, missing_reader
from batchage.decode.recrop import Recropper
from batchage.decode.workers import DecodePool, decoded_ahead, n_decoders

__all__ = [
    "RAW_SUFFIXES",
    "ByteBudget",
    "DecodePool",
    "Recropper",
    "decode",
    "decoded_ahead",
    "decoded_bytes",
    "is_raw",
    "missing_reader",
    "n_decoders",
    "to_rgb",
]
