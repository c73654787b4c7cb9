/* Source maps (src/host/source_map.c): where the comment is, places found through lines, segments of one, four and five numbers, and maps that are no maps. */
#include "../../src/host/source_map.h"
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

/* The comment of a bundle for this map, and the map read back out of it; NULL: refused. */
static struct source_map *read_json_map(const char *json) {
  static uint8_t base64[64 << 10];
  struct lc_buf program = {0}, packed = {0};
  lc_buf_str(&program, "let x = 1;\n//# sourceMappingURL=data:application/json;charset=utf-8;base64,");
  int n = EVP_EncodeBlock(base64, (const uint8_t *)json, (int)strlen(json));
  lc_buf_append(&program, base64, (size_t)n);
  lc_buf_str(&program, "\n \n");
  size_t comment = source_map_comment(lc_buf_slice(&program));
  assert_int_equal(comment, 11);
  source_map_pack(lc_slice(program.data + comment, program.len - comment), &packed);
  assert_true(lc_buf_ok(&packed) && packed.len > 0);
  struct source_map *map = source_map_read(lc_buf_slice(&packed));
  lc_buf_free(&program);
  lc_buf_free(&packed);
  return map;
}

static void check_place(const struct source_map *map, uint32_t line, uint32_t column, const char *file, uint32_t file_line, uint32_t file_column) {
  struct lc_slice found;
  uint32_t l, c;
  bool any = source_map_find(map, line, column, &found, &l, &c);
  assert_int_equal(any, file != NULL);
  if (!file) return;
  assert_true(lc_slice_eq_str(found, file));
  assert_int_equal(l, file_line);
  assert_int_equal(c, file_column);
}

static void places(void **state) {
  (void)state;
  /* line 1: column 0 -> a.ts 1:1; column 8 -> a.ts 1:5 (with a name); column 16 -> nothing. Line 2: none. Line 3: column 2 -> lib/b.ts 17:1 */
  struct source_map *map = read_json_map("{\"version\":3,\"sources\":[\"a.ts\",\"lib/b.ts\"],\"names\":[\"n\"],\"mappings\":\"AAAA,QAAIA,Q;;ECgBJ\"}");
  assert_non_null(map);
  check_place(map, 1, 1, "a.ts", 1, 1);
  check_place(map, 1, 8, "a.ts", 1, 1); /* what lies between belongs to the place before */
  check_place(map, 1, 9, "a.ts", 1, 5);
  check_place(map, 1, 16, "a.ts", 1, 5);
  check_place(map, 1, 17, NULL, 0, 0); /* a segment of one number comes from nowhere */
  check_place(map, 1, 4000, NULL, 0, 0);
  check_place(map, 2, 1, NULL, 0, 0);
  check_place(map, 3, 2, NULL, 0, 0); /* before the line's first */
  check_place(map, 3, 3, "lib/b.ts", 17, 1);
  check_place(map, 3, UINT32_MAX, "lib/b.ts", 17, 1);
  check_place(map, 4, 1, NULL, 0, 0);
  check_place(map, 0, 1, NULL, 0, 0);
  check_place(map, 1, 0, NULL, 0, 0);
  source_map_free(map);
}

static void folders_of_sources(void **state) {
  (void)state;
  static const struct { const char *root, *expected; } cases[] = {{"src", "src/a.ts"}, {"src/", "src/a.ts"}, {"", "a.ts"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char json[200];
    snprintf(json, sizeof json, "{\"version\":3,\"sourceRoot\":\"%s\",\"sources\":[\"a.ts\"],\"mappings\":\"AAAA\"}", cases[i].root);
    struct source_map *map = read_json_map(json);
    assert_non_null(map);
    check_place(map, 1, 1, cases[i].expected, 1, 1);
    source_map_free(map);
  }
}

static void maps_that_are_none(void **state) {
  (void)state;
  static const char *const cases[] = {
    "[]", "{}", "not json", "{\"version\":2,\"sources\":[\"a\"],\"mappings\":\"AAAA\"}", "{\"version\":3,\"sources\":[],\"mappings\":\"AAAA\"}",
    "{\"version\":3,\"sources\":[\"a\"]}", "{\"version\":3,\"sources\":[\"a\"],\"mappings\":5}",
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"AA\"}",            /* two numbers */
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"AAA\"}",           /* three */
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"AAAAAA\"}",        /* six */
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"A?AA\"}",          /* no digit */
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"AAAg\"}",          /* a number without end */
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"AAAggggggggggggg\"}",
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"ACAA\"}",          /* no such source */
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"AADA\"}",          /* line -1 */
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"DAAA\"}",          /* column -1 */
    "{\"version\":3,\"sources\":[\"a\"],\"mappings\":\"EAAA,DAAA\"}",     /* not in order */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (read_json_map(cases[i])) fail_msg("taken: %s", cases[i]);
}

static void comments_that_are_none(void **state) {
  (void)state;
  static const char *const cases[] = {"", "\n\n", "x", "//# sourceMappingURL=bundle.js.map", "//# sourceMappingURL=data:application/json;", "x //# sourceMappingURL=data:application/json;base64,AAAA",
                                      "//# sourceMappingURL=data:application/json;base64,AAAA\nx"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_int_equal(source_map_comment(lc_slice_str(cases[i])), strlen(cases[i]));
  static const char *const nothing[] = {"", "//# sourceMappingURL=data:application/json;base64,", "//# sourceMappingURL=data:application/json;base64,AAA", "//# sourceMappingURL=data:application/json;base64,!!!!",
                                        "//# sourceMappingURL=data:application/json;utf8,{}"};
  for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
    struct lc_buf packed = {0};
    source_map_pack(lc_slice_str(nothing[i]), &packed);
    assert_true(lc_buf_ok(&packed));
    assert_null(source_map_read(lc_buf_slice(&packed)));
    lc_buf_free(&packed);
  }
}

/* Whatever the bytes of a map are, they are read or refused, and what is read can be asked anything. */
static void any_mappings(void **state) {
  (void)state;
  static const char digits[] = "ABCDEFghijklmnop,;;,AAAAAACEDg+/\\u0000";
  uint64_t seed = 7;
  for (int round = 0; round < 20000; round++) {
    char mappings[64], json[200];
    size_t n = 0;
    for (size_t len = (size_t)round % 40; n < len; n++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      mappings[n] = digits[(seed >> 33) % 32];
    }
    mappings[n] = 0;
    snprintf(json, sizeof json, "{\"version\":3,\"sources\":[\"a\",null,7],\"mappings\":\"%s\"}", mappings);
    struct source_map *map = read_json_map(json);
    struct lc_slice file;
    uint32_t line, column;
    for (uint32_t l = 0; map && l < 6; l++)
      for (uint32_t c = 0; c < 6; c++)
        if (source_map_find(map, l, c, &file, &line, &column)) assert_true(line > 0 && column > 0 && file.len <= 1);
    source_map_free(map);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(places), cmocka_unit_test(folders_of_sources), cmocka_unit_test(maps_that_are_none), cmocka_unit_test(comments_that_are_none), cmocka_unit_test(any_mappings)};
  return cmocka_run_group_tests_name("source_map", tests, NULL, NULL);
}
