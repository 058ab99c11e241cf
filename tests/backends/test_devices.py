"""Which device is taken, and what is said where one is not to be had."""

import os
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from charlm import backends
from charlm.backends import get_backend
from charlm.backends.cupy import driver
from charlm.errors import ResourceError
from tests.cuda import cupy_on_host, missing

NO_GPU = not driver.driver_version()
without_gpu = pytest.mark.skipif(not NO_GPU, reason="there is an NVIDIA driver")
with_cupy = pytest.mark.skipif(bool(missing()), reason=f"CuPy on the host: {missing()}")


def refused(device="cuda"):
    with pytest.raises(ResourceError) as caught:
        get_backend(device)
    assert caught.value.exit_code == 6 and caught.value.hint
    return caught.value.message


def taken():
    """See that `auto` takes the processor, and give the reasons that it tells."""
    told = []
    assert get_backend("auto", watch=told.append).name == "cpu"
    assert get_backend("auto").name == "cpu"
    return told


def test_no_cupy(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert "CuPy is not installed" in refused()
    assert taken() == []


def test_no_driver(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: ModuleSpec(name, None, origin="cupy/__init__.py"))
    monkeypatch.setattr(backends, "driver_version", lambda: 0)
    assert "no NVIDIA driver" in refused()
    assert taken() == ["no NVIDIA driver is installed"]


@without_gpu
def test_the_driver_is_looked_for_where_there_is_none(monkeypatch):
    assert driver.driver_version() == 0
    monkeypatch.setattr(driver, "_LIBRARY", "libc.so.6")  # a library that is there, but no driver
    with pytest.raises(AttributeError):
        driver.driver_version()


@with_cupy
class TestOfCupy:
    """What CuPy says of itself, brought about or made up, and what a person is told."""

    @pytest.fixture(autouse=True)
    def a_driver(self, monkeypatch):
        monkeypatch.setattr(backends, "driver_version", lambda: 11040)

    @pytest.fixture
    def runtime(self, monkeypatch):
        from cupy.cuda import runtime

        monkeypatch.setattr(runtime, "getDeviceCount", lambda: 1)
        return runtime

    @without_gpu
    def test_a_driver_that_is_too_old(self, monkeypatch):
        """CuPy's own error, as it is where there is no driver."""
        from charlm.backends.cupy import probe

        monkeypatch.setattr(probe, "driver_version", lambda: 11040)
        assert "too old: it supports CUDA 11.4, CuPy needs 12.9" in refused()

    @pytest.mark.parametrize("visible", [None, ""])
    def test_no_device(self, monkeypatch, runtime, visible):
        def none():
            raise runtime.CUDARuntimeError(100)

        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(runtime, "getDeviceCount", none)
        with pytest.raises(ResourceError, match="the NVIDIA driver finds no GPU") as caught:
            get_backend("cuda")
        assert ("CUDA_VISIBLE_DEVICES" in caught.value.hint) == (visible is not None)
        assert get_backend("auto").name == "cpu"

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (ImportError('Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file'), "cuBLAS"),
            (ImportError("libcublas.so.12: cannot open shared object file"), "cuBLAS"),
            (RuntimeError('Failure finding "libnvrtc.so.12": No such file: libnvrtc.so.12'), "NVRTC"),
            (RuntimeError("Failed to find CUDA headers. Please install"), "NVRTC"),
            (RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)"), "does not support this GPU"),
            (MemoryError("Out of memory allocating 512 bytes"), "out of memory"),
            (RuntimeError("cudaErrorECCUncorrectable: memory"), "does not work: RuntimeError: cudaErrorECC"),
            (RuntimeError(""), "does not work"),
        ],
    )
    def test_what_is_missing_is_said(self, monkeypatch, runtime, error, said):
        from charlm.backends.cupy import probe

        def fails():
            raise error

        monkeypatch.setattr(probe, "checked", fails)
        assert said in refused()
        assert get_backend("auto").name == "cpu"

    def test_a_gpu_that_works_is_taken(self, runtime):
        cupy_on_host()
        assert get_backend("cuda").name == get_backend("auto").name == "cuda"
        assert get_backend("cpu").name == "cpu"

    @pytest.mark.parametrize(("value", "mode"), [(None, 0), ("0", 0), ("1", 3)])
    def test_cupys_own_switch_of_fast_products(self, monkeypatch, value, mode):
        from charlm.backends.cupy import blas

        cupy_on_host()
        monkeypatch.delenv("CUPY_TF32", raising=False)
        if value is not None:
            monkeypatch.setenv("CUPY_TF32", value)
        made = []
        library = blas.library
        monkeypatch.setattr(blas, "library", lambda: made.append(library()) or made[0])
        blas.Blas()
        assert made[0].mode == mode

    @pytest.mark.parametrize("wrong", ["dropout", "matmul"])
    def test_a_gpu_that_computes_nonsense_is_not(self, monkeypatch, runtime, wrong):
        monkeypatch.setattr(type(cupy_on_host()), wrong, lambda self, *args, out, **kwargs: out.fill(3.0))
        assert "wrong numbers" in refused()
        (reason,) = taken()
        assert "wrong numbers" in reason and "--device" not in reason

    @without_gpu
    def test_the_library_of_products_is_not_here(self):
        """In a process of its own, without a stand-in for cuBLAS: the error of CuPy becomes one of charlm."""
        code = (
            "from charlm.backends.cupy import probe\n"
            "try: probe.checked()\n"
            "except Exception as error: print(probe.explained(error).message)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "cuBLAS is missing" in run.stdout


@without_gpu
class TestCommandLine:
    """On a machine without a GPU, with or without CuPy."""

    def run(self, tmp_path, device, **environment):
        (tmp_path / "names.txt").write_text("ann\nbob\n" * 20)
        flags = ["--device", device, "--max-steps", "2", "--hidden-size", "4", "--seed", "1"]
        command = [sys.executable, "-m", "charlm", "train", "names.txt", "-o", "names.safetensors", *flags]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)

    def test_cuda_is_refused_and_nothing_is_written(self, tmp_path):
        run = self.run(tmp_path, "cuda")
        reason = "CuPy is not installed" if "no cupy" in missing() else "no NVIDIA driver is installed"
        assert run.returncode == 6, run.stderr
        assert f"charlm: error: --device cuda: {reason}" in run.stderr and "hint: " in run.stderr
        assert not (tmp_path / "names.safetensors").exists()

    def test_auto_trains_on_the_processor_without_importing_cupy(self, tmp_path):
        run = self.run(tmp_path, "auto", PYTHONPROFILEIMPORTTIME="1")
        assert run.returncode == 0, run.stderr
        assert (tmp_path / "names.safetensors").exists()
        assert "numpy" in run.stderr and "| cupy" not in run.stderr
        told = "training on the processor, not on a GPU: no NVIDIA driver is installed" in run.stderr
        assert told == ("no cupy" not in missing())

    def test_who_asks_for_the_processor_is_told_nothing(self, tmp_path):
        run = self.run(tmp_path, "cpu")
        assert run.returncode == 0 and "GPU" not in run.stderr
