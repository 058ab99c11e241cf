"""Training on a GPU beside PyTorch, whose layers are cuDNN's: both in one process, by turns.

python -m tests.benchmarks.gpu                  in full single precision
CUPY_TF32=1 python -m tests.benchmarks.gpu      products of numbers rounded to ten bits, on both sides
python -m tests.benchmarks.gpu unread           PyTorch's losses are not read, ours are at each step
"""

import os
import statistics
import sys
import time

from tests.cuda.gpu_worker import LAYERS, learner, torch_learner

CASES = [
    {"cell": "lstm", "hidden": 128, "lanes": 64},
    {"cell": "lstm", "hidden": 512, "lanes": 64},
    {"cell": "lstm", "hidden": 512, "lanes": 256},
    {"cell": "lstm", "hidden": 1024, "lanes": 128},
    {"cell": "gru", "hidden": 512, "lanes": 64},
    {"cell": "rnn", "hidden": 512, "lanes": 64},
    {"cell": "lstm", "hidden": 650, "vocabulary": 10_000, "embedding": 650, "steps": 35, "lanes": 20},
]
PAIRS, STEPS = 7, 8


def rate(step, tokens, wait):
    """Return tokens per second over some steps."""
    begin = time.perf_counter()
    for number in range(1, STEPS + 1):
        step(number)
    wait()
    return STEPS * tokens / (time.perf_counter() - begin)


def main():
    """Print a row for each case."""
    import cupy
    import torch

    from charlm.backends import get_backend

    tf32 = os.environ.get("CUPY_TF32") == "1"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    ops, pool = get_backend("cuda"), cupy.get_default_memory_pool()
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"{name}, {'TF32' if tf32 else 'float32'}, CuPy {cupy.__version__}, PyTorch {torch.__version__}\n")
    print("| case | charlm, tokens/s | PyTorch | ratio | MB | PyTorch |\n|---|---|---|---|---|---|")
    for case in CASES:
        tokens = case.get("steps", 64) * case["lanes"]
        pool.free_all_blocks()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        begin = pool.used_bytes(), torch.cuda.memory_allocated()
        waits = cupy.cuda.Device().synchronize, torch.cuda.synchronize
        reads = "unread" not in sys.argv
        sides = [*zip((learner(ops, **case), torch_learner(**case, reads=reads)), waits, strict=True)]
        for step, wait in sides:
            rate(step, tokens, wait)
        pairs = [[rate(step, tokens, wait) for step, wait in sides] for _ in range(PAIRS)]
        memory = pool.total_bytes() - begin[0], torch.cuda.max_memory_allocated() - begin[1]
        ratios = [ours / theirs for ours, theirs in pairs]
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        words = f", V {case['vocabulary']:,}" if "vocabulary" in case else ""
        what = f"{case['cell']} {LAYERS}x{case['hidden']}, B {case['lanes']}, T {case.get('steps', 64)}{words}"
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {what} | {ours:,.0f} | {theirs:,.0f} | {spread} | {memory[0] / 1e6:.0f} | {memory[1] / 1e6:.0f} |")
        sys.stdout.flush()
        del sides, step, wait


if __name__ == "__main__":
    main()
