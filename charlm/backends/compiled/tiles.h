/* The kernel of products.h that computes with the tiles of AMX-BF16.
 *
 * A tile has TILE rows of TILE operands or sums. One instruction computes
 *
 *     sums [rows][columns] += left factor [rows][k] · panel [k][columns]
 *
 * The block has two tiles of rows by two of columns, so each tile of a factor that is loaded is used twice.
 */
enum { TILE = 16, BLOCK_ROWS = 2 * TILE };

/* What the instruction ldtilecfg reads: the rows of each tile, and the bytes of a row. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} Shapes;

/* The compiler does not know that the instructions of tiles read and write memory. */
INLINE void memory_is_used(void) { __asm__ volatile("" ::: "memory"); }

/* Give the tiles of sums and of the left factor M <= 2 TILE rows in all, those of the panel TILE each. */
static void shape_tiles(long M) {
    Shapes shapes = {.palette = 1};
    const int upper = least(M, TILE), lower = M - upper;
    const int rows[8] = {upper, upper, lower, lower, upper, lower, TILE, TILE};
    for (int i = 0; i < 8; i++) shapes.rows[i] = rows[i], shapes.bytes[i] = rows[i] ? 4 * TILE : 0;
    memory_is_used();
    _tile_loadconfig(&shapes);
}

/* Tiles 0 and 1: sums of the upper rows, 2 and 3: of the lower ones; 4 and 5: the left factor; 6 and 7: the panel. */
INLINE void tile_block(const int has_lower, const int has_second, const Operand *a, long row, const Operand *panel,
                       long stride, long K, real *out, long ldo, int add) {
    const long by = sizeof(Operand);
    real *lower = out + TILE * ldo;
    _tile_zero(0);
    if (has_second) _tile_zero(1);
    if (has_lower) _tile_zero(2);
    if (has_lower && has_second) _tile_zero(3);
    if (add) {
        _tile_loadd(0, out, ldo * by);
        if (has_second) _tile_loadd(1, out + TILE, ldo * by);
        if (has_lower) _tile_loadd(2, lower, ldo * by);
        if (has_lower && has_second) _tile_loadd(3, lower + TILE, ldo * by);
    }
    for (long k = 0; k < K; k += TILE, a += TILE, panel += TILE * stride) {
        _tile_loadd(6, panel, stride * by);
        _tile_loadd(4, a, row * by);
        _tile_dpbf16ps(0, 4, 6);
        if (has_second) _tile_loadd(7, panel + TILE, stride * by);
        if (has_second) _tile_dpbf16ps(1, 4, 7);
        if (has_lower) _tile_loadd(5, a + TILE * row, row * by);
        if (has_lower) _tile_dpbf16ps(2, 5, 6);
        if (has_lower && has_second) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, ldo * by);
    if (has_second) _tile_stored(1, out + TILE, ldo * by);
    if (has_lower) _tile_stored(2, lower, ldo * by);
    if (has_lower && has_second) _tile_stored(3, lower + TILE, ldo * by);
}

/* out[m, 0:nv·VL] (+)= a[m, :] panel for M rows, which are `row` apart. */
static void rows_by_panel(const void *left, long row, long M, const void *panel, long K, int nv, real *out, long ldo,
                          int add) {
    const Operand *a = left;
    for (long m = 0; m < M; m += 2 * TILE, a += 2 * TILE * row, out += 2 * TILE * ldo) {
        const int has_lower = M - m > TILE;
        shape_tiles(least(M - m, 2 * TILE));
        for (long i = 0; i < nv; i += 2) {
            const Operand *right = (const Operand *)panel + i * TILE;
            real *to = out + i * TILE;
            if (i + 1 < nv) {
                if (has_lower) tile_block(1, 1, a, row, right, nv * TILE, K, to, ldo, add);
                else tile_block(0, 1, a, row, right, nv * TILE, K, to, ldo, add);
            } else if (has_lower) tile_block(1, 0, a, row, right, nv * TILE, K, to, ldo, add);
            else tile_block(0, 0, a, row, right, nv * TILE, K, to, ldo, add);
        }
    }
    _tile_release();
    memory_is_used();
}
