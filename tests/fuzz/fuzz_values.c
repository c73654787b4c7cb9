/* Values and module definitions. The first byte says what follows: a value in BSATN, a value in JSON, or a module definition. A value that is accepted comes back the same
 * through the other form; a definition that is accepted can be shown in both versions. */
#include "../unit/def_text.h"
#include "fuzz.h"

enum { N_TYPES = 6 };
static const struct lc_type *types[N_TYPES];
static void setup(void) {
  static const char *const texts[N_TYPES] = {"(a:u8,b:i16,c:u64,d:i128,e:u256,f:bool)", "(s:string,v:[string],o:?i32)", "[{A,B:u32,C:(x:string,y:?bool)}]", "[[u8]]", "(t:timestamp,i:identity,at:at)", "(x:[i64],y:[(p:u8,q:{L,R:string})])"};
  static char text[4096];
  char *at = text;
  at += sprintf(at, "table t\n");
  for (int i = 0; i < N_TYPES; i++) at += sprintf(at, " col c%d %s\n", i, texts[i]);
  struct lc_module_def *def = def_text(text);
  for (int i = 0; i < N_TYPES; i++) types[i] = def->tables[0].columns[i].type;
}

/* A value in BSATN, complete: as JSON and back it is the same. */
static void there_and_back(const struct lc_type *type, struct lc_slice value) {
  struct lc_error err = {0};
  struct lc_buf json = {0}, back = {0};
  struct lc_reader r = lc_reader(value);
  must(lc_json_write_value(&json, type, NULL, &r, LC_JSON_D, &err) == LC_OK && lc_buf_ok(&json) && lc_reader_left(&r) == 0);
  must(lc_utf8_valid(json.data, json.len));
  if (lc_json_parse_value(lc_buf_slice(&json), type, NULL, &back, &err) != LC_OK) fprintf(stderr, "%.*s: %s\n", (int)json.len, (char *)json.data, err.text), abort();
  must(back.len == value.len && (!value.len || !memcmp(back.data, value.data, value.len)));
  lc_buf_free(&json);
  lc_buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct lc_error err = {0};
  if (!types[0]) setup();
  if (!size) return 0;
  struct lc_slice rest = lc_slice(data + 1, size - 1);
  const struct lc_type *type = types[data[0] / 4 % N_TYPES];
  if (data[0] % 4 == 0) {
    struct lc_reader r = lc_reader(rest);
    if (lc_bsatn_validate(type, NULL, &r, &err) == LC_OK) there_and_back(type, lc_slice(rest.data, rest.len - lc_reader_left(&r)));
    else must(err.text[0]);
  } else if (data[0] % 4 == 1) {
    struct lc_buf out = {0};
    if (!lc_utf8_valid(rest.data, rest.len)) return 0;
    if (lc_json_parse_value(rest, type, NULL, &out, &err) == LC_OK) {
      struct lc_reader r = lc_reader(lc_buf_slice(&out));
      must(lc_bsatn_validate(type, NULL, &r, &err) == LC_OK && lc_reader_left(&r) == 0);
      there_and_back(type, lc_buf_slice(&out));
    } else must(err.text[0]);
    lc_buf_free(&out);
  } else {
    struct lc_module_def *def = NULL;
    if (lc_module_def_decode(rest, &def, &err) == LC_OK) {
      for (unsigned version = 9; version <= 10; version++) {
        struct lc_buf json = {0};
        if (lc_module_def_json(def, version, &json, &err) == LC_OK) must(lc_utf8_valid(json.data, json.len));
        lc_buf_free(&json);
      }
      lc_module_def_free(def);
    } else must(err.text[0]);
  }
  return 0;
}
