"""NumPy arrays in `.npy` files: written whole or not at all, read without trusting their header."""

from __future__ import annotations

import io
import math
import os
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from runtime.errors import UserError
from runtime.files import atomic_path


def save_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array whole or not at all.

    Raises:
        UserError: the disk is full.
    """
    # Through memory: numpy's own writer does not say that the disk is full.
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    with atomic_path(path, size=len(buffer.getbuffer())) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def check_array_size(file: BinaryIO) -> None:
    """Check that a `.npy` file has as many bytes as its header says; return to its beginning.

    numpy allocates what the header asks for. A header of 128 bytes may ask for terabytes, or for
    a billion texts of no characters, which take no bytes in the file and gigabytes in memory.

    Raises:
        ValueError: the file has more or fewer bytes, or its elements have none.
    """
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"npy format {version}")
    shape, _, dtype = read_header(file)
    size = os.fstat(file.fileno()).st_size
    if not dtype.hasobject:  # refused by read_array
        count = math.prod(shape)
        if count and dtype.itemsize == 0:
            raise ValueError("elements of no bytes")
        if count * dtype.itemsize != size - file.tell():
            raise ValueError("another size than the header says")
    file.seek(0)


def load_array(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an array without running code and without allocating more than the file holds.

    Raises:
        UserError: it is missing, damaged, or holds Python objects.
    """
    try:
        # Not np.load, which takes zip files as well.
        with open(path, "rb") as file:
            check_array_size(file)
            return np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run the experiment that writes it") from error
    except MemoryError as error:  # a damaged header may claim any size
        raise UserError(f"{path} does not fit into memory: make it again") from error
    # What a damaged header raises depends on where it is damaged.
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, TokenError) as error:
        raise UserError(f"{path} is not a plain numpy array: make it again") from error
