"""A file → upright RGB, in processes of their own."""

from batchage.decode.budget import ByteBudget
from batchage.decode.pictures import decode, reduced_side, to_srgb
from batchage.decode.raw import RAW_SUFFIXES
from batchage.decode.recrop import Recropper
from batchage.decode.workers import N_DECODERS, DecodePool, decoded_ahead

__all__ = [
    "N_DECODERS",
    "RAW_SUFFIXES",
    "ByteBudget",
    "DecodePool",
    "Recropper",
    "decode",
    "decoded_ahead",
    "reduced_side",
    "to_srgb",
]
