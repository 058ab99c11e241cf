"""Kernels whose threads work together, in CUDA C++.

REAL stands for float or double, COLUMNS and ROWS for the threads of a block. NVRTC includes no header of the host and
has no INFINITY, so a maximum starts from an element.
"""

SOFTMAX = r"""
// x [V, N], rows `stride` apart, is overwritten: with log-probabilities if `logs`, else with dL/dx times `scale`, and
// nats [N] with -ln P(target). Threads (COLUMNS, ROWS): ROWS threads share the rows of each of COLUMNS columns.
extern "C" __global__ void softmax_ROWS_REAL(REAL* x, const int* targets, double* nats, int V, int N, long long stride,
                                             REAL scale, int logs) {
  __shared__ REAL of_thread[ROWS][COLUMNS];
  const int column = blockIdx.x * COLUMNS + threadIdx.x, lane = threadIdx.x, part = threadIdx.y;
  const bool inside = column < N;
  REAL* p = x + (inside ? column : N - 1);
  const int target = logs || !inside ? -1 : targets[column];
  const REAL at_target = target < 0 ? REAL(0) : p[target * stride];

  REAL largest = p[(part < V ? part : 0) * stride];
  for (int v = part; v < V; v += ROWS) largest = p[v * stride] > largest ? p[v * stride] : largest;
  of_thread[part][lane] = largest;
  __syncthreads();
  for (int i = 0; i < ROWS; i++) largest = of_thread[i][lane] > largest ? of_thread[i][lane] : largest;
  __syncthreads();

  REAL total = 0;
  for (int v = part; v < V; v += ROWS) total += exp(p[v * stride] - largest);
  of_thread[part][lane] = total;
  __syncthreads();
  total = 0;
  for (int i = 0; i < ROWS; i++) total += of_thread[i][lane];

  if (!inside) return;
  if (logs) {
    const REAL shift = log(total);
    for (int v = part; v < V; v += ROWS) p[v * stride] = p[v * stride] - largest - shift;
    return;
  }
  if (part == 0) nats[column] = target < 0 ? 0.0 : log(double(total)) - (double(at_target) - double(largest));
  for (int v = part; v < V; v += ROWS) {
    const REAL likely = exp(p[v * stride] - largest) / total;
    p[v * stride] = target < 0 ? REAL(0) : (v == target ? likely - REAL(1) : likely) * scale;
  }
}
"""

ROOT = r"""
// out = the square root of the sum of x [n]; one block of 256 threads.
extern "C" __global__ void root_REAL(const REAL* x, REAL* out, long long n) {
  __shared__ REAL of_thread[256];
  REAL sum = 0;
  for (long long i = threadIdx.x; i < n; i += 256) sum += x[i];
  of_thread[threadIdx.x] = sum;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) of_thread[threadIdx.x] += of_thread[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *out = sqrt(of_thread[0]);
}
"""

SQUARES = r"""
// sums[block] = the sum of the squares of every gridDim.x-th piece of x [n], in double precision; 256 threads a block.
extern "C" __global__ void squares_REAL(const REAL* x, double* sums, long long n) {
  __shared__ double of_thread[256];
  double sum = 0;
  for (long long i = blockIdx.x * 256LL + threadIdx.x; i < n; i += gridDim.x * 256LL)
    sum += double(x[i]) * double(x[i]);
  of_thread[threadIdx.x] = sum;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) of_thread[threadIdx.x] += of_thread[threadIdx.x + half];
  }
  __syncthreads();
  if (threadIdx.x == 0) sums[blockIdx.x] = of_thread[0];
}
"""
