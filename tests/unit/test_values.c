/* Runs tests/conformance/values.case (its head explains the lines) against types/. */
#include "def_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

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

static void run(const struct lc_type *t, char *line) {
  uint8_t room[256], other[256];
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
  char line[1024];
  uint32_t n = 0;
  struct lc_module_def def = {.raw_version = 10};
  struct def_text d = {&def, NULL};
  const struct lc_type *t = NULL;
  FILE *f = fopen("tests/conformance/values.case", "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = 0;
    line_no++;
    if (!*line || *line == '#') continue;
    n++;
    if (strncmp(line, "type ", 5) == 0) {
      const char *at = line + 5;
      t = def_type(&d, &at);
      continue;
    }
    assert_non_null(t);
    run(t, line);
  }
  fclose(f);
  lc_arena_free(&def.arena);
  print_message("%u lines\n", n);
  assert_true(n > 80);
  assert_int_equal(n_failures, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
