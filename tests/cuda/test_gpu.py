"""What only a GPU can tell: that the real CUDA gives the same, and how much memory and time it takes."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from charlm.backends.cupy.driver import driver_version
from tests.conftest import REPOSITORY
from tests.cuda import cupy_on_host, gpu_worker

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (find_spec("cupy") and driver_version()), reason="no GPU: neither driver nor CuPy"),
]
SLOWEST = 0.2  # of PyTorch's speed: below it something waits that need not


def ended(*command, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600)


def run(*command, **environment):
    of_it = ended(*command, **environment)
    assert of_it.returncode == 0, of_it.stdout[-3000:] + of_it.stderr[-3000:]
    return of_it.stdout


def worker(what):
    return json.loads(run(sys.executable, "-m", "tests.cuda.gpu_worker", what).splitlines()[-1])


class TestOnAGpu:
    pytestmark = needs_gpu

    @pytest.mark.parametrize("blocking", ["0", "1"])
    def test_selfcheck(self, blocking):
        """Parity of every function and of training steps, also with errors shown where they happen."""
        out = run(sys.executable, "-m", "charlm", "selfcheck", "--device", "cuda", CUDA_LAUNCH_BLOCKING=blocking)
        assert out.count("\nok ") > 40 and "FAILED" not in out

    @pytest.mark.parametrize("task", [["--cell", "gru"], ["--bidirectional"], ["--level", "word", "--dense", "8"]])
    def test_a_model_is_trained_on_one_and_scores_on_both(self, tmp_path, task):
        model, names = tmp_path / "names.safetensors", REPOSITORY / "corpora" / "dinosaurs.txt"
        short = ["--max-steps", "30", "--seed", "1", "--device", "cuda", *task]
        run(sys.executable, "-m", "charlm", "train", str(names), "-o", str(model), *short)
        found = []
        for device in ("cpu", "cuda"):
            command = ["evaluate", str(model), str(names), "--device", device, "--format", "jsonl"]
            record = json.loads(run(sys.executable, "-m", "charlm", *command))
            found.append(next(value for key, value in record.items() if key.endswith("nats_per_token")))
        assert found[1] == pytest.approx(found[0], rel=1e-4)

    def test_auto_takes_it_and_cuda_says_where_none_is_seen(self, tmp_path):
        chosen = "from charlm.backends import get_backend; print(get_backend().name)"
        assert run(sys.executable, "-c", chosen).split() == ["cuda"]
        assert run(sys.executable, "-c", chosen, CUDA_VISIBLE_DEVICES="").split() == ["cpu"]
        names, model = REPOSITORY / "corpora" / "dinosaurs.txt", tmp_path / "names.safetensors"
        command = [sys.executable, "-m", "charlm", "train", str(names), "-o", str(model), "--max-steps", "2"]
        refused = ended(*command, "--device", "cuda", CUDA_VISIBLE_DEVICES="")
        assert refused.returncode == 6 and "the NVIDIA driver finds no GPU" in refused.stderr and not model.exists()
        told = ended(*command, "--hidden-size", "8", CUDA_VISIBLE_DEVICES="")
        assert told.returncode == 0 and "on the processor, not on a GPU: there is a driver, but no GPU" in told.stderr

    def test_a_network_that_does_not_fit_is_told(self, tmp_path):
        names, model = REPOSITORY / "corpora" / "dinosaurs.txt", tmp_path / "names.safetensors"
        options = ["--device", "cuda", "--max-steps", "2", "--hidden-size", "512"]
        command = [sys.executable, "-m", "charlm", "train", str(names), "-o", str(model), *options]
        refused = ended(*command, CUPY_GPU_MEMORY_LIMIT=str(60 << 20))
        assert refused.returncode == 6 and "memory" in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr and not model.exists()

    def test_memory_does_not_grow(self):
        found = worker("memory")
        assert found["many"] == found["few"] and found["last_loss"] < found["first_loss"]

    @pytest.mark.skipif(not find_spec("torch"), reason="no PyTorch: make bench installs it")
    def test_tokens_per_second_beside_pytorch(self, record_property):
        ours, theirs = worker("speed")["tokens_per_second"], worker("torch")["tokens_per_second"]
        record_property("tokens per second, charlm and torch.nn.LSTM", (round(ours), round(theirs)))
        assert ours > SLOWEST * theirs, f"charlm {ours:,.0f}, torch.nn.LSTM {theirs:,.0f}"


class TestWhatTheyRun:
    """On the host, so that it is not first run on the day that a GPU is there."""

    def test_memory(self):
        ops = cupy_on_host()
        found = gpu_worker.memory(ops, lambda: 7, hidden=8, more=10)
        assert found["many"] == 7 and found["last_loss"] < found["first_loss"]

    def test_speed(self):
        calls = []
        found = gpu_worker.speed(calls.append, 10, lambda: calls.append("wait"))
        assert found["tokens_per_second"] > 0 and calls.count("wait") == 11 and calls.count(5) == 11
