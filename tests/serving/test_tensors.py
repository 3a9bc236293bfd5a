from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rankops.serving.tensors import (
    HEADER_LENGTH,
    TensorError,
    decode_texts,
    encode_tensor,
    encode_texts,
    split_body,
    split_tensors,
)

TEXTS = st.lists(st.text(max_size=40), max_size=12)


@given(TEXTS)
def test_texts_come_back_as_they_were(texts):
    assert decode_texts(memoryview(encode_texts(texts)), len(texts)) == texts


@given(TEXTS.filter(bool), st.data())
def test_a_tensor_that_is_cut_off_anywhere_is_refused(texts, data):
    encoded = encode_texts(texts)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(TensorError):
        decode_texts(memoryview(encoded[:cut]), len(texts))


@given(TEXTS, st.integers(0, 20), st.binary(min_size=1, max_size=8))
def test_a_tensor_with_more_than_its_shape_says_is_refused(texts, count, more):
    encoded = encode_texts(texts)
    with pytest.raises(TensorError):
        decode_texts(memoryview(encoded + more), len(texts))
    if count != len(texts):
        with pytest.raises(TensorError):
            decode_texts(memoryview(encoded), count)


@given(st.binary(max_size=64), st.integers(0, 6))
def test_any_bytes_are_texts_or_refused(data, count):
    try:
        found = decode_texts(memoryview(data), count)
    except TensorError:
        return
    assert encode_texts(found) == data
    assert len(found) == count


def test_tritons_client_reads_and_writes_the_same_bytes():
    utils = pytest.importorskip("tritonclient.utils", reason="tritonclient is not installed")
    texts = ["", "red shoe", "Größe", "青い靴", "a" * 300]
    array = np.array([text.encode() for text in texts], dtype=object)
    encoded = encode_texts(texts)
    assert utils.serialize_byte_tensor(array).item() == encoded
    assert [element.decode() for element in utils.deserialize_bytes_tensor(encoded)] == texts


@settings(max_examples=50)
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5)))
def test_numbers_are_little_endian_and_row_major_whatever_they_were(values):
    expected = struct.pack(f"<{values.size}f", *values.ravel().tolist())
    for given_values in (values, np.asfortranarray(values), values.astype(">f4")):
        assert encode_tensor("FP32", given_values) == expected


def test_a_length_that_lies_is_refused_and_allocates_nothing():
    with pytest.raises(TensorError, match="4294967295 bytes, 1 are left"):
        decode_texts(memoryview(b"\xff\xff\xff\xffa"), 1)
    with pytest.raises(TensorError, match="not UTF-8"):
        decode_texts(memoryview(b"\x01\x00\x00\x00\xff"), 1)


@pytest.mark.parametrize("header", ["", "-1", "+1", "1.0", "1 ", "0x1", "٣", "9" * 20, "three"])
def test_a_header_length_that_is_no_number_of_bytes_is_refused(header):
    with pytest.raises(TensorError, match=HEADER_LENGTH):
        split_body(b"{}", header)


def test_a_body_is_split_where_the_header_says():
    assert split_body(b"{}abc", None) == (b"{}abc", b"")
    assert split_body(b"{}abc", "2") == (b"{}", b"abc")
    with pytest.raises(TensorError, match="is 6, the body has 5"):
        split_body(b"{}abc", "6")
    assert split_tensors(memoryview(b"abcd"), [("a", 1), ("b", 3)]) == {"a": b"a", "b": b"bcd"}
    for sizes in ([("a", 1)], [("a", 9)], []):
        with pytest.raises(TensorError, match="binary_data_size"):
            split_tensors(memoryview(b"abcd"), sizes)
