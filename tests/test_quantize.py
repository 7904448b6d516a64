"""Quantised embeddings: codes and bytes equal those of plain loops, and packed files score like the values in them."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_inputs import write_csv

import fastprobe
from fastprobe.errors import InputError
from fastprobe.quantization import BITS, QUANTIZERS, quantize, unpack
from fastprobe.readers.packed import packed_width

CODED = [(bits, name) for bits in (16, 8, 4, 2, 1) for name in ("uniform", "dimension")] + [(1, "sign")]
IDS = np.array([f"s{i:03d}" for i in range(90)])
MB = 2**20


def matrices(dtype: str) -> st.SearchStrategy[np.ndarray]:
    """Matrices of any finite numbers of a type; of float64 those whose ranges float64 can hold."""
    bound = 2.0**1022 if dtype == "float64" else None
    numbers = {"min_value": bound and -bound, "max_value": bound, "allow_nan": False, "allow_infinity": False}
    elements = hnp.from_dtype(np.dtype(dtype), **(numbers if dtype.startswith("float") else {}))
    return hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=elements)


MATRICES = st.sampled_from(["float64", "float32", "float16", "int8", "uint8"]).flatmap(matrices)


def slowly(x: np.ndarray, bits: int, quantizer: str) -> tuple[list[list[int]], list[list[float]]]:
    """Codes and values of every entry, one by one, in Python's floats (the same float64)."""
    rows = [[float(v) for v in row] for row in x]
    if quantizer == "sign":
        codes = [[int(v > 0) for v in row] for row in rows]
        return codes, [[2.0 * code - 1.0 for code in row] for row in codes]
    columns = list(zip(*rows, strict=True))
    every = [v for row in rows for v in row]
    codes, values = [], []
    for row in rows:
        codes.append([])
        values.append([])
        for v, column in zip(row, columns, strict=True):
            among = column if quantizer == "dimension" else every
            low, levels = min(among), 2**bits - 1
            step = (max(among) - low) / levels
            code = min(max(math.floor((v - low) / step + 0.5), 0), levels) if step > 0 else 0
            codes[-1].append(code)
            values[-1].append(low + code * step)
    return codes, values


def packed_slowly(codes: np.ndarray, bits: int) -> list[list[int]]:
    """Bytes of every row: its codes as one large number, the first code in the lowest bits."""
    width = math.ceil(codes.shape[1] * bits / 8)
    wholes = [sum(int(code) << (bits * j) for j, code in enumerate(row)) for row in codes]
    return [list(whole.to_bytes(width, "little")) for whole in wholes]


@pytest.mark.parametrize(("bits", "quantizer"), CODED)
@settings(max_examples=40, deadline=None)
@given(x=MATRICES)
@example(x=np.array([[5e-324], [0.0]]))  # a range that is not 0, with a step that is
@example(x=np.array([[1.0, 3.0], [1.0, -2.0]]))  # a dimension of one value
@example(x=np.array([[-8e307, 8e307], [0.0, 1.0]]))
def test_codes_and_values_equal_the_plain_loop(bits: int, quantizer: str, x: np.ndarray) -> None:
    found = quantize(x, bits, quantizer)
    codes, values = slowly(x, bits, quantizer)
    assert found.codes.dtype == (np.uint8 if bits <= 8 else np.float32)
    assert found.codes.tolist() == codes
    assert found.values().tolist() == values
    assert (found.bits, found.quantizer) == (bits, quantizer)
    assert np.shape(found.offset) == np.shape(found.step) == (x.shape[1:] if quantizer == "dimension" else ())


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), n=st.integers(0, 5), d=st.integers(1, 19))
def test_packing_equals_the_plain_loop_and_unpacks(bits: int, data: st.DataObject, n: int, d: int) -> None:
    codes = data.draw(hnp.arrays(np.uint8, (n, d), elements=st.integers(0, 2**bits - 1)))
    packed = fastprobe.Quantized(codes, bits, "uniform", 0.0, 1.0).packed()
    assert packed.shape == (n, packed_width(d, bits))
    assert packed.tolist() == packed_slowly(codes, bits)
    np.testing.assert_array_equal(unpack(packed, bits, d), codes)
    if bits == 1:
        np.testing.assert_array_equal(packed, np.packbits(codes, axis=1, bitorder="little"))


@pytest.mark.parametrize("d", [1, 7, 1023])
def test_rows_in_many_blocks_are_as_in_one(d: int) -> None:
    n = 3 * 2**17 // d + 5
    codes = np.random.default_rng(d).integers(0, 4, (n, d), dtype=np.uint8)
    codes[0, 0], codes[-1, -1] = 0, 3  # the range is that of all blocks together
    found = quantize(codes, 2)
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_array_equal(found.values(), codes)
    np.testing.assert_array_equal(unpack(found.packed(), 2, d), codes)


def test_a_value_is_at_most_half_a_step_away() -> None:
    x = np.random.default_rng(0).standard_normal((200, 9)) * np.arange(1, 10)
    for bits, name in CODED[:-1]:
        found = quantize(x, bits, name)
        # The quotient and the value are rounded: a few units in the last place of the values, which are below 100.
        assert (np.abs(found.values() - x) <= found.step / 2 + 4 * np.spacing(100.0)).all()


def test_a_range_of_one_value_has_step_zero() -> None:
    found = quantize(np.full((3, 2), 0.1), 4)
    assert (found.offset, found.step) == (0.1, 0.0)
    assert not found.codes.any()
    assert (found.values() == 0.1).all()


def test_32_bits_are_float32_without_codes() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3))
    single = x.astype(np.float32)
    found = quantize(single, 32)
    assert found.codes is single
    assert found.values(np.float32) is single
    assert (found.bits, found.quantizer, found.offset, found.step) == (32, "none", 0.0, 1.0)
    np.testing.assert_array_equal(quantize(x, 32, "dimension").values(), single.astype(np.float64))


def test_values_of_another_type_are_the_rounded_values() -> None:
    found = quantize(np.random.default_rng(0).standard_normal((4, 3)), 4, "dimension")
    assert found.values(np.float32).dtype == np.float32
    np.testing.assert_array_equal(found.values(np.float32), found.values().astype(np.float32))


def peak_of(work: Callable[[], Any]) -> int:
    """Most bytes that were held at a time beyond those held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_beside_codes_is_that_of_a_block(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((20_000, 256)).astype(np.float32)  # 39 MB as float64, codes 5 MB
    codes = x.size
    # A block is 1 MB of float64; masks, casts and NumPy's buffers are a few such blocks.
    for quantizer in QUANTIZERS:
        assert peak_of(lambda name=quantizer: quantize(x, 1, name)) < codes + 4 * MB
    few = quantize(x, 4)
    assert peak_of(few.packed) < codes / 2 + 4 * MB
    assert peak_of(lambda: few.values(np.float32)) < 4 * codes + 4 * MB
    ids = np.arange(len(x))
    few.save(tmp_path / "few.npz", ids)
    for_ids = peak_of(lambda: fastprobe.Submission.from_arrays("ids", ids, x[:, :1])) + 4 * MB
    assert peak_of(lambda: fastprobe.Submission.read(tmp_path / "few.npz")) < 1.5 * codes + for_ids


def embedding_and_labels(folder: Path) -> tuple[np.ndarray, fastprobe.Benchmark]:
    """Features with an offset, dimensions of different ranges, and one of a single value, with two tasks."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 13)) * np.linspace(0.2, 3.0, 13) + 5.0
    x[:, 4] = 5.0
    (folder / "labels").mkdir()
    y = x @ rng.standard_normal(13) + rng.standard_normal(90)
    write_csv(folder / "labels" / "height__regression.csv", "id,label", zip(IDS, y.tolist(), strict=True))
    ships = (y > np.median(y)).astype(int)
    write_csv(folder / "labels" / "ships__classification.csv", "id,label", zip(IDS, ships.tolist(), strict=True))
    return x, fastprobe.Benchmark.from_folder(folder / "labels")


def same_scores(found: fastprobe.Scores, expected: fastprobe.Scores, fold_tolerance: float) -> None:
    """Compare all fold scores and Q; Q is 2 mean / (std + 0.02), 100 times as sensitive as a fold score at most."""
    assert len(found.rows) == len(expected.rows) > 0
    for a, b in zip(found.rows, expected.rows, strict=True):
        assert (a.task, a.n_failed) == (b.task, 0)
        np.testing.assert_allclose(a.fold_scores, b.fold_scores, rtol=0, atol=fold_tolerance)
        assert a.q == pytest.approx(b.q, abs=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 100.0])
@pytest.mark.parametrize(("bits", "quantizer"), [(8, "uniform"), (4, "uniform"), (2, "uniform"), (1, "sign")])
def test_a_packed_file_scores_like_its_values(bits: int, quantizer: str, alpha: float, tmp_path: Path) -> None:
    x, benchmark = embedding_and_labels(tmp_path)
    quantized = quantize(x - 5.0 * (quantizer == "sign"), bits, quantizer)
    quantized.save(tmp_path / "team.npz", IDS)
    read = fastprobe.Submission.read(tmp_path / "team.npz")
    assert read.x.dtype == np.uint8
    np.testing.assert_array_equal(read.x, quantized.codes)
    values = fastprobe.Submission.from_arrays("team", IDS, quantized.values())
    options: dict[str, Any] = {"protocol": "ridge", "alpha": alpha, "folds": 10, "device": "cpu"}
    packed = fastprobe.score([tmp_path / "team.npz"], benchmark, **options)
    # The squares of the standardised features add up to 90 * 13, so the condition number is below 1 + 1170 / alpha: an
    # error of 3e-13, and a factor of 40 for sums over rows and for R2.
    same_scores(packed, fastprobe.score([values], benchmark, **options), 1e-11)


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_a_file_with_a_range_per_dimension_is_read_as_its_values(bits: int, tmp_path: Path) -> None:
    x, _ = embedding_and_labels(tmp_path)
    quantized = quantize(x, bits, "dimension")
    quantized.save(tmp_path / "team.npz", IDS)
    read = fastprobe.Submission.read(tmp_path / "team.npz")
    assert read.x.dtype == np.float32
    np.testing.assert_array_equal(read.x, quantized.values(np.float32))
    assert (read.x[:, 4] == np.float32(5.0)).all()  # the dimension of one value


def test_a_file_without_scale_or_with_one_number_and_many_is_read(tmp_path: Path) -> None:
    codes = np.array([[0, 3, 2], [1, 1, 0]], dtype=np.uint8)
    arrays = {"id": ["a", "b"], "x": fastprobe.Quantized(codes, 2, "uniform", 0.0, 1.0).packed(), "bits": 2, "d": 3}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.testing.assert_array_equal(fastprobe.Submission.read(tmp_path / "plain.npz").x, codes)
    np.savez(tmp_path / "mixed.npz", **arrays, offset=0.5, step=[1.0, 2.0, 4.0])
    np.testing.assert_array_equal(
        fastprobe.Submission.read(tmp_path / "mixed.npz").x, [[0.5, 6.5, 8.5], [1.5, 2.5, 0.5]]
    )


def test_arrays_beside_floats_are_not_looked_at(tmp_path: Path) -> None:
    x = np.ones((2, 3), dtype=np.float32)
    np.savez(tmp_path / "team.npz", id=["a", "b"], x=x, bits="five", d=-1, step=0)
    np.testing.assert_array_equal(fastprobe.Submission.read(tmp_path / "team.npz").x, x)


@pytest.mark.parametrize("alpha", [1.0, 100.0])
def test_a_packed_real_embedding_scores_like_its_values(alpha: float, data: Path, tmp_path: Path) -> None:
    folder = data / "presto"
    read = fastprobe.Submission.read(folder / "submissions" / "trained.npz")
    benchmark = fastprobe.Benchmark.from_tasks([
        task
        for task in fastprobe.Benchmark.from_folder(folder / "labels").tasks
        if task.name in ("temperature_2m", "dw_trees")
    ])  # fmt: skip
    quantized = quantize(read.x, 4)
    quantized.save(tmp_path / "trained.npz", read.ids)
    values = fastprobe.Submission.from_arrays("trained", read.ids, quantized.values())
    options: dict[str, Any] = {"protocol": "ridge", "alpha": alpha, "folds": 5, "device": "cpu", "route": "direct"}
    packed = fastprobe.score([tmp_path / "trained.npz"], benchmark, **options)
    same_scores(packed, fastprobe.score([values], benchmark, **options), 1e-9)


GOOD: dict[str, Any] = {"id": np.array(["a", "b"]), "x": np.array([[0x21, 3], [0, 1]], np.uint8), "bits": 4, "d": 3}


@pytest.mark.parametrize(
    ("change", "place", "found", "expected", "fix"),
    [
        ({"bits": None}, "array 'bits'", "only the arrays 'id', 'x', 'd'", "beside packed codes", "leave 'd' out"),
        ({"d": None}, "array 'd'", "only the arrays 'id', 'x', 'bits'", "beside packed codes", "leave 'bits' out"),
        ({"offset": 1.0}, "array 'step'", "only the arrays", "both or not at all", "leave 'offset' out"),
        ({"step": 1.0}, "array 'offset'", "only the arrays", "both or not at all", "leave 'step' out"),
        ({"bits": 3}, "array 'bits'", "'3'", "1, 2, 4 and 8", "number of bits"),
        ({"bits": 16}, "array 'bits'", "'16'", "1, 2, 4 and 8", "save x as numbers"),
        ({"bits": 4.0}, "array 'bits'", "'4.0'", "integers", "number of bits"),
        ({"bits": [4]}, "array 'bits'", "'[4]'", "integers", "number of bits"),
        ({"bits": True}, "array 'bits'", "'True'", "integers", "number of bits"),
        ({"d": 0}, "array 'd'", "'0'", "from 1 to 65,536", "number of dimensions"),
        ({"d": -3}, "array 'd'", "'-3'", "from 1 to 65,536", "number of dimensions"),
        ({"d": 65_537}, "array 'd'", "'65537'", "from 1 to 65,536", "number of dimensions"),
        ({"d": "3"}, "array 'd'", "'3'", "an integer", "number of dimensions"),
        ({"d": 5}, "array 'x'", "(2, 2)", "(n, 3): 5 codes of 4 bits each are 3 bytes", "correct 'bits' and 'd'"),
        ({"bits": 8}, "array 'x'", "(2, 2)", "(n, 3)", "correct 'bits' and 'd'"),
        ({"x": np.array([0x21, 3], np.uint8)}, "array 'x'", "(2,)", "(n, 2)", "pack every row by itself"),
        ({"x": np.ones((2, 2), np.int64)}, "array 'x'", "int64", "uint8", "fastprobe.quantize"),
        ({"x": np.ones((2, 2), np.int8)}, "array 'x'", "int8", "uint8", "fastprobe.quantize"),
        ({"x": np.array([[1, 3], [0, 0x12]], np.uint8)}, "array 'x', row 1, byte 1", "0b00010010", "lowest 4", "'d'"),
        ({"offset": 0.0, "step": 0.0}, "array 'step'", "0.0", "above 0", "1 for example"),
        ({"offset": 0.0, "step": -2.0}, "array 'step'", "-2.0", "above 0", "correct it"),
        ({"offset": 0.0, "step": [1.0, 0.0, 1.0]}, "array 'step', dimension 1", "0.0", "above 0", "1 for example"),
        ({"offset": 0.0, "step": [1.0, 2.0]}, "array 'step'", "shape (2,)", "3 numbers", "offset + code * step"),
        ({"offset": "low", "step": 1.0}, "array 'offset'", "<U3", "one number", "offset + code * step"),
        ({"offset": [0.0, 0.0, np.nan], "step": 1.0}, "array 'offset', dimension 2", "nan", "finite", "repair"),
        ({"offset": 0.0, "step": np.inf}, "array 'step'", "inf", "finite", "repair"),
        ({"offset": [0.0, 0.0, 1e39], "step": 1.0}, "row 0 (id 'a'), column 2", "inf", "finite", "repair"),
        ({"id": np.array(["a"])}, "team.npz", "1 ids for 2 rows", "one id per row", "write ids"),
    ],
)  # fmt: skip
def test_bad_packed_files(
    change: dict[str, Any], place: str, found: str, expected: str, fix: str, tmp_path: Path
) -> None:
    arrays = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    np.savez(tmp_path / "team.npz", **arrays)
    with pytest.raises(InputError) as caught:
        fastprobe.Submission.read(tmp_path / "team.npz")
    error = caught.value
    assert str(tmp_path / "team.npz") in error.where
    assert place in error.where
    assert found in error.found
    assert expected in error.expected
    assert fix in error.fix


def test_the_good_file_beside_the_bad_ones_is_good(tmp_path: Path) -> None:
    np.savez(tmp_path / "team.npz", **GOOD)
    assert fastprobe.Submission.read(tmp_path / "team.npz").x.tolist() == [[1, 2, 3], [0, 0, 1]]


@pytest.mark.parametrize(
    ("x", "bits", "quantizer", "place", "found"),
    [
        ([[1.0]], 3, "uniform", "bits", "3"),
        ([[1.0]], 64, "uniform", "bits", "64"),
        ([[1.0]], 8.0, "uniform", "bits", "8.0"),
        ([[1.0]], True, "uniform", "bits", "True"),
        ([[1.0]], 2, "sign", "bits", "2 for the quantizer sign"),
        ([[1.0]], 32, "sign", "bits", "32 for the quantizer sign"),
        ([[1.0]], 8, "none", "quantizer", "'none'"),
        ([[1.0], [math.nan]], 32, "uniform", "row 1, column 0", "nan"),
        ([[1.0, math.inf]], 1, "sign", "row 0, column 1", "inf"),
        ([[1.0, -math.inf]], 8, "dimension", "row 0, column 1", "-inf"),
        ([[1e308], [-1e308]], 4, "uniform", "quantize, x", "from -1e+308 to 1e+308"),
        ([[1e308], [-1e308]], 4, "dimension", "quantize, x", "from -1e+308 to 1e+308"),
        ([[1e39]], 32, "uniform", "quantize, x", "1e+39"),
        ([1.0], 8, "uniform", "quantize, x", "1 dimensions"),
        ([["1"]], 8, "uniform", "quantize, x", "type str"),
        (np.ones((2, 0)), 8, "uniform", "quantize, x", "no feature columns"),
    ],
)
def test_what_cannot_be_quantised(x: Any, bits: Any, quantizer: str, place: str, found: str) -> None:
    with pytest.raises(InputError) as caught:
        quantize(x, bits, quantizer)
    assert place in caught.value.where
    assert found in caught.value.found


def test_the_row_of_a_bad_value_is_counted_over_all_blocks() -> None:
    x = np.zeros((5000, 100), dtype=np.float32)
    x[4321, 7] = np.nan
    with pytest.raises(InputError, match="row 4321, column 7"):
        quantize(x, 8)


def test_an_array_on_a_gpu_is_sent_to_the_host_first() -> None:
    class OnGpu:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, **options: Any) -> Any:
            raise AssertionError("nothing is copied")

    with pytest.raises(InputError, match="on_host"):
        quantize(OnGpu(), 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bits", "name", "ids", "found"),
    [
        (16, "team.npz", ["a", "b"], "16 bits"),
        (32, "team.npz", ["a", "b"], "32 bits"),
        (4, "team.npy", ["a", "b"], "'.npy'"),
        (4, "team.npz", ["a"], "1 ids for 2 rows"),
        (4, "team.npz", ["a", "a"], "again"),
    ],
)
def test_what_cannot_be_saved_leaves_nothing(bits: int, name: str, ids: list[str], found: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        quantize(np.eye(2), bits).save(tmp_path / name, ids)
    assert found in caught.value.found
    assert list(tmp_path.iterdir()) == []


def test_saving_takes_the_place_of_a_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "team.npz"
    quantize(np.eye(2), 1).save(path, ["a", "b"])
    before = path.read_bytes()

    def fail(file: Any, **arrays: Any) -> None:
        file.write(b"a part")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        quantize(np.eye(2), 2).save(path, ["a", "b"])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["team.npz"]


@pytest.mark.parametrize(
    ("packed", "bits", "d", "place"),
    [
        (np.zeros((1, 2), np.uint8), 3, 4, "bits"),
        (np.zeros((1, 2), np.uint8), 4, 0, "d"),
        (np.zeros((1, 2), np.uint8), 4, 5, "packed"),
        (np.zeros((1, 2)), 4, 4, "packed"),
        ([[0, 0]], 4, 4, "packed"),
        (np.full((1, 2), 255, np.uint8), 4, 3, "packed, row 0, byte 1"),
    ],
)
def test_what_cannot_be_unpacked(packed: Any, bits: int, d: int, place: str) -> None:
    with pytest.raises(InputError) as caught:
        unpack(packed, bits, d)
    assert caught.value.where == place


def test_every_width_can_be_asked_for() -> None:
    assert [quantize(np.eye(3), bits).bits for bits in BITS] == list(BITS)
