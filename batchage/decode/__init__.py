"""A file → upright RGB, in processes of their own."""

from batchage.decode.budget import ByteBudget, decoded_bytes
from batchage.decode.pictures import decode, to_srgb
from batchage.decode.raw import RAW_SUFFIXES
from batchage.decode.recrop import CHANGED, Recropper
from batchage.decode.workers import DecodePool, decoded_ahead, n_decoders

__all__ = [
    "CHANGED",
    "RAW_SUFFIXES",
    "ByteBudget",
    "DecodePool",
    "Recropper",
    "decode",
    "decoded_ahead",
    "decoded_bytes",
    "n_decoders",
    "to_srgb",
]
