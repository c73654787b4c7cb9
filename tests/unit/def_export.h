/* The exported schema of a module definition, read again (spec/01 §15, spec/07 §4.7).
 * Include cmocka.h first. */
#ifndef LC_DEF_EXPORT_H
#define LC_DEF_EXPORT_H
#include "types/types.h"

static struct lc_module_def *decode(struct lc_slice raw) {
  struct lc_module_def *def;
  struct lc_error err = {0};
  if (lc_module_def_decode(raw, &def, &err) != LC_OK) fail_msg("%s", err.text);
  return def;
}
static void export_schema(const struct lc_module_def *def, unsigned version, struct lc_buf *out) {
  struct lc_error err = {0};
  lc_buf_clear(out);
  if (lc_module_def_json(def, version, out, &err) != LC_OK) fail_msg("%s", err.text);
  lc_buf_u8(out, 0);
  out->len--;
}

/* The export, read as what it claims to be, gives a definition whose export is the same text. */
static void expect_stable_export(struct lc_slice raw, unsigned version) {
  struct lc_buf json = {0}, again = {0};
  struct lc_error err = {0};
  struct lc_module_def *def = decode(raw);
  export_schema(def, version, &json);
  lc_module_def_free(def);
  if (lc_module_def_from_json(lc_buf_slice(&json), &def, &err) != LC_OK) fail_msg("%s: %s", err.text, (char *)json.data);
  struct lc_module_def *first = decode(raw);
  export_schema(def, version, &again);
  assert_string_equal((char *)json.data, (char *)again.data);
  assert_int_equal(def->n_reducers, version == 9 ? first->n_own_reducers : first->n_reducers);
  for (uint32_t i = 0; i < def->n_reducers; i++) { /* spec/07 §4.7 */
    struct lc_hash was, is;
    assert_int_equal(lc_reducer_signature(&first->reducers[i], &was, &err), LC_OK);
    assert_int_equal(lc_reducer_signature(&def->reducers[i], &is, &err), LC_OK);
    assert_memory_equal(was.bytes, is.bytes, sizeof was.bytes);
  }
  lc_module_def_free(first);
  lc_module_def_free(def);
  lc_buf_free(&json);
  lc_buf_free(&again);
}

#endif
