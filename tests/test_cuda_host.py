"""The host build of the kernels: what CUDA promises holds, and what a device would let pass is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda_host import KernelError, make_host_launch

FOLDER = Path(__file__).resolve().parents[1] / "kernels" / "cuda"

SOURCE = r"""
#include "FOLDER/convert.cuh"
#define REVERSE(name, type)                                                                  \
    extern "C" __global__ void __launch_bounds__(256) name(const type* __restrict__ x, type* out) { \
        __shared__ type tile[256];                                                           \
        int i = threadIdx.x;                                                                 \
        tile[i] = x[blockIdx.x * blockDim.x + i];                                            \
        __syncthreads();                                                                     \
        out[blockIdx.x * blockDim.x + i] = tile[blockDim.x - 1 - i];                         \
    }
REVERSE(reverse_float, float)
REVERSE(reverse_int64, Int)

extern "C" __global__ void no_barrier(const double* x, double* out) {
    __shared__ double tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = tile[63 - threadIdx.x];
}

extern "C" __global__ void no_barrier_between_warps(double* out) {
    __shared__ double tile[2];
    double total = warp_sum(1.0);
    if (threadIdx.x % 32 == 0) tile[threadIdx.x / 32] = total;
    total = warp_sum(2.0);
    if (threadIdx.x == 0) out[0] = tile[1];
    if (threadIdx.x == 32) out[1] = tile[0];
}

extern "C" __global__ void sums(const double* x, double* out, int n) {
    DYNAMIC_SHARED(double, partial);
    double total = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += x[i];
    total = warp_sum(total);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = total;
    __syncthreads();
    total = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += partial[warp];
    if (threadIdx.x == 0) out[0] = total;
}

extern "C" __global__ void warp_things(int* out) {
    int lane = threadIdx.x;
    int* mine = out + 8 * lane;
    mine[0] = __shfl_sync(FULL, lane, 3);
    mine[1] = __shfl_down_sync(FULL, lane, 4);
    mine[2] = __shfl_up_sync(FULL, lane, 4);
    mine[3] = __shfl_xor_sync(FULL, lane, 5);
    mine[4] = __shfl_xor_sync(FULL, lane, 1, 8) + 100 * __shfl_sync(FULL, lane, 1, 8);
    mine[5] = __popc(__ballot_sync(FULL, lane % 3 == 0));
    mine[6] = __any_sync(FULL, lane == 31) + 2 * __any_sync(FULL, lane == 32);
    mine[7] = __all_sync(FULL, lane < 32) + 2 * __all_sync(FULL, lane < 31);
}

extern "C" __global__ void votes(int* out) {
    bool first = threadIdx.x < 10;
    int count = __syncthreads_count(first);
    int any = __syncthreads_or(threadIdx.x == 99), none = __syncthreads_or(threadIdx.x > 99);
    int all = __syncthreads_and(threadIdx.x < 100), most = __syncthreads_and(threadIdx.x != 5);
    if (threadIdx.x == 0) out[0] = count, out[1] = any, out[2] = none, out[3] = all, out[4] = most;
}

extern "C" __global__ void early_return(int* out, int n) {
    if (int(threadIdx.x) >= n) return;
    int count = __syncthreads_count(1);
    if (threadIdx.x == 0) out[0] = count;
}

extern "C" __global__ void half_waits(int* out) {
    if (threadIdx.x >= 16) __syncthreads();
    else __syncwarp();
    out[0] = 1;
}

extern "C" __global__ void two_barriers(int* out) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    out[0] = 1;
}

extern "C" __global__ void uninitialised(double* out) {
    __shared__ double fixed[4];
    DYNAMIC_SHARED(double, dynamic);
    out[0] = fixed[3];
    out[1] = dynamic[0];
    if (blockIdx.x == 0) fixed[3] = dynamic[0] = 1;
}

extern "C" __global__ void counts(unsigned* out, Int* largest, float* total) {
    atomicAdd(out, 1u);
    atomicMax(largest, Int(blockIdx.x * 1000 + blockIdx.y * 100 + blockIdx.z * 10) + threadIdx.y);
    atomicAdd(total, 0.5f);
    atomicCAS(out + 1, 0u, 7u);
    atomicCAS(out + 1, 0u, 9u);
}

extern "C" __global__ void beyond_array(double* out, int n) { out[n] = 1; }
extern "C" __global__ void beyond_dynamic() { DYNAMIC_SHARED(float, tile); tile[32] = 1; }
extern "C" __global__ void beyond_static(int i) { __shared__ float tile[8]; tile[i] = 1; }
extern "C" __global__ void overflow(int i, int* out) { out[0] = i + 1; }
extern "C" __global__ void load4(const float* x, float* out) {
    float4 v = *reinterpret_cast<const float4*>(x);
    out[0] = v.x + v.w;
}
extern "C" __global__ void halves(const Half* x, Half* out, bool copy) { if (copy) out[0] = x[1]; }
"""


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "t.cu").write_text(SOURCE.replace("FOLDER", str(FOLDER)), encoding="utf-8")
    run = make_host_launch(folder)
    return lambda kernel, grid, block, args, shared=0: run("t.cu", kernel, grid, block, args, shared)


@pytest.mark.parametrize(("kernel", "dtype"), [("reverse_float", np.float32), ("reverse_int64", np.int64)])
def test_barrier_and_static_shared_memory(launch, kernel: str, dtype) -> None:
    x, out = np.arange(300).astype(dtype), np.zeros(300, dtype)
    launch(kernel, (3,), (100,), (x, out))
    assert np.array_equal(out.reshape(3, 100), x.reshape(3, 100)[:, ::-1])


def test_missing_barrier_is_found(launch) -> None:
    with pytest.raises(KernelError, match="out depends on the order of threads"):
        launch("no_barrier", (1,), (64,), (np.arange(64.0), np.zeros(64)))
    with pytest.raises(KernelError, match="out depends on the order of threads"):
        launch("no_barrier_between_warps", (1,), (64,), (np.zeros(2),))


@pytest.mark.parametrize("threads", [32, 96, 1024])
def test_dynamic_shared_memory_and_reduction(launch, threads: int) -> None:
    x, out = np.arange(1000.0), np.zeros(1)
    launch("sums", (1,), (threads,), (x, out, np.int32(1000)), 8 * threads // 32)
    assert out[0] == x.sum()


def test_warp_exchange(launch) -> None:
    out = np.zeros((32, 8), dtype=np.int32)
    launch("warp_things", (1,), (32,), (out,))
    lane = np.arange(32)
    assert np.array_equal(out[:, 0], np.full(32, 3))
    assert np.array_equal(out[:, 1], np.where(lane < 28, lane + 4, lane))
    assert np.array_equal(out[:, 2], np.where(lane >= 4, lane - 4, lane))
    assert np.array_equal(out[:, 3], lane ^ 5)
    assert np.array_equal(out[:, 4], (lane ^ 1) + 100 * (lane // 8 * 8 + 1))
    assert (out[:, 5:] == [11, 1, 1]).all()


def test_block_votes(launch) -> None:
    out = np.zeros(5, dtype=np.int32)
    launch("votes", (1,), (100,), (out,))
    assert out.tolist() == [10, 1, 0, 1, 0]


def test_threads_that_returned_do_not_count(launch) -> None:
    out = np.zeros(1, dtype=np.int32)
    launch("early_return", (1,), (70,), (out, np.int32(41)))
    assert out[0] == 41


@pytest.mark.parametrize(
    ("kernel", "message"),
    [("half_waits", "deadlock: 48 threads wait at __syncthreads, 16"), ("two_barriers", "at different barriers")],
)
def test_divergent_barriers_are_found(launch, kernel: str, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        launch(kernel, (1,), (64,), (np.zeros(1, dtype=np.int32),))


def test_shared_memory_is_poisoned_before_every_block(launch) -> None:
    out = np.zeros(2)
    launch("uninitialised", (2,), (1,), (out,), 8)
    assert np.isnan(out).all()


def test_atomics_and_three_dimensions(launch) -> None:
    counted, largest, total = np.zeros(2, np.uint32), np.zeros(1, np.int64), np.zeros(1, np.float32)
    launch("counts", (3, 2, 4), (2, 3, 2), (counted, largest, total))
    assert counted.tolist() == [3 * 2 * 4 * 12, 7]
    assert largest[0] == 2000 + 100 + 30 + 2
    assert total[0] == 3 * 2 * 4 * 12 / 2


def test_writes_outside_are_found(launch) -> None:
    with pytest.raises(KernelError, match=r"outside of out, shape \(3,\)"):
        launch("beyond_array", (1,), (1,), (np.zeros(3), np.int32(3)))
    with pytest.raises(KernelError, match=r"outside of out, shape \(3,\)"):
        launch("beyond_array", (1,), (1,), (np.zeros(3), np.int32(-1)))
    with pytest.raises(KernelError, match="outside its 128 bytes of dynamic shared"):
        launch("beyond_dynamic", (1,), (1,), (), 128)
    with pytest.raises(KernelError, match=r"out_of_bounds.*t\.cu"):
        launch("beyond_static", (1,), (1,), (np.int32(8),))


def test_undefined_behaviour_is_found(launch) -> None:
    with pytest.raises(KernelError, match="add_overflow"):
        launch("overflow", (1,), (1,), (np.int32(2**31 - 1), np.zeros(1, np.int32)))
    x, out = np.arange(8, dtype=np.float32), np.zeros(1, np.float32)
    aligned = x[-(x.ctypes.data // 4) % 4 :]
    launch("load4", (1,), (1,), (aligned[:4], out))
    assert out[0] == aligned[0] + aligned[3]
    with pytest.raises(KernelError, match="type_mismatch"):
        launch("load4", (1,), (1,), (aligned[1:5], out))


def test_half_precision_and_booleans_pass(launch) -> None:
    x, out = np.array([1.5, -2.25], np.float16), np.zeros(1, np.float16)
    launch("halves", (1,), (1,), (x, out, np.bool_(False)))
    assert out[0] == 0
    launch("halves", (1,), (1,), (x, out, np.bool_(True)))
    assert out[0] == -2.25


def test_wrong_arguments_are_found(launch) -> None:
    x, out = np.zeros(64, np.float32), np.zeros(64, np.float32)
    wrong = [
        (("reverse_float", (1,), (64,), (x,)), "1 arguments for 2 parameters"),
        (("reverse_float", (1,), (64,), (x.astype(np.float64), out)), "x is of float64, not float32"),
        (("reverse_float", (1,), (64,), (x, 3)), "out is int, not an array"),
        (("reverse_float", (1,), (32,), (np.zeros(64, np.float32)[::2], out)), "x is not C-contiguous"),
        (("reverse_float", (1,), (64,), (x, x)), "x and out overlap"),
        (("reverse_float", (1,), (257,), (x, out)), "__launch_bounds__"),
        (("reverse_float", (0,), (64,), (x, out)), "grid"),
        (("reverse_float", (1, 65536), (64,), (x, out)), "grid"),
        (("sums", (1,), (2048,), (np.zeros(4), np.zeros(1), np.int32(4)), 512), "block"),
        (("sums", (1,), (32,), (np.zeros(4), np.zeros(1), np.int64(4)), 8), "n is of int64, not int32"),
        (("sums", (1,), (32,), (np.zeros(4), np.zeros(1), 4), 8), "n is int, not a NumPy scalar of int32"),
        (("sums", (1,), (32,), (np.zeros(4), np.zeros(1), np.int32(4)), 2**18), "262144 bytes of shared"),
        (("absent", (1,), (1,), ()), "there are only the kernels"),
    ]
    for call, message in wrong:
        with pytest.raises(KernelError, match=message):
            launch(*call)
    frozen = np.zeros(64, np.float32)
    frozen.flags.writeable = False
    launch("reverse_float", (1,), (64,), (frozen, out))
    with pytest.raises(KernelError, match="out is read-only"):
        launch("reverse_float", (1,), (64,), (x, frozen))


def test_files_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = f'extern "C" __global__ void number(int* out) {{ out[0] = {number}; }}'
        (folder / "t.cu").write_text(text, encoding="utf-8")
        out = np.zeros(1, np.int32)
        make_host_launch(folder)("t.cu", "number", (1,), (1,), (out,))
        assert out[0] == number


def test_a_file_that_does_not_compile_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.cu").write_text('extern "C" __global__ void f(int a) { return b; }', encoding="utf-8")
    with pytest.raises(KernelError, match="was not declared"):
        make_host_launch(tmp_path)("bad.cu", "f", (1,), (1,), (np.int32(1),))
