/* Runs tests/conformance/values.case and names.case (their heads explain the lines): values, texts, hashes, types, lists of rows, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "def_raw.h"
#include "engine/engine_internal.h"
#include "live/live_internal.h"
#include "types/types_internal.h"

static uint32_t n_failures, line_no;
#define complain(...) (print_error("values.case:%u: ", line_no), print_error(__VA_ARGS__), print_error("\n"), n_failures++)

static struct lc_slice bytes_of(const char *hex, uint8_t *room) {
  size_t n = strlen(hex);
  if (!lc_hex_decode(hex, n, room)) fail_msg("not hexadecimal: %s", hex);
  return lc_slice(room, n / 2);
}
static bool is_value(const struct lc_type *t, struct lc_slice v, struct lc_error *err) {
  struct lc_reader r = lc_reader(v);
  return lc_bsatn_validate(t, NULL, &r, err) == LC_OK && lc_reader_left(&r) == 0;
}

/* Lines that are about no type. */
static bool run_untyped(char *line) {
  char *w[16], hex[65] = "";
  unsigned n = raw_words(line, w, 16);
  uint8_t hash[32];
  lc_assert(n > 0);
  if (strcmp(w[0], "rows") == 0) { /* a list of them, built both ways */
    uint8_t room[16][64];
    struct row_list l = {0};
    struct lc_slice rows[16];
    struct lc_buf out = {0}, want = {0};
    struct lc_arena a = {0};
    uint32_t k = 0;
    for (; strcmp(w[k + 1], "=") != 0; k++) {
      rows[k] = bytes_of(strcmp(w[k + 1], "-") == 0 ? "" : w[k + 1], room[k]);
      row_list_add(&l, rows[k]);
    }
    for (unsigned i = k + 2; i < n; i++) raw_hex(&want, w[i]);
    row_list_encode(&l, &out);
    if (!lc_slice_eq(lc_buf_slice(&out), lc_buf_slice(&want))) complain("another list of rows");
    if (!lc_slice_eq(row_list_of(&a, rows, k, 0), lc_buf_slice(&want))) complain("another list of rows, of slices");
    row_list_free(&l);
    lc_arena_free(&a);
    lc_buf_free(&out);
    lc_buf_free(&want);
  } else if (strcmp(w[0], "blake3") == 0 || strcmp(w[0], "keccak") == 0) {
    *w[0] == 'b' ? lc_blake3(lc_slice_str(w[1]), hash) : lc_keccak256(lc_slice_str(w[1]), hash);
    lc_hex_encode(hash, 32, hex);
    if (strcmp(hex, w[2]) != 0) complain("%s of %s is %s", w[0], w[1], hex);
  } else if (strcmp(w[0], "claims") == 0) {
    struct lc_identity id, back;
    lc_identity_from_claims(lc_slice_str(w[1]), lc_slice_str(w[2]), &id);
    lc_identity_hex(&id, hex);
    if (strcmp(hex, w[3]) != 0) complain("identity %s", hex);
    if (!lc_identity_parse(lc_slice_str(w[3]), &back) || memcmp(&back, &id, sizeof id) != 0) complain("its text is not read back");
    if (n > 4) {
      lc_hex_encode(id.bytes, 32, hex);
      if (strcmp(hex, w[4]) != 0) complain("bytes %s", hex);
    }
  } else if (strcmp(w[0], "identity") == 0 || strcmp(w[0], "connection") == 0) { /* TEXT, what it is written as; - : it is refused */
    struct lc_identity id;
    struct lc_connection_id connection;
    bool is_identity = *w[0] == 'i', read = is_identity ? lc_identity_parse(lc_slice_str(w[1]), &id) : lc_connection_id_parse(lc_slice_str(w[1]), &connection);
    if (read) is_identity ? lc_identity_hex(&id, hex) : lc_connection_id_hex(&connection, hex);
    if (read != (strcmp(w[2], "-") != 0) || (read && strcmp(hex, w[2]) != 0)) complain("%s is read as %s", w[1], hex);
  } else {
    return false;
  }
  return true;
}

static void run(const struct lc_type *t, char *line) {
  uint8_t room[512], other[512];
  char *space = strchr(line, ' '), *rest = space ? space + 1 : NULL;
  struct lc_error err = {0};
  struct lc_buf out = {0};
  lc_assert(rest);
  *space = 0;
  if (strcmp(line, "bsatn") == 0) {
    if (!is_value(t, bytes_of(rest, room), &err)) complain("%s: %s", rest, err.text);
  } else if (strcmp(line, "not") == 0) {
    char *text = strchr(rest, ' ');
    *text++ = 0;
    if (is_value(t, bytes_of(rest, room), &err)) complain("%s is taken for a value", rest);
    else if (strcmp(err.text, text) != 0) complain("%s: expected '%s', got '%s'", rest, text, err.text);
  } else if (strcmp(line, "reads") == 0) {
    char *hex = strstr(rest, " = ");
    *hex = 0;
    struct lc_slice want = bytes_of(hex + 3, room);
    if (lc_json_parse_value(lc_slice_str(rest), t, NULL, &out, &err) != LC_OK) complain("%s: %s", rest, err.text);
    else if (!lc_slice_eq(lc_buf_slice(&out), want)) complain("%s is read as something else", rest);
  } else if (strcmp(line, "refuses") == 0) {
    if (lc_json_parse_value(lc_slice_str(rest), t, NULL, &out, &err) == LC_OK) complain("%s is read", rest);
    else if (!err.text[0]) complain("%s is refused without a word", rest);
  } else if (strcmp(line, "writes") == 0) {
    char *form = strchr(rest, ' ');
    *form++ = 0;
    struct lc_reader r = lc_reader(bytes_of(rest, room));
    if (lc_json_write_value(&out, t, NULL, &r, *form == 'D' ? LC_JSON_D : *form == 'R' ? LC_JSON_R : LC_JSON_U, &err) != LC_OK) complain("%s: %s", rest, err.text);
    else if (!lc_slice_eq_str(lc_buf_slice(&out), form + 4)) complain("%s is written as %.*s", rest, (int)out.len, (char *)out.data);
  } else if (strcmp(line, "text") == 0) {
    char *text = strchr(rest, ' ');
    *text = 0;
    struct lc_reader r = lc_reader(bytes_of(rest, room));
    if (lc_satn_write(&out, t, &r) != LC_OK || !lc_slice_eq_str(lc_buf_slice(&out), text + 3)) complain("%s is shown as %.*s", rest, (int)out.len, (char *)out.data);
  } else if (strcmp(line, "encodes") == 0) {
    lc_type_encode(&out, t);
    if (!lc_slice_eq(lc_buf_slice(&out), bytes_of(rest, room))) complain("the type is encoded as something else");
  } else if (strcmp(line, "special") == 0) {
    static const char *const names[] = {"none", "identity", "connection", "timestamp", "duration", "uuid", "at", "option", "result"};
    if (strcmp(names[t->special], rest) != 0) complain("special: %s", names[t->special]);
  } else if (strcmp(line, "shows") == 0) {
    lc_type_display(&out, t);
    if (!lc_slice_eq_str(lc_buf_slice(&out), rest)) complain("shown as %.*s", (int)out.len, (char *)out.data);
  } else if (strcmp(line, "json") == 0) {
    lc_json_write_type(&out, t);
    if (!lc_slice_eq_str(lc_buf_slice(&out), rest)) complain("as JSON %.*s", (int)out.len, (char *)out.data);
  } else if (strcmp(line, "size") == 0) {
    if (t->static_size_bytes != (*rest == 'd' ? LC_SIZE_DYNAMIC : (uint32_t)strtoul(rest, NULL, 10))) complain("size %u", t->static_size_bytes);
  } else if (strcmp(line, "memory") == 0) {
    struct type_layout l = type_layout_of(t);
    char text[64];
    snprintf(text, sizeof text, "%llu %llu", (unsigned long long)l.size, (unsigned long long)l.align);
    if (strcmp(text, rest) != 0) complain("size and alignment %s", text);
  } else if (strcmp(line, "order") == 0) {
    char *save, *before = NULL;
    int want = -1;
    for (char *w = strtok_r(rest, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
      if (*w == '=') {
        want = 0;
        continue;
      }
      if (before) {
        struct lc_slice a = bytes_of(before, room), b = bytes_of(w, other);
        int there = lc_bsatn_compare(t, a.data, b.data), back = lc_bsatn_compare(t, b.data, a.data);
        if ((there < 0) != (want < 0) || (there == 0) != (want == 0) || (back > 0) != (want < 0)) complain("%s and %s are not in order", before, w);
      }
      before = w;
      want = -1;
    }
  } else fail_msg("values.case:%u: what is '%s'?", line_no, line);
  lc_buf_free(&out);
}

static void test_cases(void **state) {
  (void)state;
  static char line[4096], copy[4096];
  uint32_t n = 0;
  struct lc_arena arena = {0};
  const struct lc_type *t = NULL;
  FILE *f = fopen("tests/conformance/values.case", "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = 0;
    line_no++;
    if (!*line || *line == '#') continue;
    n++;
    if (strncmp(line, "type ", 5) == 0) {
      struct lc_buf b = {0};
      struct lc_error err;
      raw_type_text(&b, line + 5);
      struct lc_reader r = lc_reader(lc_buf_slice(&b));
      if (lc_type_decode(&arena, &r, &t, &err) != LC_OK || lc_reader_left(&r)) fail_msg("values.case:%u: %s", line_no, err.text);
      struct lc_buf again = {0};
      lc_type_encode(&again, t);
      if (!lc_slice_eq(lc_buf_slice(&again), lc_buf_slice(&b))) complain("the type is encoded as something else");
      lc_buf_free(&again);
      lc_buf_free(&b);
      continue;
    }
    strcpy(copy, line);
    if (run_untyped(copy)) continue;
    assert_non_null(t);
    run(t, line);
  }
  fclose(f);
  lc_arena_free(&arena);
  print_message("%u lines\n", n);
  assert_true(n > 200);
  assert_int_equal(n_failures, 0);
}

/* ---- tests/conformance/names.case ---- */

static void test_names(void **state) {
  (void)state;
  static char line[1024];
  FILE *f = fopen("tests/conformance/names.case", "r");
  assert_non_null(f);
  n_failures = line_no = 0;
  while (fgets(line, sizeof line, f)) {
    char *w[8];
    const char *fault;
    line[strcspn(line, "\n")] = 0;
    line_no++;
    if (!*line || *line == '#') continue;
    unsigned n = raw_words(line, w, 8);
    assert_true(n >= 2);
    if (strcmp(w[0], "valid") == 0 || strcmp(w[0], "invalid") == 0) {
      assert_int_equal(types_identifier_fault(lc_slice_str(w[1]), &fault), LC_OK);
      const char *want = n > 2 ? w[2] : NULL;
      if (!want != !fault || (want && strcmp(want, fault) != 0)) print_error("names.case:%u: %s: %s\n", line_no, w[1], fault ? fault : "valid"), n_failures++;
      continue;
    }
    assert_string_equal(w[0], "case");
    assert_int_equal(n, 5);
    for (enum lc_case style = LC_CASE_SNAKE; style <= LC_CASE_PASCAL; style++) {
      struct lc_buf out = {0};
      lc_name_convert(&out, lc_slice_str(w[1]), style);
      if (!lc_slice_eq_str(lc_buf_slice(&out), w[2 + style])) print_error("names.case:%u: %s becomes %.*s, not %s\n", line_no, w[1], (int)out.len, (char *)out.data, w[2 + style]), n_failures++;
      lc_buf_free(&out);
    }
  }
  fclose(f);
  assert_int_equal(n_failures, 0);
}

/* What an enemy's types ask for that no byte pays: references to empty products, doubled at each of 40 levels; an array that claims what its bytes do not hold. */
static void test_free_steps(void **state) {
  (void)state;
  struct lc_arena a = {0};
  const struct lc_type *slots[41], *unit = lc_type_new_product(&a, 0, NULL);
  for (uint32_t i = 0; i <= 40; i++) {
    struct lc_type ref = {.kind = LC_T_REF, .static_size_bytes = LC_SIZE_DYNAMIC, .ref = i ? i - 1 : 0}, *copy = lc_arena_alloc(&a, sizeof ref);
    *copy = ref;
    struct lc_type_field f[2] = {{lc_slice_str("a"), true, i ? copy : unit}, {lc_slice_str("b"), true, i ? copy : unit}};
    slots[i] = lc_type_new_product(&a, 2, f);
  }
  struct lc_typespace ts = {41, slots};
  struct lc_reader r = lc_reader(lc_slice_str(""));
  struct lc_error err = {0};
  struct lc_buf out = {0};
  assert_int_equal(lc_bsatn_validate(slots[40], &ts, &r, &err), LC_LIMIT);
  assert_int_equal(lc_json_write_value(&out, slots[40], &ts, &r, LC_JSON_U, &err), LC_LIMIT);
  assert_int_equal(lc_bsatn_validate(slots[10], &ts, &r, &err), LC_OK);
  lc_buf_clear(&out);
  assert_int_equal(lc_json_write_value(&out, slots[10], &ts, &r, LC_JSON_U, &err), LC_OK);
  for (int i = 0; i < 1000; i++) { /* arrays of a million units each */
    if (i == 0) lc_buf_clear(&out), lc_buf_u32(&out, 1000);
    lc_buf_u32(&out, 1000000);
  }
  r = lc_reader(lc_buf_slice(&out));
  assert_int_equal(lc_bsatn_validate(lc_type_new_array(&a, lc_type_new_array(&a, unit)), NULL, &r, &err), LC_LIMIT);
  lc_buf_free(&out);
  lc_arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_names), cmocka_unit_test(test_free_steps)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
