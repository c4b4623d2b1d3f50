/* SPDX-License-Identifier: MIT
 * unit_calibration.c - files of phi: a good one, and every kind that must be refused with a text and change nothing */
#define _GNU_SOURCE
#include "scratch.h"
#include "util.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#undef fail /* cmocka's; ours is under test */

#define HEAD  "{\"schema\": \"flashdec-phi\", \"version\": 1, \"model\": \"m\", \"n_layers\": 2, \"n_heads\": 3, "
#define ROWS  "\"phi\": [[0.5, -1, 2e3], [4, 5.25, -0]]"
#define WHOLE HEAD ROWS "}"

enum { N_LAYERS = 2, N_HEADS = 3, N = N_LAYERS * N_HEADS };

static const float untouched[N] = {-7, -7, -7, -7, -7, -7};

static fdec_status read_text(const char *text, float *phi)
{
    memcpy(phi, untouched, sizeof untouched);
    assert_int_equal(file_write_atomic(in_dir("phi.json"), text, strlen(text), 0600), FDEC_OK);
    return fdec_phi_read(in_dir("phi.json"), N_LAYERS, N_HEADS, phi);
}

static void a_good_file(void **state)
{
    static const float want[N] = {0.5f, -1, 2e3f, 4, 5.25f, 0};
    float phi[N];
    (void) state;
    assert_int_equal(read_text(WHOLE, phi), FDEC_OK);
    for (int i = 0; i < N; i++)
        assert_true(phi[i] == want[i]);
}

static void damaged_files(void **state)
{
    static const struct {
        const char *text, *part; /* of the message */
    } bad[] = {
        {"", "phi.json: line"},
        {"[]", "\"schema\""},
        {"7", "line 1"},
        {HEAD ROWS, "line 1"},
        {HEAD ROWS "} x", "line 1"},
        {HEAD ROWS ", \"phi\": []}", "line 1"},
        {HEAD "\"phi\": 3}", "no list of 2 layers"},
        {HEAD "\"phi\": [[1, 2, 3]]}", "no list of 2 layers"},
        {HEAD "\"phi\": [[1, 2, 3], [1, 2]]}", "phi[1] is no list of 3"},
        {HEAD "\"phi\": [[1, 2, 3], [1, 2, 3, 4]]}", "phi[1] is no list of 3"},
        {HEAD "\"phi\": [7, [1, 2, 3]]}", "phi[0] is no list"},
        {HEAD "\"phi\": [[1, 2, 3], [1, null, 3]]}", "phi[1][1] is no float"},
        {HEAD "\"phi\": [[1, \"2\", 3], [1, 2, 3]]}", "phi[0][1] is no float"},
        {HEAD "\"phi\": [[1, 2, 3], [1, 2, 1e39]]}", "phi[1][2] is no float"},
        {HEAD "\"phi\": [[1, 2, 3], [1, 2, 1e999]]}", "line 1"},
        {HEAD "\"phi\": [[1, 2, 3], [1, 2, NaN]]}", "line 1"},
        {"{" ROWS "}", "\"schema\""},
        {"{\"schema\": \"flashdec-table\", \"version\": 1, \"n_layers\": 2, \"n_heads\": 3, " ROWS "}", "\"schema\""},
        {"{\"schema\": \"flashdec-phi\", \"version\": 2, \"n_layers\": 2, \"n_heads\": 3, " ROWS "}", "\"version\""},
        {"{\"schema\": \"flashdec-phi\", \"version\": 1, \"n_layers\": 3, \"n_heads\": 3, " ROWS "}", "2 layers of 3"},
        {"{\"schema\": \"flashdec-phi\", \"version\": 1, \"n_layers\": 2, \"n_heads\": \"3\", " ROWS "}", "of 3 heads"},
    };
    float phi[N];
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(read_text(bad[i].text, phi), FDEC_E_DATA);
        assert_non_null(strstr(fdec_last_error(), bad[i].part));
        assert_non_null(strstr(fdec_last_error(), "phi.json"));
        assert_memory_equal(phi, untouched, sizeof phi);
    }
}

static void every_prefix_and_every_byte(void **state)
{
    char text[] = WHOLE;
    float phi[N];
    (void) state;
    for (size_t n = 0; n + 1 < sizeof text; n++) {
        const char kept = text[n];
        text[n] = 0;
        assert_int_equal(read_text(text, phi), FDEC_E_DATA);
        for (int c = 1; c < 256; c += 14) { /* good or refused, never something else */
            text[n] = (char) c;
            const fdec_status st = read_text(text, phi);
            assert_true(st == FDEC_OK || (st == FDEC_E_DATA && !memcmp(phi, untouched, sizeof phi)));
        }
        text[n] = kept;
    }
}

static void files_that_are_none(void **state)
{
    float phi[N];
    (void) state;
    assert_int_equal(fdec_phi_read("/nonexistent/phi.json", N_LAYERS, N_HEADS, phi), FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), "/nonexistent/phi.json"));
    assert_int_equal(fdec_phi_read(dir, N_LAYERS, N_HEADS, phi), FDEC_E_DATA);
    assert_int_equal(fdec_phi_read(NULL, N_LAYERS, N_HEADS, phi), FDEC_E_ARG);
    assert_int_equal(fdec_phi_read(dir, N_LAYERS, N_HEADS, NULL), FDEC_E_ARG);
    assert_int_equal(fdec_phi_read(dir, 0, N_HEADS, phi), FDEC_E_ARG);
    assert_int_equal(fdec_phi_read(dir, N_LAYERS, 0, phi), FDEC_E_ARG);
    FILE *f = fopen(in_dir("large.json"), "wb");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), 1 << 30), 0);
    fclose(f);
    assert_int_equal(fdec_phi_read(in_dir("large.json"), N_LAYERS, N_HEADS, phi), FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), "limit"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(every_prefix_and_every_byte),
        cmocka_unit_test(files_that_are_none),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
